"""Track channels through operations that only move values, by running them on numbers that say where values come from.

Each value of a node's output has its own number. Where an operation leaves the numbers says which channel of which
node, and which of its positions, each value of the result is.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx

from circuitlang.engine.graph.channel_nodes import ChannelEdge, ChannelNode, Kind, ReceptiveWindow, Windows
from circuitlang.engine.graph.channel_rules import ONE, Mixed
from circuitlang.engine.graph.image_mixing import BATCH
from circuitlang.engine.graph.node_calls import call

# The least number of a value. Values below were made on the way, by padding or of a constant.
_FIRST = 1 << 40

Moved: TypeAlias = "Tensor | tuple[Moved, ...] | list[Moved]"


class IndexTracer:
    """Runs operations on numbers of values, and finds out what became of the channels."""

    def __init__(self, module: fx.GraphModule) -> None:
        self._module = module
        self._moved: dict[str, Moved] = {}
        self._origins: list[tuple[int, ChannelNode]] = []

    def __contains__(self, node: fx.Node) -> bool:
        return node.name in self._moved

    def run(self, node: fx.Node, steps: Mapping[str, ChannelNode]) -> Moved:
        """Run an operation on the numbers of its inputs, and remember the result as the node's numbers.

        Raises Mixed if an input has neither numbers nor a channel node, or if the operation can't be run on numbers.
        """
        inputs = [source for source in node.all_input_nodes if "value" not in source.meta]
        if any(source.name not in steps and source not in self for source in inputs):
            raise Mixed

        def value(used: fx.Node) -> Any:
            if "value" in used.meta:
                return used.meta["value"]
            return self._moved[used.name] if used in self else self._number(steps[used.name])

        arguments, keywords = fx.map_arg(node.args, value), fx.map_arg(node.kwargs, value)
        try:
            moved: Moved = call(self._module, node, arguments, keywords)
        except (RuntimeError, NotImplementedError, TypeError, IndexError):
            raise Mixed from None
        self._moved[node.name] = moved
        return moved

    def forget(self, node: fx.Node) -> None:
        """Forget the numbers of a node, so that operations behind it begin with its own channels."""
        del self._moved[node.name]

    def _number(self, step: ChannelNode) -> Tensor:
        """Return a new number for each value of a node's output for a batch."""
        size = math.prod(step.shape) * BATCH
        start = self._origins[-1][0] if self._origins else _FIRST
        last = self._origins[-1][1] if self._origins else None
        start += math.prod(last.shape) * BATCH if last else 0
        self._origins.append((start, step))
        return torch.arange(start, start + size, dtype=torch.float64, device="cpu").reshape(BATCH, *step.shape)

    def channel_node(self, node: fx.Node, numbers: Tensor) -> ChannelNode | None:
        """Return the node of moved values; None where one of its channels is not one channel of one node."""
        shape = tuple(numbers.shape[1:])
        if len(numbers) != BATCH or not shape:
            return None
        located = self._locate(numbers)
        if located is None:
            return None
        sources, channel, position, axis = located
        channel, position = (tensor.movedim(axis, 0).reshape(shape[axis], -1) for tensor in (channel, position))
        feeding = channel.amax(1)
        edges, first = [], 0
        for step in sources:
            target = ((feeding >= first) & (feeding < first + step.width)).nonzero()[:, 0]
            edges.append(ChannelEdge(step.name, feeding[target] - first, target))
            first += step.width
        positions = shape[:axis] + shape[axis + 1 :]
        inputs = [source.name for source in node.all_input_nodes]
        kind, windows = _kind_of(position, positions, edges, sources, inputs)
        along = 1 if axis == 0 else axis - len(shape)
        return ChannelNode(node.name, len(feeding), tuple(edges), kind, None, windows, along, shape)

    def _locate(self, numbers: Tensor) -> tuple[list[ChannelNode], Tensor, Tensor, int] | None:
        """Return where values of one image come from, or None if they are not each image's or lie along no dimension.

        The result is the nodes that they come from, the channel of each value (counted through all these nodes; -1 for
        values made on the way), its position in the channel, and the dimension that the channels lie along.
        """
        numbers, other = numbers.nan_to_num(0, 0, 0).to(torch.int64)
        channel, position = torch.full_like(numbers, -1), torch.full_like(numbers, -1)
        sources, first = [], 0
        for start, step, where in self._sources(numbers):
            size = math.prod(step.shape)
            own = numbers[where] - start
            # The values of the first image, and the same ones of the second.
            if (own >= size).any() or not torch.equal(other[where], numbers[where] + size):
                return None
            stride = math.prod(step.shape[step.axis % (len(step.shape) + 1) :])
            rest = own // stride
            channel[where] = rest % step.width + first
            position[where] = rest // step.width * stride + own % stride
            first += step.width
            sources.append(step)
        if not sources or (other[numbers < _FIRST] >= _FIRST).any():
            return None
        axis = _axis_of(numbers, channel)
        return None if axis is None else (sources, channel, position, axis)

    def _sources(self, numbers: Tensor) -> Iterator[tuple[int, ChannelNode, Any]]:
        """Yield the nodes that values come from: their first number, the node, and which values are theirs."""
        starts = [start for start, _ in self._origins]
        low, high = (bisect_right(starts, int(extreme)) - 1 for extreme in (numbers.min(), numbers.max()))
        if low == high >= 0:
            yield *self._origins[low], slice(None)
        elif low < high:
            origin = torch.bucketize(numbers.contiguous(), torch.tensor(starts), right=True) - 1
            for number in range(max(low, 0), high + 1):
                where = origin == number
                if where.any():
                    yield *self._origins[number], where


