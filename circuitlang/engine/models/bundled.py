import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from circuitlang.engine.contracts import LoadedModel, model_source
from circuitlang.engine.images import Preprocess
from circuitlang.engine.weights import fill, read
from circuitlang.errors import Finding, InputError, did_you_mean


@model_source
def bundled(name: str, arguments: Mapping[str, Any], locate: Callable[[str], Path]) -> LoadedModel:
    """Networks that come with circuitlang. `doodle`: five convolutions and a linear layer, trained on drawings."""
    from circuitlang.bundled import network

    if name != "doodle":
        cure = did_you_mean(name, ["doodle"])
        raise InputError(Finding("E109", f"unknown bundled model '{name}'", None, "there is doodle", cure))
    if unknown := sorted(set(arguments) - {"weights"}):
        raise InputError(Finding("E105", f"doodle has no parameter '{unknown[0]}'", None, "it takes weights"))
    own = Path(network.__file__).with_name("weights.safetensors")
    path = locate(arguments["weights"]) if "weights" in arguments else own
    state, metadata = read(path)
    module = network.build()
    fill(module, state, path.name)
    preprocess = Preprocess(network.SIZE, network.SIZE, network.MEAN, network.STD)
    return LoadedModel(module, preprocess, tuple(json.loads(metadata.get("classes", "[]"))), path.name)
