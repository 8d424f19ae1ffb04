"""The part of an image that is enough to excite a unit, without torch."""

from __future__ import annotations

from circuitlang.engine.graph.receptive_field import Box, Nodes, aligned_crop

# For a larger share of the pixels, computing the whole takes no longer.
_SMALL = 0.75


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
