"""Objects of a Python program in place of what a plan names: a module, and images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from circuitlang.base.diagnostics import Finding, InputError, did_you_mean, listing
from circuitlang.engine.graph.named_modules import named_modules
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.images.memory import MemoryImages, collect
from circuitlang.engine.models.input_channels import image_channels
from circuitlang.engine.models.preprocess_arguments import overridden
from circuitlang.engine.models.sandbox import materialised, private_copy, quiet, untouched
from circuitlang.engine.models.weights import require_finite, single
from circuitlang.plan.layers import Layers
from circuitlang.plan.model import IN_MEMORY, Model
from circuitlang.plan.preprocessing import WORDS, unsuitable
from circuitlang.plugins.loaded_model import LoadedModel
from circuitlang.plugins.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, Resampling

_DEFAULT = Preprocess(224, 224, IMAGENET_MEAN, IMAGENET_STD)


@dataclass(frozen=True)
class MemoryObjects:
    """A module with its preprocessing, and image sets by name."""

    model: LoadedModel | None = None
    images: Mapping[str, MemoryImages] = field(default_factory=dict)

    @property
    def plan_model(self) -> Model | None:
        """The model as a plan names it: by its class. Provenance has its weights and its operations."""
        return Model(IN_MEMORY, type(self.model.module).__name__) if self.model else None

    def load(
        self, place: torch.device | None, _model: Model, _folder: Path, allow_code: bool = False
    ) -> LoadedModel:  # `load_model` takes these
        """Return the module on a device, in single precision; the user's own is left as it is. Raises InputError."""
        del allow_code
        assert self.model is not None
        module = require_finite(single(self.model.module, place), type(self.model.module).__name__)
        return LoadedModel(module, self.model.preprocess, self.model.classes)

    def layers(self) -> Layers:
        """Return the names that targets may use in the module. Raises InputError if it can't be traced."""
        assert self.model is not None
        preprocess = self.model.preprocess
        graph = trace(self.model.module, (preprocess.crop, preprocess.crop), preprocess.channels)
        return Layers(graph.widths(), tuple(layer.name for layer in graph.layers), tuple(named_modules(graph)))


def memory_objects(model: object, images: Mapping[str, object], preprocess: object) -> MemoryObjects:
    """Return the objects that a program gave, images collected and checked.

    Args:
        model: a module, or None for the model that the spec names.
        images: objects by the name that the spec has for the set; see `images.memory`.
        preprocess: a `Preprocess`, a dictionary of `resize`, `crop`, `mean` and `std`, the transformation of a weights
            object of torchvision, or any function from an image to a tensor [C, H, W]. None for network inputs, and
            for images that are prepared as ImageNet's.

    Raises:
        InputError: for objects of other kinds.
    """
    for name in images:
        if not name.isidentifier():
            message = f"'{name}' can't be the name of an image set"
            raise InputError(Finding("E316", message, None, "a name has letters, digits and underscores"))
    declared = _declared(preprocess)
    transform = preprocess if declared is None and callable(preprocess) else None
    if preprocess is not None and declared is None and transform is None:
        label = f"it is a {type(preprocess).__name__}"
        cure = "give a circuitlang Preprocess, a dict(resize=, crop=, mean=, std=) or a function from image to tensor"
        raise InputError(Finding("E316", "preprocess= can't be used", None, label, cure))
    held = {name: collect(name, image, transform) for name, image in images.items()}
    if model is None:
        return MemoryObjects(None, held)
    if not isinstance(model, nn.Module):
        label = f"it is a {type(model).__name__}"
        cure = "a model that a spec names goes into the spec: model resnet18"
        raise InputError(Finding("E316", "model= is no torch.nn.Module", None, label, cure))
    return MemoryObjects(_loaded(model, declared, held), held)


def _loaded(module: nn.Module, declared: Preprocess | None, held: Mapping[str, MemoryImages]) -> LoadedModel:
    """Return a module with its preprocessing: the declared one, that of network inputs, or ImageNet's."""
    inputs = next((images for images in held.values() if images.inputs), None)
    if declared is not None:
        preprocess = declared
    elif inputs is not None:
        preprocess = inputs.input_preprocess()
    else:
        crop = _DEFAULT.crop

        def channels(side: int, count: int) -> int:
            with untouched(module), quiet():
                return image_channels(private_copy(module).eval(), (side, side), count)

        preprocess = overridden(_DEFAULT, {"crop": crop}, channels)
    shape = preprocess.channels, preprocess.crop, preprocess.crop
    return LoadedModel(materialised(module, torch.zeros(1, *shape)), preprocess)


def _declared(preprocess: object) -> Preprocess | None:
    """Return the preprocessing that an object declares; None for a function, or for nothing."""
    if isinstance(preprocess, Preprocess):
        return preprocess
    if isinstance(preprocess, Mapping):
        return _from_words(dict(preprocess))
    sizes = getattr(preprocess, "resize_size", None), getattr(preprocess, "crop_size", None)
    if sizes[0] and sizes[1] and hasattr(preprocess, "mean") and hasattr(preprocess, "std"):
        # Presets of torchvision's weights.
        bicubic = getattr(getattr(preprocess, "interpolation", None), "value", "") == "bicubic"
        resample = Resampling.BICUBIC if bicubic else Resampling.BILINEAR
        return Preprocess(sizes[0][0], sizes[1][0], tuple(preprocess.mean), tuple(preprocess.std), resample)
    return None


def _from_words(words: dict[str, Any]) -> Preprocess:
    known = [word for word in WORDS if word != "image_channels"]
    for word, value in words.items():
        if word not in known:
            cure = did_you_mean(str(word), known)
            label = f"it has {listing(known)}"
            raise InputError(Finding("E316", f"preprocess= has no '{word}'", None, label, cure))
        if expected := unsuitable(word, value):
            raise InputError(Finding("E316", f"{word} of preprocess= is out of range", None, expected))
    size = words.get("crop", words.get("resize", _DEFAULT.crop))
    mean, std = words.get("mean"), words.get("std")
    count = len(mean if mean is not None else std if std is not None else _DEFAULT.mean)
    default = _DEFAULT if count == 3 else Preprocess(size, size, (0.0,) * count, (1.0,) * count)
    return Preprocess(
        words.get("resize", size), size, tuple(mean or default.mean), tuple(std or default.std), _DEFAULT.resample
    )
