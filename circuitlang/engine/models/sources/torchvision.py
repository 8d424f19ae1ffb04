import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.error import URLError

import torch
from torch import nn
from torchvision import models
from torchvision.transforms._presets import ImageClassification, SemanticSegmentation

from circuitlang.base.diagnostics import Finding, InputError, did_you_mean, listing
from circuitlang.engine.device import on_meta_device
from circuitlang.engine.models.checkpoint_reader import Checkpoint, exists, is_file, read
from circuitlang.engine.models.construction import building, class_names, filled, fits, options_of, said
from circuitlang.engine.models.state_dicts import fill, tensor_names
from circuitlang.engine.models.weights import seeded
from circuitlang.plugins.loaded_model import LoadedModel, PathResolver
from circuitlang.plugins.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, Resampling
from circuitlang.plugins.protocols import model_source

# Builders of networks that don't map one image to one result, by torchvision's module of them.
_OTHERS = {
    "detection": "it takes a list of images and gives boxes",
    "video": "it takes videos",
    "optical_flow": "it takes two images at a time",
}
# With published weights torchvision has these renormalise their input, from ImageNet's statistics to halves
# (`transform_input`); the same is done by normalising with halves in the first place.
_HALF = ("googlenet", "inception_v3")

# Side classifiers, which published weights have and a network may not, by the argument that leaves them out.
_SIDE = {"aux_logits": ("aux1.", "aux2.", "AuxLogits."), "aux_loss": ("aux_classifier.",)}


@model_source
def torchvision(name: str, arguments: Mapping[str, Any], locate: PathResolver) -> LoadedModel:
    """Any torchvision builder: `alexnet(weights="IMAGENET1K_V1")`.

    `weights` is a name torchvision knows (DEFAULT, its best, where nothing is said), a file of weights, or `none` for
    random ones. Other arguments go to the builder; no backbone's weights are downloaded unless `weights_backbone` names
    them. Class names are those of published weights, also where they are a file of one's own, or the list `classes` in
    the metadata of a safetensors file.
    """
    _known(name)
    options, wanted = options_of(arguments), said(arguments, "weights", "DEFAULT")
    published = models.get_model_weights(name)
    path = locate(wanted)
    file = path if wanted != "none" and wanted not in published.__members__ and is_file(wanted, path) else None
    chosen = _same_as_published(name, file) if file else _weights(name, wanted) if wanted != "none" else None
    if options.get("quantize") or (chosen is not None and name.startswith("quantized_")):
        label = "a circuit's scores are gradients, and integers have none"
        raise InputError(
            Finding(
                "E308", f"{name} computes with integers", None, label, "write weights=none, and leave quantize= away"
            )
        )
    defaults = _published_options(name, chosen) if chosen is not None else _options_of_file(name, file)
    module = _build(name, {**defaults, **options})
    classes: tuple[str, ...] = tuple(chosen.meta["categories"]) if chosen else ()
    notes: tuple[str, ...] = ()
    if file is not None:
        checkpoint, notes = filled(module, file, arguments)
        classes = classes or class_names(checkpoint)
    elif chosen is not None and (state := _published(name, chosen, defaults, options)) is not None:
        # As torchvision does, which takes them off after loading.
        left_out = tuple(part for word, parts in _SIDE.items() if options.get(word) is False for part in parts)
        state = {key: tensor for key, tensor in state.items() if not key.startswith(left_out)}
        fill(module, Checkpoint(str(chosen), state, {}))
    used = file.name if file else chosen.name if chosen else "none"
    return LoadedModel(
        module, _preprocess_of(name, published, chosen), classes, used, notes=notes, files=_files(file, chosen, options)
    )


def _files(file: Path | None, chosen: models.WeightsEnum | None, options: Mapping[str, Any]) -> tuple[Path, ...] | None:
    """Return the files that a network's weights come from; None where the builder chooses some."""
    if options.get("weights_backbone"):
        return None
    return (file,) if file else (_target(chosen),) if chosen else ()


def _target(weights: models.WeightsEnum) -> Path:
    """Return where torch's hub puts published weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name


def _known(name: str) -> None:
    """Raise InputError where torchvision has no builder of a name, or it takes something else than images."""
    builders = models.list_models()
    if name not in builders:
        others = "write model bundled.doodle" if name == "doodle" else "`circuitlang models` lists them"
        cure = did_you_mean(name, builders, others)
        raise InputError(Finding("E109", f"torchvision has no model '{name}'", None, "", cure))
    for module, why in _OTHERS.items():
        if name in models.list_models(module=getattr(models, module)):
            cure = "name a network that takes one image, such as its backbone"
            raise InputError(Finding("E308", f"{name} is not a network of images: {why}", None, "", cure))


def _same_as_published(name: str, file: Path) -> models.WeightsEnum | None:
    """The published weights that a file is, as torchvision tells it: by the beginning of its hash, which is in their
    own file's name."""
    stem, _, beginning = file.stem.rpartition("-")
    known = [weights for weights in models.get_model_weights(name) if Path(weights.url).stem == file.stem]
    if not known or not stem or not exists(file):
        return None
    with file.open("rb") as content:
        hasher = sha256()
        while block := content.read(1 << 20):
            hasher.update(block)
    return known[0] if hasher.hexdigest().startswith(beginning) else None


