"""The part of an image that is enough to excite a unit, and the work that it takes, without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from circuitlang.engine.graph.channel_nodes import Layer
from circuitlang.engine.graph.receptive_field import Box, Node, Nodes, aligned_crop
from circuitlang.engine.visuals import amounts

# For a larger share of the pixels, computing the whole takes no longer.
_SMALL = 0.75
# The operations of a step of ascent, forward and backward, in times of those of a forward pass.
_STEP = 3


class _Operation(Node, Protocol):
    @property
    def layer(self) -> Layer | None: ...


class Operations(Nodes, Protocol):
    """A graph of channels whose nodes have layers: see `channel_graph.Graph`."""

    def ancestors(self, name: str, /) -> Sequence[_Operation]: ...


def part(graph: Nodes, node: str, place: tuple[int, int]) -> tuple[Box, tuple[int, int]] | None:
    """Return the part of an image that a place in a node's map sees, and the place in the part's map.

    None stands for the whole image, where that takes no longer.
    """
    crop = aligned_crop(graph, node, *place)
    height, width = graph.steps[graph.image].positions
    if crop is None:
        return None
    top, left, bottom, right = crop[0]
    return crop if (bottom - top) * (right - left) <= _SMALL * height * width else None


def middle(positions: tuple[int, ...]) -> tuple[int, int]:
    """Return the middle of a map."""
    row, column, *_ = (*positions, 1, 1)
    return row // 2, column // 2


def reducible(size: tuple[int, int]) -> bool:
    """Return whether a unit without a position of its own is tried on a smaller image than one of this size."""
    return min(size) > amounts.SIDE


def work(graph: Operations, node: str) -> int:
    """Return about how many operations an image that excites a channel of a node takes."""
    height, width = graph.steps[graph.image].positions
    crop = part(graph, node, middle(graph.steps[node].positions))
    size = (crop[0][2] - crop[0][0], crop[0][3] - crop[0][1]) if crop else (height, width)
    rows, columns = (amounts.SIDE, amounts.SIDE) if reducible(size) else size
    layers = ((step.layer, math.prod(step.positions)) for step in graph.ancestors(node) if step.layer)
    weights = ((layer.out_channels * layer.in_channels_per_group * math.prod(layer.size), at) for layer, at in layers)
    forward = sum(2 * number * at for number, at in weights)
    return amounts.STEPS * (_STEP * forward * rows * columns // (height * width) + amounts.OVERHEAD)
