"""A finished circuit, as exporters see it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import networkx

    from circuitlang.results.types import Circuit, Summary


class FinishedCircuit(Protocol):
    """A finished circuit and its folder; `named_graph` has nodes called as in a spec, `conv5:34`."""

    @property
    def folder(self) -> Path: ...
    @property
    def summary(self) -> Summary: ...
    @property
    def circuit(self) -> Circuit: ...
    @property
    def named_graph(self) -> networkx.DiGraph[str]: ...
