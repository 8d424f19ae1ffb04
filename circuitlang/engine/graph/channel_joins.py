"""Rules for operations that join several nodes: concatenation and stacking."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import fx

from circuitlang.engine.graph.channel_nodes import ChannelEdge, ChannelNode
from circuitlang.engine.graph.channel_rules import STACKED, Call, Mixed
from circuitlang.engine.graph.node_calls import operation


def stacked(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    """Return the node of a stack along a new dimension, each channel by itself; None for any other operation."""
    parts = call.argument(0, "tensors")
    if operation(call.node) not in STACKED or not isinstance(parts, (list, tuple)):
        return None
    operands = [steps.get(part.name) for part in parts if isinstance(part, fx.Node)]
    first = operands[0] if operands else None
    if first is None or any(step is None or (step.axis, step.width) != (first.axis, first.width) for step in operands):
        return None
    rank, shape = len(first.shape) + 1, tuple(call.node.meta["shape"][1:])
    new = call.argument(1, "dim", 0) % (rank + 1)
    if new == 0:
        return None
    axis = first.axis % rank
    axis += axis >= new
    own = torch.arange(first.width)
    edges = tuple(ChannelEdge(step.name, own, own) for step in operands if step)
    return ChannelNode(
        call.node.name, first.width, edges, "each", None, None, 1 if axis == 1 else axis - rank - 1, shape
    )


def concatenated(node: fx.Node, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    """Return the node of a concatenation, along the channels or channel by channel along rows or columns.

    None stands for a concatenation whose operands have no channels along one and the same dimension. Raises Mixed if
    the dimension is unknown.
    """
    parts = node.args[0] if node.args else node.kwargs["tensors"]
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
    if not isinstance(parts, (list, tuple)) or not isinstance(axis, int):
        raise Mixed
    shape = tuple(node.meta["shape"][1:])
    rank = len(shape) + 1
    operands = [steps.get(part.name) for part in parts if isinstance(part, fx.Node) and "value" not in part.meta]
    known = [step for step in operands if step]
    if None in operands or len({step.axis for step in known}) > 1 or axis % rank == 0:
        return None
    first = known[0]
    if first.axis % rank != axis % rank:
        own = torch.arange(first.width)
        along = tuple(ChannelEdge(step.name, own, own) for step in known)
        return ChannelNode(node.name, first.width, along, "each", windows=None, axis=first.axis, shape=shape)
    edges, start = [], 0
    for part in parts:
        step = steps.get(part.name) if isinstance(part, fx.Node) else None
        width = step.width if step else part.meta["value"].shape[axis]
        if step:
            own = torch.arange(width)
            edges.append(ChannelEdge(step.name, own, own + start))
        start += width
    return ChannelNode(node.name, start, tuple(edges), "cat", axis=first.axis, shape=shape)
