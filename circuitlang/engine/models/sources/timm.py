import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any

import torch
from torch import nn

from circuitlang.base.diagnostics import Finding, InputError, did_you_mean
from circuitlang.engine.device import on_meta_device
from circuitlang.engine.models.checkpoint_reader import is_file
from circuitlang.engine.models.construction import building, class_names, filled, fits, options_of, reason, said
from circuitlang.engine.models.weights import seeded
from circuitlang.plugins.loaded_model import LoadedModel, PathResolver
from circuitlang.plugins.preprocess import Preprocess, Resampling
from circuitlang.plugins.protocols import model_source

# Arguments by which timm itself would read files, which can run code, or change what the name and `weights` say.
_READING = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


@model_source
def timm(name: str, arguments: Mapping[str, Any], locate: PathResolver) -> LoadedModel:
    """Any model of timm: `timm.resnet18`, with a tag `timm.resnet18.a1_in1k`.

    `weights` is a file of weights, or `none` for random ones, as `pretrained=false` is; where nothing is said, those
    that timm publishes. Other arguments go to the builder. timm itself comes with `pip install 'circuitlang[timm]'`.
    """
    library = _library()
    base, _, tag = name.partition(".")
    names = [*library.list_models(), *(library.list_models(pretrained=True) if tag else ())]
    if name not in names:
        cure = did_you_mean(name, names, "`python -c 'import timm; print(timm.list_models())'`")
        raise InputError(Finding("E109", f"timm has no model '{name}'", None, "", cure))
    options = options_of(arguments)
    published = bool(options.pop("pretrained", True)) and "weights" not in arguments
    wanted = said(arguments, "weights", "none")
    if reading := sorted(set(options) & set(_READING)):
        label, cure = "timm would read a file by it, which can run code", "write weights=FILE"
        raise InputError(Finding("E105", f"circuitlang does not pass on '{reading[0]}'", None, label, cure))
    path = locate(wanted)
    if wanted != "none" and not is_file(wanted, path):
        label = "the tag of timm's weights belongs to the name, as timm.resnet18.a1_in1k"
        cure = "write none or a file that ends in .safetensors, .pt or .pth"
        raise InputError(Finding("E304", f"{base} has no weights '{wanted}'", None, label, cure))
    make = _published if published and not on_meta_device() else _build
    module = make(library, name, options)
    used, classes, notes = "none" if wanted == "none" and not published else "", tuple[str, ...](), tuple[str, ...]()
    # The hub's library knows where it keeps published weights.
    files: tuple[Path, ...] | None = None if published else ()
    if wanted != "none":
        checkpoint, notes = filled(module, path, arguments)
        used, classes, files = path.name, class_names(checkpoint), (path,)
    preprocess = _preprocess(library.data.resolve_model_data_config(module), options.get("in_chans", 3))
    return LoadedModel(module, preprocess, classes, used, notes=notes, files=files)


def _library() -> ModuleType:
    if find_spec("timm") is None:
        cure = "pip install 'circuitlang[timm]'"
        raise InputError(Finding("E109", "the models of timm are not installed", None, "", cure))
    # Values that hold nothing don't do for what is computed when it is first imported.
    with torch.device("cpu"):
        import_module("timm.data")
        return import_module("timm")


def _build(library: ModuleType, name: str, options: Mapping[str, Any], pretrained: bool = False) -> nn.Module:
    """The model, built on a device that can compute: some models need values to be built."""

    def outline() -> nn.Module:
        with torch.device("meta"):
            return library.create_model(name, pretrained=False, **options)  # type: ignore[no-any-return]

    with seeded(), torch.device("cpu"):
        with building(name):
            fits(name, outline)
        try:
            with building(name) if not pretrained else nullcontext():
                module: nn.Module = library.create_model(name, pretrained=pretrained, **options)
        except (OSError, RuntimeError, UnpicklingError, InputError):
            raise
        except Exception as error:  # a builder may raise anything
            raise InputError(Finding("E307", f"{name} can't be built: {reason(error)}")) from None
    return module.to("meta") if on_meta_device() else module


def _published(library: ModuleType, name: str, options: Mapping[str, Any]) -> nn.Module:
    """The model with its published weights, from the hub's cache or the network; timm reads them as tensors alone."""
    try:
        with _quiet():
            return _build(library, name, options, pretrained=True)
    except UnpicklingError:
        label = "they hold more than tensors, and loading them would run code"
        raise InputError(Finding("E306", f"timm's weights of {name} are refused", None, label)) from None
    except (OSError, RuntimeError) as error:
        cure = "go online once, or write weights=none or weights=FILE"
        message = f"timm's weights of {name} can't be loaded"
        raise InputError(Finding("E304", message, None, reason(error), cure)) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the hub's library from logging each attempt inside the block: the last failure is reported."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _preprocess(config: Mapping[str, Any], channels: Any) -> Preprocess:
    """timm's own: the shorter side is the crop's over `crop_pct`, rounded down.

    Where a model is built for another number of channels, each gets the average of the model's mean and deviation.
    """
    mean, std = (tuple(map(float, config[word])) for word in ("mean", "std"))
    if isinstance(channels, int) and 0 < channels != len(mean):
        mean, std = ((sum(values) / len(values),) * channels for values in (mean, std))
    height, width = config["input_size"][1:]
    if height != width:
        raise InputError(Finding("E308", f"the model takes images of {height} x {width} pixels, not square ones"))
    resample = Resampling.BILINEAR if config["interpolation"] == "bilinear" else Resampling.BICUBIC
    return Preprocess(int(height / config["crop_pct"]), height, mean, std, resample)
