"""Load the network of a plan, with the preprocessing that the model statement overrides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.cache.receipts import now
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.named_modules import named_modules
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.models.hub_weights import weights_on_hub
from circuitlang.engine.models.input_channels import image_channels
from circuitlang.engine.models.layer_index import remember
from circuitlang.engine.models.outputs import choose, outputs
from circuitlang.engine.models.preprocess_arguments import apart, overridden
from circuitlang.engine.models.sandbox import private_copy, quiet, untouched
from circuitlang.engine.models.weights import require_finite, single
from circuitlang.engine.runtime.model_receipts import remember_outline
from circuitlang.plan.model import IN_MEMORY, Model
from circuitlang.plugins.loaded_model import LoadedModel, PathResolver
from circuitlang.plugins.progress import TrackProgress, no_progress
from circuitlang.plugins.protocols import MODELS


def load_model(
    model: Model,
    folder: Path,
    allow_code: bool = False,
    place: torch.device | None = None,
    track: TrackProgress = no_progress,
) -> LoadedModel:
    """The network, with the preprocessing that the model statement overrides, on a device if one is given.

    Files on the Hub are fetched, which is tracked. Raises InputError.
    """
    if model.source == IN_MEMORY:
        cure = 'run it from Python, as circuitlang.run("plan.yaml", model=module)'
        raise InputError(Finding("E316", "the model is not in memory", None, "it was given by Python", cure))
    # Only what is fetched from the Hub is named otherwise than in the plan.
    here = model.readdressed(lambda text: str(weights_on_hub(text, track)))
    said, arguments = apart(here.arguments)
    output = _output(arguments.pop("output", None))
    if model.source not in MODELS.declarations:
        raise InputError(Finding("E109", f"unknown model source '{model.source}'"))
    source = MODELS.load(model.source)
    loaded = source(here.name, arguments, PathResolver(folder, allow_code, _shape(said)))
    module = require_finite(single(loaded.module, place), str(model))

    def channels(crop: int, count: int) -> int:
        with untouched(module), quiet():
            return image_channels(private_copy(module).eval(), (crop, crop), count)

    preprocess = overridden(loaded.preprocess, said, channels)
    return replace(loaded, module=module, preprocess=preprocess, output=output)


def _shape(said: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """Channels, height and width of images, as far as the model statement says how they are prepared."""
    size = said.get("crop", said.get("resize"))
    channels = said.get("image_channels", len(said.get("mean", said.get("std", (0, 0, 0)))))
    return (channels, size, size) if size else None


def _output(value: object) -> int | str | None:
    """Return the output that the model statement names. Raises InputError where a plan was written by hand."""
    if value is None or (isinstance(value, (int, str)) and not isinstance(value, bool)):
        return value
    raise InputError(Finding("E202", f"output can't be {value!r}", None, "the number or the name of an output"))


def outline(model: Model, folder: Path, allow_code: bool = False, track: TrackProgress = no_progress) -> LoadedModel:
    """The network without its weights: tensors have shapes and nothing in them. Raises InputError."""
    with torch.device("meta"):
        return load_model(model, folder, allow_code, track=track)


def read_model(model: Model, folder: Path, allow_code: bool = False) -> tuple[LoadedModel, Graph]:
    """The network without its weights and what was found by tracing it, which is remembered for the compiler. Raises
    InputError."""
    begin = now()
    loaded = outline(model, folder, allow_code)
    size = loaded.preprocess.crop, loaded.preprocess.crop
    try:
        graph = trace(loaded.module, size, loaded.preprocess.channels)
    except InputError:
        # Code may look at the values of weights.
        drawn = drawn_model(model, folder, allow_code, loaded)
        if drawn is None:
            raise
        graph = trace(drawn.module, size, loaded.preprocess.channels)
    if loaded.output is not None:
        choose(outputs(graph.module), loaded.output)
    remember_graph(model, graph)
    remember_outline(model, folder, loaded, graph, begin)
    return loaded, graph


def remember_graph(model: Model, graph: Graph) -> None:
    """Note the names that targets may use in a model, for the compiler and `circuitlang layers`."""
    remember(model, graph.widths(), [layer.name for layer in graph.layers], named_modules(graph))


def drawn_model(model: Model, folder: Path, allow_code: bool, _loaded: LoadedModel) -> LoadedModel | None:
    """A network with random weights, the same every time, in the place of those that it would have to load; None where
    it is not known how to ask for them."""
    arguments = {
        word: value for word, value in model.arguments.items() if word not in ("weights", "state", "pretrained")
    }
    if model.source not in ("torchvision", "timm", "python", "bundled", "file"):
        return None
    if model.source in ("torchvision", "timm"):
        arguments["weights"] = "none"
    try:
        return load_model(msgspec.structs.replace(model, arguments=arguments), folder, allow_code)
    except InputError:
        # Builders that need weights, or other arguments for them.
        return None
