from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.error import URLError

import torch
from PIL import Image
from torch import nn
from torchvision import models
from torchvision.transforms._presets import ImageClassification

from circuitlang.engine.contracts import LoadedModel, model_source
from circuitlang.engine.images import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from circuitlang.engine.weights import FILES, fill, outlining, read, seeded
from circuitlang.errors import Finding, InputError, did_you_mean, listing


@model_source
def torchvision(name: str, arguments: Mapping[str, Any], locate: Callable[[str], Path]) -> LoadedModel:
    """Any torchvision builder: `alexnet(weights="IMAGENET1K_V1")`.

    `weights` is a name torchvision knows (DEFAULT, its best, where nothing is said), a `.safetensors` or state dict
    file, or `none` for random ones. Other arguments go to the builder.
    """
    builders = models.list_models()
    if name not in builders:
        cure = did_you_mean(name, builders, "`python -c 'import torchvision; print(torchvision.models.list_models())'`")
        raise InputError(Finding("E109", f"torchvision has no model '{name}'", None, "", cure))
    options = {word: value for word, value in arguments.items() if word != "weights"}
    wanted = str(arguments.get("weights", "DEFAULT"))
    known = models.get_model_weights(name)
    file = locate(wanted) if wanted.endswith(FILES) else None
    chosen = None
    if file is None and wanted != "none":
        chosen = _weights(name, wanted)
        options.setdefault("num_classes", len(chosen.meta["categories"]))
    state = read(file)[0] if file else _published(name, chosen, options) if chosen else None
    module = _build(name, options)
    if state is not None:
        fill(module, state, file.name if file else str(chosen))
    about = chosen or next(iter(known), None)
    classes = about.meta.get("categories", ()) if about else ()
    preset = about.transforms() if about else None
    usual = Preprocess(256, 224, IMAGENET_MEAN, IMAGENET_STD)
    preprocess = _preprocess(preset) if isinstance(preset, ImageClassification) else usual
    if chosen is not None and name in _HALF:
        preprocess = replace(preprocess, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    used = file.name if file else chosen.name if chosen else "none"
    return LoadedModel(module, preprocess, tuple(classes), used)


# With published weights torchvision has these renormalise their input, from ImageNet's statistics to halves
# (`transform_input`); the same is done by normalising with halves in the first place.
_HALF = ("googlenet", "inception_v3")


def _weights(name: str, wanted: str) -> models.WeightsEnum:
    known = models.get_model_weights(name)
    if wanted not in known.__members__:
        names = list(known.__members__)
        cure = did_you_mean(wanted, names, "a file's name ends in .safetensors, .pt or .pth")
        raise InputError(
            Finding("E304", f"{name} has no weights '{wanted}'", None, f"there are {listing(names)}", cure)
        )
    found: models.WeightsEnum = known[wanted]
    return found


def _published(name: str, weights: models.WeightsEnum, options: Mapping[str, Any]) -> Mapping[str, torch.Tensor] | None:
    """The tensors of named weights. Where shapes alone are wanted, those of a model of as many classes; nothing if
    other options could be what the weights want."""
    if not outlining():
        return _download(weights)
    return _build(name, {"num_classes": len(weights.meta["categories"])}).state_dict() if len(options) == 1 else None


def _download(weights: models.WeightsEnum) -> Mapping[str, torch.Tensor]:
    """From torch's hub cache, or the network; read as tensors alone and checked against the name's hash."""
    target = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    try:
        # The keyword reaches torch.load through load_state_dict_from_url.
        state: Mapping[str, torch.Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except UnpicklingError:
        label = f"{target} holds more than tensors, and loading it would run code"
        raise InputError(
            Finding("E306", f"the weights {weights} are refused", None, label, "remove the file")
        ) from None
    except (URLError, OSError, RuntimeError) as error:
        cure = f"download {weights.url} yourself, to {target}"
        raise InputError(Finding("E304", f"the weights {weights} can't be had", None, str(error), cure)) from None
    return state


def _build(name: str, options: Mapping[str, Any]) -> nn.Module:
    """The model with random weights, drawn the same every time and without moving the global generator."""
    try:
        with seeded():
            return _built(name, options)
    except (TypeError, ValueError) as error:
        raise InputError(Finding("E307", f"{name} can't be built: {error}")) from None


def _built(name: str, options: Mapping[str, Any]) -> nn.Module:
    module: nn.Module
    try:
        module = models.get_model(name, weights=None, **options)
    except NotImplementedError:
        # Builders that compute with tensors (RegNet's do) can't do so with tensors that hold nothing.
        with torch.device("cpu"):
            module = models.get_model(name, weights=None, **options).to("meta")
    return module


def _preprocess(preset: ImageClassification) -> Preprocess:
    resample = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    return Preprocess(
        preset.resize_size[0],
        preset.crop_size[0],
        (preset.mean[0], preset.mean[1], preset.mean[2]),
        (preset.std[0], preset.std[1], preset.std[2]),
        resample.get(preset.interpolation.value, Image.Resampling.BILINEAR),
    )
