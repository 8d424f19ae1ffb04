"""Interpreters that run a part of a network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import Tensor, fx


class RestOfNetwork(fx.Interpreter):
    """Run the operations whose values are not known, and show their values."""

    def __init__(self, module: fx.GraphModule, see: Callable[[str, Any], None]) -> None:
        super().__init__(module)
        self._see = see

    def run(self, images: Tensor, known: Mapping[str, Any]) -> Any:  # type: ignore[override]
        nodes = {node: known[node.name] for node in self.graph.nodes if node.name in known}
        return super().run(images, initial_env=nodes)

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self._see(n.name, value)
        return value


class Recorder(fx.Interpreter):
    """Run a network as far as some operations, and keep their values in `found`."""

    def __init__(self, module: fx.GraphModule, names: Collection[str]) -> None:
        super().__init__(module)
        self.values: dict[str, Tensor] = {}
        self._names = names

    def run_node(self, n: fx.Node) -> Any:
        if len(self.values) == len(self._names):
            return None
        value = super().run_node(n)
        if n.name in self._names:
            self.values[n.name] = value
        return value
