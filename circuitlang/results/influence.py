"""Influence: what flows along an edge to the target, and the subnetworks that carry most of it.

1. Each channel's input is divided among its edges in proportion to their strengths; the shares add up to one.
2. One unit of influence starts at the target channels and is followed backwards: a channel passes on all that it
   receives to the channels that it reads, by their shares. All of it ends at the image.
3. The influence of an edge is the sum over all paths through it of the products of their shares.
4. The edges of least influence are removed, a few at a time. An edge on none of the paths that are left has no
   influence any more and goes with them, so that the rest are whole paths. What is removed last is drawn first.

The influence of steps 1 to 3 is that of Ameisen et al., Circuit Tracing (2025), whose graphs are pruned by it once, at
a threshold. Step 4 measures it again in what is left, and so finds few edges that carry much together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from circuitlang.base.deferred import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Floats = NDArray[np.float64]


_STEPS = 10_000  # for circuits with loops, in which influence may go round
_REST = 1e-12  # influence, of what there was, that is not followed any further round a loop
# The share of the edges that is removed at a time: a third where far more are left than are drawn, then a fortieth.
_COARSE, _FINE = 3, 40


@dataclass(frozen=True)
class EdgeTable:
    """Edges from channel `source[n]` to channel `target[n]`, of `channels`; 0 is the image.

    `share[n]` is the edge's part of all that its target reads. `ends` are the channels of the target.
    """

    source: Integers
    target: Integers
    share: Floats
    channels: int
    ends: Integers

    def part(self, numbers: Integers) -> EdgeTable:
        """Return some of the edges."""
        return EdgeTable(self.source[numbers], self.target[numbers], self.share[numbers], self.channels, self.ends)


@dataclass(frozen=True)
class WholePaths:
    """Edges in the order in which they are drawn: their numbers, and the step at which they come in.

    The edges of the first steps, however many, are whole paths from the image to the target. Edges that are on no path
    come last.
    """

    order: list[int]
    step: list[int]


def shares(target: Integers, strength: Floats, channels: int, otherwise: Floats | None = None) -> Floats:
    """Return the share of each edge in the input of its target.

    Where no edge of a target has strength, the shares are those of `otherwise`, or equal. Strengths are finite and not
    negative.
    """
    peak = np.zeros(channels)
    np.maximum.at(peak, target, strength)
    silent = peak[target] == 0
    relative = np.where(silent, 1.0, strength / np.where(silent, 1.0, peak[target]))
    total = np.bincount(target, relative, channels)
    divided: Floats = relative / total[target]
    return divided if otherwise is None else np.where(silent, otherwise, divided)


def influence(edges: EdgeTable) -> tuple[Floats, float]:
    """Return the influence of each edge along paths of these edges alone, and the sum over all of these paths.

    Both are parts of the one unit that starts at the target.
    """
    start = np.zeros(edges.channels)
    start[edges.ends] = 1 / max(len(edges.ends), 1)
    received = _follow(start, edges.target, edges.source, edges.share)
    image = np.zeros(edges.channels)
    image[0] = 1.0
    # The part of what a channel receives that arrives at the image.
    arriving = _follow(image, edges.source, edges.target, edges.share)
    influences: Floats = received[edges.target] * edges.share * arriving[edges.source]
    return influences, min(float(start @ arriving), 1.0)


def _follow(start: Floats, near: Integers, far: Integers, share: Floats) -> Floats:
    """Return the sum over all walks from the channels in `start` of the products of their shares, by last channel."""
    total: Floats = start.copy()
    step: Floats = start
    for number in range(_STEPS):
        step = np.bincount(far, step[near] * share, len(start)).astype(np.float64)
        total += step
        # Without a loop the step is nothing after as many steps as there are layers.
        if not step.any() or (number > len(start) and step.sum() < _REST * total.sum()):
            break
    return total


def whole_paths(edges: EdgeTable, limit: int) -> WholePaths:
    """Choose at most `limit` edges that carry much of the influence, as whole paths; `limit` is more than one path."""
    left = np.arange(len(edges.source))
    removed: list[Integers] = []
    strengths, _ = influence(edges)
    loose = left[strengths <= 0]
    while len(left):
        influences, _ = influence(edges.part(left))
        connected = influences > 0
        order = np.argsort(-influences, kind="stable")[: connected.sum()]
        count = len(order)
        fewer = max(1, count // (_COARSE if count > 4 * limit else _FINE))
        fewer = min(fewer, count - limit) if count > limit else fewer
        # Without a path through them edges go with those whose removal cut it.
        if removed:
            removed[-1] = np.concatenate([removed[-1], left[~connected]])
        if not count:
            break
        removed.append(left[order[count - fewer :]])
        left = np.sort(left[order[: count - fewer]])
    steps, room = removed[::-1], limit
    chosen: list[Integers] = []
    for edge_numbers in [*steps, loose]:
        if len(edge_numbers) > room:
            break
        room -= len(edge_numbers)
        chosen.append(edge_numbers[np.argsort(-strengths[edge_numbers], kind="stable")])
    order_of_all = np.concatenate(chosen) if chosen else np.zeros(0, np.int64)
    number = np.repeat(np.arange(len(chosen)), [len(one) for one in chosen])
    return WholePaths(order_of_all.tolist(), number.tolist())