def _axis_of(numbers: Tensor, channel: Tensor) -> int | None:
    """Return the dimension that the channels lie along: in all others there are the same ones, or constants."""
    axes = []
    for axis in range(numbers.dim()):
        rows = channel.movedim(axis, 0).reshape(channel.shape[axis], -1)
        highest = rows.amax(1, keepdim=True)
        if torch.equal(rows.amin(1, keepdim=True), highest) or ((rows == highest) | (rows < 0)).all():
            axes.append(axis)
    if len(axes) > 1:
        # A single channel: it lies where nothing else does.
        free = [axis for axis in axes if (numbers == numbers.narrow(axis, 0, 1)).all()]
        axes = free or ([0] if numbers.dim() == 1 else [])
        axes = axes[:1] if axes[:1] == [0] else axes[-1:]
    return axes[0] if axes else None


def _kind_of(
    position: Tensor, shape: tuple[int, ...], edges: list[ChannelEdge], steps: list[ChannelNode], inputs: list[str]
) -> tuple[Kind, Windows | None]:
    """Return what was done to channels, and what a position sees.

    `position` [channels, positions] says which position of its source each value is, `shape` is that of a channel.
    Raises Mixed where channels and positions are mixed, or come from several operations.
    """
    count = math.prod(steps[0].positions)
    whole = (position == torch.arange(position.shape[1])) | (position < 0).all(1, keepdim=True)
    if whole.all() and all(math.prod(step.positions) == position.shape[1] for step in steps):
        return "copy", ONE if count == 1 or all(step.positions == shape for step in steps) else None
    if len(steps) > 1:
        raise Mixed("it takes apart and joins several results")
    if position.shape[1] == 1 and len(position) == steps[0].width * count > steps[0].width:
        blocks = position.reshape(-1, count)
        if (blocks == torch.arange(count)).all() and (edges[0].source.reshape(-1, count).diff(dim=1) == 0).all():
            return "flat", None
    own = torch.arange(steps[0].width)
    unmoved = torch.equal(edges[0].source, own) and torch.equal(edges[0].target, own)
    if not (unmoved and (position == position[0]).all()):
        raise Mixed("it takes channels and positions at once")
    if edges[0].node not in inputs:
        raise Mixed("it moves positions in several operations")
    if len(shape) != 2 or len(steps[0].positions) != 2:
        return "each", None
    seen, width = position[0].reshape(shape), steps[0].positions[1]
    return "each", (_window(seen, 0, lambda at: at // width), _window(seen, 1, lambda at: at % width))


def _window(seen: Tensor, axis: int, along: Callable[[Tensor], Tensor]) -> ReceptiveWindow:
    """Return what a position sees of its input along one axis, where it is one other position or nothing."""
    valid = seen >= 0
    own = torch.arange(seen.shape[axis]).reshape(-1, 1) if axis == 0 else torch.arange(seen.shape[axis])
    own, source = own.expand(seen.shape)[valid], along(seen)[valid]
    reach = int(own.max() - own.min())
    stride = max(1, round(int(source.max() - source.min()) / reach)) if reach else 1
    shift = source - own * stride
    return ReceptiveWindow(int(shift.max() - shift.min()) + 1, stride, -int(shift.min()))
