"""Track channels through traced operations: which channels of which nodes feed those of each operation.

There are rules for operations that treat each channel by itself and for those that mix channels (`channel_rules`).
Pure data movement needs no rule: it is run on numbers that say where each value comes from (`index_tracing`). The
result of any other operation is taken to depend on all channels that go into it; it becomes a channel node where a
layer, or a node whose channels are known, says along which dimension its channels lie. Whether it mixes images is
tested (`image_mixing`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from circuitlang.engine.graph.block_outputs import NODES
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_joins import concatenated, stacked
from circuitlang.engine.graph.channel_nodes import ChannelEdge, ChannelNode
from circuitlang.engine.graph.channel_rules import (
    ONE,
    PLACED,
    RULES,
    TUPLES,
    UNCHANGED,
    Call,
    Mixed,
    Unsupported,
    arguments,
    joined,
    moves,
    padding,
    same,
    windows_of,
)
from circuitlang.engine.graph.image_mixing import BATCH, check_images_separate
from circuitlang.engine.graph.index_tracing import IndexTracer
from circuitlang.engine.graph.layer_naming import named_layers
from circuitlang.engine.graph.node_calls import operation


def track_channels(module: fx.GraphModule) -> Graph:
    """Return the channel graph of a traced network.

    Its nodes know their shapes, of a batch (`meta["shape"]`), and values that don't depend on the images
    (`meta["value"]`).
    """
    return _ChannelTracker(module).track()


class _ChannelTracker:
    """Goes through a traced network once, and makes channel nodes of operations."""

    def __init__(self, module: fx.GraphModule) -> None:
        self._module = module
        self._steps: dict[str, ChannelNode] = {}
        # Operations that have no channel node, and the names of the channel nodes that they are computed from.
        self._bases: dict[str, tuple[str, ...]] = {}
        self._tuples: dict[str, Call] = {}
        self._indices = IndexTracer(module)
        self._layers = dict(named_layers(module))
        for node in module.graph.nodes:
            if node.op == "call_module" and str(node.target) in self._layers:
                node.meta["layer"] = self._layers[str(node.target)].name

    def track(self) -> Graph:
        image = ""
        for node in self._module.graph.nodes:
            if node.op == "placeholder" and not image:
                image, shape = node.name, tuple(node.meta["shape"][1:])
                self._keep(node, ChannelNode(node.name, shape[0], (), "image", shape=shape))
            elif "value" in node.meta:
                node.meta["followed"] = True
            elif node.op not in ("placeholder", "output"):
                try:
                    self._keep(node, self._step(node))
                except Unsupported as refusal:
                    node.meta["refused"] = str(refusal)
        self._add_named_nodes()
        return Graph(self._module, self._steps, image)

    def _keep(self, node: fx.Node, step: ChannelNode | None) -> None:
        if step is not None:
            self._steps[node.name] = step
        if step is not None or node.name in self._bases:
            node.meta["followed"] = True

    def _add_named_nodes(self) -> None:
        """Add channel nodes for everything that a target may name: results of modules, and the output."""
        *_, output = self._module.graph.nodes
        blocks = set(self._module.meta.get(NODES, {}).values())
        for node in self._module.graph.nodes:
            named = node.op == "call_module" or output in node.users or node.name in blocks
            if node.name in self._bases and named:
                rank = len(node.meta.get("shape", ()))
                try:
                    self._demand(node, -1 if rank == 3 else 1)
                except Mixed:
                    continue
                except Unsupported as refusal:
                    del node.meta["followed"]
                    node.meta["refused"] = str(refusal)

    def _step(self, node: fx.Node) -> ChannelNode | None:
        """Return the channel node of an operation; None where it has none, or none as yet."""
        if "written" in node.meta:
            raise Unsupported(f"it reads what {node.meta['written']} wrote into")
        inputs = [source for source in node.all_input_nodes if "value" not in source.meta]
        if any("followed" not in source.meta for source in inputs):
            return None
        try:
            return self._by_rule(node, inputs)
        except Mixed:
            if "refused" in node.meta and "computed" not in node.meta:
                raise Unsupported(node.meta["refused"]) from None
            self._check_own_weights(node)
            self._bases[node.name] = self._bases_of(inputs)
            return None

    def _check_own_weights(self, node: fx.Node) -> None:
        """Check that an operation with weights shares none with a layer, whose kernels may be removed."""
        for used in node.all_input_nodes:
            if used.op == "get_attr":
                layer = self._layers.get(str(used.target).rpartition(".")[0])
                if layer is not None:
                    raise Unsupported(f"it shares its weights with {layer.path}")

    def _bases_of(self, inputs: list[fx.Node]) -> tuple[str, ...]:
        """Return the channel nodes that operations have or are computed from."""
        bases = ((node.name,) if node.name in self._steps else self._bases[node.name] for node in inputs)
        return tuple(dict.fromkeys(name for names in bases for name in names))

    def _by_rule(self, node: fx.Node, inputs: list[fx.Node]) -> ChannelNode | None:
        """Return the channel node of an operation by its rule. Raises Mixed if only its inputs are known."""
        if node.op == "call_module":
            module = self._module.get_submodule(str(node.target))
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                return self._layer(node, module)
            rule: Any = next((RULES[kind] for kind in type(module).__mro__ if kind in RULES), None)
            call = Call(node, inputs, (*node.args[:1], *arguments(module)), {})
        else:
            rule = RULES.get(node.target) or RULES.get(operation(node))
            call = Call(node, inputs, node.args, node.kwargs)
        if rule is not joined and operation(node) in TUPLES and "shape" not in node.meta:
            # Values and positions: each gets a channel node where it is taken out of the tuple.
            self._tuples[node.name] = call
            raise Mixed
        if operation(node) in ("getitem", "getattr") and inputs[0].name in self._tuples:
            return self._entry(node, self._tuples[inputs[0].name])
        if rule is moves or (operation(node) in UNCHANGED and inputs[0] in self._indices):
            return self._rearranged(node, call)
        if rule is None:
            raise Mixed
        self._agree_on_axis(inputs, rule)
        if rule is joined:
            return concatenated(node, self._steps) or self._move(node)
        step: ChannelNode | None = rule(call, self._steps)
        return step

    def _entry(self, node: fx.Node, call: Call) -> ChannelNode:
        """Return the channel node of one of an operation's results."""
        rule: Any = RULES[operation(call.node)]
        self._agree_on_axis(call.inputs, rule)
        call.shape = tuple(node.meta["shape"][1:])
        step: ChannelNode = rule(call, self._steps)
        return replace(step, name=node.name)

    def _agree_on_axis(self, inputs: list[fx.Node], rule: Any) -> None:
        """Add channel nodes for inputs without one.

        Their channels lie along the dimension of other inputs' channels, or along that of the rule.
        """
        known = [self._steps[source.name] for source in inputs if source.name in self._steps]
        for source in inputs:
            if source.name not in self._steps:
                shape = source.meta.get("shape", ())
                axes = [step.axis for step in known if len(step.shape) + 1 == len(shape)]
                if not axes and rule not in PLACED:
                    raise Mixed
                self._demand(source, axes[0] if axes else 1)

    def _demand(self, node: fx.Node, axis: int) -> ChannelNode:
        """Return the channel node of an operation with channels along a dimension; it is added where there is none.

        Raises Mixed if its channels lie along another dimension.
        """
        shape = tuple(node.meta.get("shape", ()))
        if node.name not in self._steps:
            if len(shape) < 2 or shape[0] != BATCH or not -len(shape) < axis < len(shape):
                raise Mixed
            bases = [self._steps[name] for name in self._bases[node.name]]
            check_images_separate(self._module, node, list(self._between(node)), bases)
            edges = []
            for base in bases:
                own = torch.arange(base.width)
                edges.append(ChannelEdge(base.name, own, torch.zeros_like(own)))
            axis = axis if axis == 1 else axis % len(shape) - len(shape)
            self._steps[node.name] = ChannelNode(
                node.name, shape[axis], tuple(edges), "mix", None, None, 1 if len(shape) == 2 else axis, shape[1:], 1
            )
        step = self._steps[node.name]
        if step.axis % len(shape) != axis % len(shape):
            raise Mixed
        return step

    def _between(self, node: fx.Node) -> Iterator[fx.Node]:
        """Yield the operations that lead from a node's bases to it, in order."""
        bases, wanted = self._bases[node.name], {node}
        for later in reversed(list(self._module.graph.nodes)):
            if later in wanted:
                used = [source for source in later.all_input_nodes if source.name not in bases]
                wanted.update(source for source in used if "value" not in source.meta)
        yield from (between for between in self._module.graph.nodes if between in wanted)

    def _layer(self, node: fx.Node, module: nn.Conv2d | nn.Linear) -> ChannelNode | None:
        """Return the channel node of a convolution or linear layer."""
        (input_node,) = node.all_input_nodes
        layer, shape = self._layers[str(node.target)], tuple(node.meta["shape"][1:])
        convolution = isinstance(module, nn.Conv2d)
        source = self._steps.get(input_node.name)
        if source is None:
            source = self._demand(input_node, 1 if convolution or len(shape) == 1 else -1)
        if len(source.shape) != len(shape):
            raise Mixed
        own = torch.arange(source.width)
        edge = ChannelEdge(source.name, own, own)
        if not convolution:
            if source.axis % (len(shape) + 1) != len(shape):
                # Its inputs are positions of each channel, which it mixes; its weights are no kernels.
                return same(Call(node, [input_node], node.args, {}), self._steps, None)
            return ChannelNode(
                node.name, layer.out_channels, (edge,), "layer", layer, ONE, 1 if len(shape) == 1 else -1, shape
            )
        if source.axis != 1 or len(shape) != 3:
            raise Mixed
        assert isinstance(module, nn.Conv2d)
        windows = windows_of(module.kernel_size, module.stride, padding(module), module.dilation)
        return ChannelNode(node.name, layer.out_channels, (edge,), "layer", layer, windows, 1, shape)

    def _rearranged(self, node: fx.Node, call: Call) -> ChannelNode | None:
        """Return the channel node of an operation that only moves values.

        A stack is one node of as many channels where its operands' are not channels of one dimension; operations behind
        it still know where each value came from.
        """
        stack = stacked(call, self._steps)
        try:
            return self._move(node) or stack
        except Mixed:
            if stack is None:
                raise
            return stack

    def _move(self, node: fx.Node) -> ChannelNode | None:
        """Run an operation on numbers of values, and return its channel node if it has channels still.

        Raises Mixed if it can't be run on numbers, or moves channels and positions at once.
        """
        moved = self._indices.run(node, self._steps)
        self._bases[node.name] = self._bases_of(
            [source for source in node.all_input_nodes if "value" not in source.meta]
        )
        step = self._indices.channel_node(node, moved) if isinstance(moved, Tensor) else None
        if step is not None:
            self._indices.forget(node)
            del self._bases[node.name]
        return step
