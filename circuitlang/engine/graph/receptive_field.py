"""Receptive fields: the part of the image that a position of a node sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from circuitlang.engine.graph.channel_nodes import Windows

# Top, left, bottom, right; bottom and right are exclusive.
Box = tuple[int, int, int, int]


class _Edge(Protocol):
    @property
    def node(self) -> str: ...


class Node(Protocol):
    """A node of a graph of channels, as far as receptive fields follow from it."""

    @property
    def name(self) -> str: ...
    @property
    def edges(self) -> Sequence[_Edge]: ...
    @property
    def windows(self) -> Windows | None: ...
    @property
    def positions(self) -> tuple[int, ...]: ...


class Nodes(Protocol):
    """A graph of channels, as far as receptive fields follow from it: see `channel_graph.Graph`."""

    @property
    def steps(self) -> Mapping[str, Node]: ...
    @property
    def image(self) -> str: ...
    def ancestors(self, name: str, /) -> Sequence[Node]: ...


def receptive_field(graph: Nodes, node: str, row: int, column: int) -> Box | None:
    """Return the pixels that a position of a node can see, unclipped: they may lie beyond the image.

    None stands for the whole image, as behind a global pool.
    """
    boxes: dict[str, Box | None] = {node: (row, column, row + 1, column + 1)}
    for step in reversed(graph.ancestors(node)):
        if step.name not in boxes or step.name == graph.image:
            continue
        box = boxes[step.name]
        seen = _inputs_of(box, step.windows) if box and step.windows else None
        for edge in step.edges:
            boxes[edge.node] = _hull(boxes[edge.node], seen) if edge.node in boxes else seen
    return boxes.get(graph.image)


def aligned_crop(graph: Nodes, node: str, row: int, column: int) -> tuple[Box, tuple[int, int]] | None:
    """Return a crop of the image that is enough to compute one position of a node, and the position in its map.

    The crop's own padding spoils only what the position doesn't see. The crop begins where all strides do, so that its
    maps are parts of those of the whole image. None stands for the whole image.
    """
    box, following = receptive_field(graph, node, row, column), receptive_field(graph, node, row + 1, column + 1)
    if box is None or following is None:
        return None
    height, width = graph.steps[graph.image].positions
    strides = following[0] - box[0], following[1] - box[1]
    first = [max(low, 0) // stride for low, stride in zip(box[:2], strides, strict=True)]
    top, left = (number * stride for number, stride in zip(first, strides, strict=True))
    crop = top, left, min(box[2], height), min(box[3], width)
    return None if crop == (0, 0, height, width) else (crop, (row - first[0], column - first[1]))


def _inputs_of(box: Box, windows: Windows) -> Box:
    """Return the inputs that the outputs in a box read."""
    (top, left, bottom, right), (v, h) = box, windows
    return (
        top * v.stride - v.padding,
        left * h.stride - h.padding,
        (bottom - 1) * v.stride - v.padding + v.extent,
        (right - 1) * h.stride - h.padding + h.extent,
    )


def _hull(one: Box | None, other: Box | None) -> Box | None:
    """Return the smallest box around two; None, the whole image, where one is None."""
    if one is None or other is None:
        return None
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])
