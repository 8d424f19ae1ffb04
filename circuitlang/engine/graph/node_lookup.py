"""Find nodes by the words that targets use: layers by name, modules by path, outputs by number or name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import fx

from circuitlang.base.diagnostics import Finding, InputError, did_you_mean, listing
from circuitlang.engine.graph.block_outputs import ALIASES, NODES, refusal
from circuitlang.engine.graph.changing_strides import OUTPUT_OF
from circuitlang.engine.graph.channel_nodes import ChannelNode, Layer
from circuitlang.engine.models.outputs import choose, outputs
from circuitlang.plan.layers import refused_target


@dataclass(frozen=True)
class NodeLookup:
    """The nodes of a traced network by the words that a target may use."""

    module: fx.GraphModule
    nodes: Mapping[str, ChannelNode]
    layers: Sequence[Layer]

    def find(self, word: str) -> ChannelNode:
        """Return the node of a layer by its name, or the last node of the module at a path.

        Raises InputError for an unknown name, and where channels on the way can't be tracked.
        """
        names = self._names
        if reason := self.refusal(word):
            raise InputError(refused_target(word, reason))
        if word not in names:
            label = f"the layers are {listing([layer.name for layer in self.layers])}"
            raise InputError(Finding("E102", f"unknown layer '{word}'", None, label, did_you_mean(word, names)))
        if obstacle := self.obstacle(word):
            behind = f"'{word}' lies behind it"
            label = (
                behind if names[word] not in self.nodes else "a circuit is made of the kernels that lead to its target"
            )
            raise InputError(Finding("E308", obstacle, None, label))
        return self.nodes[names[word]]

    def obstacle(self, word: str) -> str:
        """Return why no circuit leads to the node of a name; empty where one does."""
        name = self._names[word]
        if name not in self.nodes:
            return self._obstacle(name)
        return "" if name in self._behind_layers else f"no layer lies on the way to '{word}'"

    def output(self, number_or_name: int | str | None = None) -> ChannelNode:
        """Return the node whose channels are the network's classes; of several outputs, that of a number or name.

        Raises InputError where the output is ambiguous, or its channels can't be tracked.
        """
        name = choose(outputs(self.module), number_or_name).node.name
        if name not in self.nodes:
            raise InputError(Finding("E308", self._obstacle(name), None, "the classes lie behind it"))
        return self.nodes[name]

    def refusal(self, word: str) -> str:
        """Return why the module of a name has no channels of its own; empty where it has or there is no such module."""
        if reason := refusal(self.module, word, word in self._names):
            return reason
        entries = self._traced[self._names[word]].meta.get("entries") if word in self._names else None
        return f"its output is a tuple of {entries}" if entries is not None else ""

    def traced_into(self, word: str) -> bool:
        """Return whether a name is that of a module that consists of several traced operations, or of none."""
        aliases: Mapping[str, str] = self.module.meta.get(ALIASES, {})
        return aliases.get(word, word) in self.module.meta.get(NODES, {})

    def node_names(self) -> Mapping[str, str]:
        """Return the names of the traced nodes by every word a target may use."""
        return self._names

    def widths(self) -> dict[str, int]:
        """Return the number of channels by every word a target may use, also of nodes behind an obstacle."""
        shapes = {node.name: node.meta.get("shape", ()) for node in self.module.graph.nodes}
        widths = {name: shape[1] for name, shape in shapes.items() if len(shape) > 1}
        widths |= {name: node.width for name, node in self.nodes.items()}
        return {word: widths[name] for word, name in self._names.items() if name in widths and not self.refusal(word)}

    @cached_property
    def _traced(self) -> Mapping[str, fx.Node]:
        return {node.name: node for node in self.module.graph.nodes}

    @cached_property
    def _behind_layers(self) -> frozenset[str]:
        """Names of the nodes that depend on a layer, or are one."""
        names: set[str] = set()
        for node in self.nodes.values():
            if node.layer or any(edge.node in names for edge in node.edges):
                names.add(node.name)
        return frozenset(names)

    @cached_property
    def _names(self) -> dict[str, str]:
        """Names of nodes by the words a target may use: a module's path stands for the output of its last call."""
        names = {layer.name: layer.node for layer in self.layers}
        for node in self.module.graph.nodes:
            # A layer behind an obstacle has its name too, so that the error can be about the obstacle.
            if "layer" in node.meta:
                names.setdefault(node.meta["layer"], node.name)
            if node.op == "call_module":
                names[str(node.target)] = node.name
        selections = {node.meta[OUTPUT_OF]: node.name for node in self.module.graph.nodes if OUTPUT_OF in node.meta}
        names = {word: selections.get(name, name) for word, name in names.items()}
        names |= self.module.meta.get(NODES, {})
        return names | {
            alias: names[path] for alias, path in self.module.meta.get(ALIASES, {}).items() if path in names
        }

    def _obstacle(self, name: str) -> str:
        """Return a sentence on the first operation before a node whose channels can't be tracked."""
        node = self._traced[name]
        # A layer whose weight is computed from the image is no layer: it is the obstacle, not what computes the weight.
        while "computed" not in node.meta and (
            obstacles := [source for source in node.all_input_nodes if "followed" not in source.meta]
        ):
            node = obstacles[0]
        if node.op == "call_module":
            operation = f"{node.target}, a {type(self.module.get_submodule(str(node.target))).__name__}"
        else:
            operation = f"{getattr(node.target, '__name__', node.target)} (step '{node.name}')"
        reason = f": {node.meta['refused']}" if "refused" in node.meta else ""
        return f"channels can't be followed through {operation}{reason}"