def _published_options(name: str, weights: models.WeightsEnum) -> dict[str, Any]:
    """The arguments that torchvision's builders set for published weights."""
    options: dict[str, Any] = {"num_classes": len(weights.meta["categories"])}
    parameters = inspect.signature(models.get_model_builder(name)).parameters
    if "aux_loss" in parameters:
        options["aux_loss"] = True
    if name.startswith("vit_"):
        options["image_size"] = weights.meta["min_size"][0]
    return options


def _options_of_file(name: str, file: Path | None) -> dict[str, Any]:
    """The arguments that a file of weights shows: whether its network was trained with a side classifier."""
    if file is None or "aux_loss" not in inspect.signature(models.get_model_builder(name)).parameters:
        return {}
    with torch.device("meta"):
        # The names alone.
        return {"aux_loss": any("aux_classifier." in word for word in tensor_names(read(file)))}


def _preprocess_of(name: str, published: type[models.WeightsEnum], chosen: models.WeightsEnum | None) -> Preprocess:
    """Return the preprocessing for weights; for unpublished ones, that of the first published weights."""
    about = chosen or next(iter(published.__members__.values()), None)
    preset = about.transforms() if about else None
    preprocess = Preprocess(256, 224, IMAGENET_MEAN, IMAGENET_STD)
    if isinstance(preset, ImageClassification):
        preprocess = _preprocess(preset)
    elif isinstance(preset, SemanticSegmentation) and chosen is not None:
        size = preset.resize_size[0]
        preprocess = Preprocess(size, size, tuple(preset.mean), tuple(preset.std))
    halves = (0.5, 0.5, 0.5)
    return replace(preprocess, mean=halves, std=halves) if chosen is not None and name in _HALF else preprocess


def _weights(name: str, wanted: str) -> models.WeightsEnum:
    known = models.get_model_weights(name)
    if wanted not in known.__members__:
        names = list(known.__members__)
        label = f"there are {listing(names)}" if names else "torchvision publishes none; write none, or a file"
        cure = did_you_mean(wanted, names, "a file has an ending, such as .pth, or a folder in front of it")
        raise InputError(Finding("E304", f"{name} has no weights '{wanted}'", None, label, cure))
    weights: models.WeightsEnum = known[wanted]
    return weights


def _published(
    name: str, weights: models.WeightsEnum, defaults: Mapping[str, Any], options: Mapping[str, Any]
) -> Mapping[str, torch.Tensor] | None:
    """The tensors of named weights. Where shapes alone are wanted, those of a model as it was published; nothing if
    other options could be what the weights want."""
    if not on_meta_device():
        return _download(weights)
    return _build(name, defaults).state_dict() if options.keys() <= defaults.keys() else None


def _download(weights: models.WeightsEnum) -> Mapping[str, torch.Tensor]:
    """From torch's hub cache, or the network; read as tensors alone and checked against the name's hash."""
    target = _target(weights)
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
        raise InputError(Finding("E304", f"the weights {weights} can't be loaded", None, str(error), cure)) from None
    return state


def _build(name: str, options: Mapping[str, Any]) -> nn.Module:
    """The model with random weights, drawn the same every time and without moving the global generator.

    Weights of a backbone are read only where they are named, as tensors alone; shapes don't depend on them.
    """
    arguments = dict(options)
    if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        arguments["weights_backbone"] = None if on_meta_device() else arguments.get("weights_backbone")
    with building(name), seeded():
        if on_meta_device():
            return _outlined(name, arguments)
        fits(
            name,
            lambda: _outlined(
                name, {**arguments, **({"weights_backbone": None} if "weights_backbone" in arguments else {})}
            ),
        )
        with _tensors_alone(name, str(arguments.get("weights_backbone"))):
            module: nn.Module = models.get_model(name, weights=None, **arguments)
            return module


def _outlined(name: str, options: Mapping[str, Any]) -> nn.Module:
    """The model without values."""
    module: nn.Module
    try:
        with torch.device("meta"):
            return models.get_model(name, weights=None, **options)  # type: ignore[no-any-return]
    except (NotImplementedError, RuntimeError):
        # Builders that compute with tensors (RegNet's do) can't do so with tensors that hold nothing.
        with torch.device("cpu"):
            module = models.get_model(name, weights=None, **options).to("meta")
    return module


@contextmanager
def _tensors_alone(name: str, weights: str) -> Iterator[None]:
    """Read torchvision's downloads inside the block as tensors only, and turn their errors into findings."""
    word = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(word)
    os.environ[word] = "1"
    try:
        yield
    except (URLError, ConnectionError, UnpicklingError) as error:
        cure = "go online once, or leave weights_backbone= away"
        message = f"the weights {weights} of the backbone of {name} can't be loaded"
        raise InputError(Finding("E304", message, None, str(error).split("\n")[0], cure)) from None
    finally:
        if before is None:
            del os.environ[word]
        else:
            os.environ[word] = before


def _preprocess(preset: ImageClassification) -> Preprocess:
    return Preprocess(
        preset.resize_size[0],
        preset.crop_size[0],
        (preset.mean[0], preset.mean[1], preset.mean[2]),
        (preset.std[0], preset.std[1], preset.std[2]),
        Resampling.BICUBIC if preset.interpolation.value == "bicubic" else Resampling.BILINEAR,
    )
