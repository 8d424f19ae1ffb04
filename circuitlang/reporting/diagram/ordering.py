"""The order of the slots in every column, chosen so that few connections cross.

The layered drawing of Sugiyama, Tagawa and Toda (1981): a connection over several columns gets a slot in each
column it passes, and sweeps to and fro put every slot at the weighted barycentre of its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from circuitlang.results.connections import Channel, Connection

if TYPE_CHECKING:
    import networkx as nx

SWEEPS = 24


class Slot(NamedTuple):
    """A place in a column: a channel's own, or that of the lane in which its connections of one sign pass."""

    column: int
    layer: int
    channel: int
    sign: int = 0
    lane: bool = False


def way(one: Connection, first: int, last: int) -> list[Slot]:
    """Return the slots of a connection from one column to another.

    A connection that leads back, or into its own column, has lanes in both of these too: it leaves to the right and
    arrives from the left.
    """
    columns = range(first + 1, last) if first < last else range(first, last - 1, -1)
    lanes = [Slot(column, *one.source, one.sign, lane=True) for column in columns]
    return [Slot(first, *one.source), *lanes, Slot(last, *one.target)]


def ordered(connections: Sequence[Connection], channels: set[Channel], layers: Sequence[int]) -> list[list[Slot]]:
    """Return the slots of every layer's column from top to bottom, with few (and preferably weak) crossings."""
    count = len(layers)
    graph = _graph(connections, channels, {layer: number for number, layer in enumerate(layers)})
    slots = _Slots(graph)
    best = order = [
        [slots.numbers[slot] for slot in sorted(slot for slot in graph if slot.column == column)]
        for column in range(count)
    ]
    fewest = _crossings(slots, order)
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        order = list(order)
        for column in range(1, count) if forward else range(count - 2, -1, -1):
            beside = order[column - 1 if forward else column + 1]
            order[column] = _by_barycentre(slots.before if forward else slots.after, order[column], beside)
        crossings = _crossings(slots, order)
        if crossings < fewest:
            best, fewest = order, crossings
        if not fewest:
            break
    names = list(graph)
    return [[names[number] for number in column] for column in best]


class _Neighbours(NamedTuple):
    """The slots beside a slot, by their numbers, with the weights of the edges and their sum."""

    numbers: list[int]
    weights: list[float]
    whole: float


class _Slots:
    """The slots of a graph by number, with their neighbours: sweeps ask for these again and again."""

    def __init__(self, graph: nx.DiGraph[Slot]) -> None:
        self.numbers = {slot: number for number, slot in enumerate(graph)}
        self.before = [self._neighbours(graph.pred[slot]) for slot in graph]
        self.after = [self._neighbours(graph.succ[slot]) for slot in graph]
        self.ends = [np.array(after.numbers, np.int64) for after in self.after]
        self.weights = [np.array(after.weights) for after in self.after]

    def _neighbours(self, edges: Mapping[Slot, Mapping[str, float]]) -> _Neighbours:
        weights = [data["weight"] for data in edges.values()]
        return _Neighbours([self.numbers[slot] for slot in edges], weights, sum(weights))


def _graph(connections: Sequence[Connection], channels: set[Channel], column_of: Mapping[int, int]) -> nx.DiGraph[Slot]:
    """Slots joined between neighbouring columns; connections of one channel and sign share a lane."""
    import networkx as nx

    graph: nx.DiGraph[Slot] = nx.DiGraph()
    for layer, channel in sorted(channels):
        graph.add_node(Slot(column_of[layer], layer, channel))
    strongest = max((one.influence for one in connections), default=0.0) or 1.0
    for one in connections:
        first, last = column_of[one.source[0]], column_of[one.target[0]]
        for here, there in pairwise(way(one, first, last)):
            graph.add_nodes_from((here, there))
            if here.column == there.column:
                continue
            # From the left to the right, wherever the connection leads: what crosses what is the same.
            here, there = min(here, there), max(here, there)
            weight = graph.get_edge_data(here, there, {"weight": 0.0})["weight"]
            # Also the weakest connection has a say, or it would cross everything.
            graph.add_edge(here, there, weight=weight + 0.02 + (one.influence / strongest) ** 0.5)
    return graph


def _by_barycentre(neighbours: Sequence[_Neighbours], column: list[int], beside: list[int]) -> list[int]:
    height = {slot: (number + 0.5) / len(beside) for number, slot in enumerate(beside)}

    def barycentre(numbered: tuple[int, int]) -> tuple[float, int]:
        number, slot = numbered
        near, weights, whole = neighbours[slot]
        if not near:
            return (number + 0.5) / len(column), number
        mean = sum([height[other] * weight for other, weight in zip(near, weights, strict=True)]) / whole
        # Rounded, so that the order of a sum doesn't decide between equals.
        return round(mean, 9), number

    return [slot for _, slot in sorted(enumerate(column), key=barycentre)]


def _crossings(slots: _Slots, order: list[list[int]]) -> float:
    """Sum the crossings between neighbouring columns, weighted by the influence of the two connections."""
    place = np.zeros(len(slots.numbers), np.int64)
    for column in order:
        place[column] = np.arange(len(column))
    total = 0.0
    for column in order:
        edges = [(place[slots.ends[slot]], slots.weights[slot]) for slot in column if len(slots.ends[slot])]
        if edges:
            total += _inversions(edges, max(int(ends.max()) for ends, _ in edges) + 1)
    return round(total, 6)


def _inversions(edges: Sequence[tuple[NDArray[np.int64], NDArray[np.float64]]], count: int) -> float:
    """Summed products of weights of pairs of edges that cross; those of each slot, from the top, by their ends."""
    seen = np.zeros(count)
    total = 0.0
    for ends, weights in edges:
        below = seen[::-1].cumsum()[::-1] - seen  # weight of what ends further down but began further up
        total += float((below[ends] * weights).sum())
        np.add.at(seen, ends, weights)
    return total
