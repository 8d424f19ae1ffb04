"""Receipts of models: what a run finds out about a network, as long as its files and the code are the same.

A source says which files its weights were read from; where it doesn't, as for code that may change, there is no
receipt. Code of packages is told by their versions, as in `layer_index`.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from circuitlang.base.checksummed import BLANK
from circuitlang.base.source import resolved
from circuitlang.base.versions import version
from circuitlang.engine.cache.receipts import FileState, file_state, read_receipt, settled, write_receipt
from circuitlang.engine.cache.tensor_cache import engine_version
from circuitlang.engine.graph.graph_record import GraphRecord, record
from circuitlang.engine.graph.targets import units_of
from circuitlang.engine.runtime.network_costs import NetworkCosts, TargetNode
from circuitlang.plan.model import Model, OfClasses, Target, digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circuitlang.engine.graph.channel_graph import Graph
    from circuitlang.plugins.loaded_model import LoadedModel

# Packages whose versions say what a model's code computes, beside that of the model's source.
_PACKAGES = ("circuitlang", "torch", "torchvision", "safetensors")
# Variables that say where published weights are.
_PLACES = ("TORCH_HOME", "XDG_CACHE_HOME", "HOME")

_States = list[tuple[str, FileState | None]]


class UnknownTargetError(LookupError):
    """A target that the receipt of a model doesn't have: the network itself must say why."""


class ModelReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a model that its files and the code imply.

    Attributes:
        files: The files that its weights were read from, and their states; None for a file that isn't there.
        notes: As in `LoadedModel`; `classes` too.
        prepared: How images are prepared, in words.
        crop: The side of images.
        graph: The traced network; None if it was traced only in another way than a forecast does.
        weights: The name of the weights.
        fingerprint: The hash of the weights, and `structure` that of what is computed with them; empty if unknown.
    """

    files: list[tuple[str, FileState | None]]
    notes: tuple[str, ...]
    classes: tuple[str, ...]
    prepared: str
    crop: int
    graph: GraphRecord | None = None
    weights: str = ""
    fingerprint: str = ""
    structure: str = ""
    sha256: str = BLANK

    def costs(self) -> NetworkCosts | None:
        """Return the network as a forecast asks for it, if its graph is known."""
        if self.graph is None:
            return None
        return NetworkCosts(self.graph, self._find, self.crop, self.notes)

    def _find(self, target: Target) -> TargetNode:
        """Find a target. Raises UnknownTargetError, and InputError where its layer has no such channel or position."""
        graph = self.graph
        if graph is None:
            raise UnknownTargetError
        name = graph.output if isinstance(target, OfClasses) else graph.words.get(target.layer, "")
        if not name:
            raise UnknownTargetError
        node = graph.steps[name]
        units = units_of(target, node.width, node.positions, self.classes)
        return TargetNode(name, units.units, units.at)


def known_model(model: Model, folder: Path) -> ModelReceipt | None:
    """Return the receipt of a model whose paths are relative to a folder, if none of its files has changed."""
    receipt = read_receipt(_key(model, folder), ModelReceipt)
    if receipt is None or any(file_state(Path(path)) != state for path, state in receipt.files):
        return None
    return receipt


def remember_outline(model: Model, folder: Path, loaded: LoadedModel, graph: Graph, begin: int) -> None:
    """Note what was read of a model without its weights, beginning at a time."""
    states = _states(loaded.files, begin)
    if states is None:
        return
    known = _earlier(model, folder, states)
    if known is None:
        _write(model, folder, _receipt(loaded, states, record(graph, loaded.output)))
    elif known.graph is None:
        _write(model, folder, msgspec.structs.replace(known, graph=record(graph, loaded.output)))


def remember_model(
    model: Model, folder: Path, loaded: LoadedModel, graph: Graph, hashes: tuple[str, str], begin: int
) -> None:
    """Note what was read of a model, beginning at a time, with the hashes of its weights and its structure.

    A graph that a forecast might trace in another way is left out.
    """
    states = _states(loaded.files, begin)
    if states is None:
        return
    known = _earlier(model, folder, states)
    if known and known.fingerprint:
        return
    traced = known.graph if known else None
    if traced is None and graph.module.meta.get("way") == 0:
        traced = record(graph, loaded.output)
    _write(model, folder, _receipt(loaded, states, traced, loaded.weights, hashes))


def _earlier(model: Model, folder: Path, states: _States) -> ModelReceipt | None:
    """Return the receipt of a model that is there, if it is about files of these states."""
    known = known_model(model, folder)
    return known if known and known.files == states else None


def _receipt(
    loaded: LoadedModel,
    states: _States,
    graph: GraphRecord | None,
    weights: str = "",
    hashes: tuple[str, str] = ("", ""),
) -> ModelReceipt:
    return ModelReceipt(
        files=states,
        notes=tuple(loaded.notes),
        classes=tuple(loaded.classes),
        prepared=str(loaded.preprocess),
        crop=loaded.preprocess.crop,
        graph=graph,
        weights=weights,
        fingerprint=hashes[0],
        structure=hashes[1],
    )


def _write(model: Model, folder: Path, receipt: ModelReceipt) -> None:
    write_receipt(_key(model, folder), receipt)


def _states(files: Sequence[Path] | None, begin: int) -> _States | None:
    """Return the files of a model with their states; None where they are unknown, or may have changed meanwhile."""
    if files is None:
        return None
    states = [(str(path.absolute()), file_state(path)) for path in files]
    whole = all(state is None or settled(state, begin) for _, state in states)
    return states if whole and all(path.isprintable() for path, _ in states) else None


def _key(model: Model, folder: Path) -> str:
    """Return the key of a model's receipts."""
    versions = [version(name) for name in (*_PACKAGES, model.source)]
    asked = digest(msgspec.json.encode(model, order="sorted"))
    places = [os.environ.get(name, "") for name in _PLACES]
    parts = ("model", asked, os.fsdecode(resolved(folder)), platform.python_version(), engine_version())
    return "\n".join((*parts, *versions, *places))
