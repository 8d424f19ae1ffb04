from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from circuitlang.base.diagnostics import Finding, InputError, did_you_mean
from circuitlang.engine.models.construction import OWN, class_names, filled, options_of, said
from circuitlang.plugins.loaded_model import LoadedModel
from circuitlang.plugins.preprocess import Preprocess
from circuitlang.plugins.protocols import model_source


@model_source
def bundled(name: str, arguments: Mapping[str, Any], locate: Callable[[str], Path]) -> LoadedModel:
    """Networks that come with circuitlang. `doodle`: five convolutions and a linear layer, trained on drawings."""
    from circuitlang.bundled import network

    if name != "doodle":
        cure = did_you_mean(name, ["doodle"])
        raise InputError(Finding("E109", f"unknown bundled model '{name}'", None, "there is doodle", cure))
    if unknown := sorted(set(arguments) - {*OWN}):
        raise InputError(Finding("E105", f"doodle has no parameter '{unknown[0]}'", None, "it takes weights"))
    options_of(arguments)
    wanted = said(arguments, "weights", "")
    if wanted == "none":
        raise InputError(
            Finding("E304", "doodle has no random weights", None, "", "leave weights= away, or name a file")
        )
    path = locate(wanted) if wanted else Path(network.__file__).with_name("weights.safetensors")
    module = network.build()
    checkpoint, notes = filled(module, path, arguments)
    preprocess = Preprocess(network.SIZE, network.SIZE, network.MEAN, network.STD)
    files = path, Path(network.__file__)
    return LoadedModel(module, preprocess, class_names(checkpoint), path.name, notes=notes, files=files)
