"""A traced network as a graph of channels, joined by kernels and by plain edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx

from circuitlang.engine.graph.channel_nodes import ChannelNode, Layer, ancestors
from circuitlang.engine.graph.node_lookup import NodeLookup


@dataclass(frozen=True)
class Graph:
    """A traced network. `module` is private: it shares the user's tensors but none of the user's modules.

    `steps` are its nodes by name, in execution order; `image` is the name of the input's.
    """

    module: fx.GraphModule
    steps: Mapping[str, ChannelNode]
    image: str

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer once, in the order of its first use."""
        return tuple({step.layer.path: step.layer for step in self.steps.values() if step.layer}.values())

    @cached_property
    def kernels(self) -> Mapping[str, Tensor]:
        """The weight of every layer by its path, [out, in / groups, h, w], channels last in memory."""
        kernels = {}
        for layer in self.layers:
            weight = self.module.get_submodule(layer.path).weight
            assert isinstance(weight, Tensor)
            maps = weight.detach().reshape(*weight.shape[:2], *layer.size)
            kernels[layer.path] = maps.contiguous(memory_format=torch.channels_last)
        return kernels

    @cached_property
    def larger(self) -> Mapping[str, Any]:
        """Values that are the same for all images (`meta["value"]`) by node, in a batch of one image more."""
        shape = next(node.meta["shape"] for node in self.module.graph.nodes if node.op == "placeholder")
        like = next(iter(self.module.parameters()), torch.zeros(()))
        images = torch.zeros(shape[0] + 1, *shape[1:], dtype=like.dtype, device=like.device)
        return _ConstantRecorder(self.module).record(images)

    def uses(self, layer: Layer) -> tuple[ChannelNode, ...]:
        """Return the nodes that use a layer's kernels, in execution order: several where a module is reused."""
        return tuple(step for step in self.steps.values() if step.layer == layer)

    def ancestors(self, name: str) -> list[ChannelNode]:
        """Return the nodes that `name` depends on, itself included, in execution order."""
        return ancestors(self.steps, name)

    @cached_property
    def lookup(self) -> NodeLookup:
        """The nodes by the words that a target may use."""
        return NodeLookup(self.module, self.steps, self.layers)

    def find(self, word: str) -> ChannelNode:
        """Return the node that a target names; see `NodeLookup.find`."""
        return self.lookup.find(word)

    def output(self, number_or_name: int | str | None = None) -> ChannelNode:
        """Return the node whose channels are the network's classes; see `NodeLookup.output`."""
        return self.lookup.output(number_or_name)

    def widths(self) -> dict[str, int]:
        """Return the number of channels by every word a target may use."""
        return self.lookup.widths()


class _ConstantRecorder(fx.Interpreter):
    """Runs a network and records values that are the same for all images."""

    def record(self, images: Tensor) -> dict[str, Any]:
        self._values: dict[str, Any] = {}
        with torch.no_grad():
            self.run(images)
        return self._values

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if "value" in n.meta:
            self._values[n.name] = value
        return value
