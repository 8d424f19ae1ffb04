"""The order of the slots in every column, chosen so that few connections cross.

The layered drawing of Sugiyama, Tagawa and Toda (1981): a connection over several columns gets a slot in each
column it passes, and sweeps to and fro put every slot at the weighted barycentre of its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from circuitlang.results.connections import Channel, Connection

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
    best = order = [sorted(slot for slot in graph if slot.column == column) for column in range(count)]
    fewest = _crossings(graph, order)
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        order = list(order)
        for column in range(1, count) if forward else range(count - 2, -1, -1):
            beside = order[column - 1 if forward else column + 1]
            order[column] = _by_barycentre(graph, order[column], beside, forward)
        crossings = _crossings(graph, order)
        if crossings < fewest:
            best, fewest = order, crossings
        if not fewest:
            break
    return best


def _graph(connections: Sequence[Connection], channels: set[Channel], column_of: Mapping[int, int]) -> nx.DiGraph[Slot]:
    """Slots joined between neighbouring columns; connections of one channel and sign share a lane."""
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


def _by_barycentre(graph: nx.DiGraph[Slot], column: list[Slot], beside: list[Slot], forward: bool) -> list[Slot]:
    height = {slot: (number + 0.5) / len(beside) for number, slot in enumerate(beside)}

    def barycentre(numbered: tuple[int, Slot]) -> tuple[float, int]:
        number, slot = numbered
        edges = graph.pred[slot] if forward else graph.succ[slot]
        if not edges:
            return (number + 0.5) / len(column), number
        weights = {neighbour: data["weight"] for neighbour, data in edges.items()}
        mean = sum(height[neighbour] * weight for neighbour, weight in weights.items()) / sum(weights.values())
        # Rounded, so that the order of a sum doesn't decide between equals.
        return round(mean, 9), number

    return [slot for _, slot in sorted(enumerate(column), key=barycentre)]


def _crossings(graph: nx.DiGraph[Slot], order: list[list[Slot]]) -> float:
    """Sum the crossings between neighbouring columns, weighted by the influence of the two connections."""
    place = {slot: number for column in order for number, slot in enumerate(column)}
    total = 0.0
    for column in order:
        edges = [
            (place[here], place[there], data["weight"]) for here in column for there, data in graph.succ[here].items()
        ]
        if edges:
            total += _inversions(np.array(edges, dtype=np.float64), int(max(edge[1] for edge in edges)) + 1)
    return round(total, 6)


def _inversions(edges: NDArray[np.float64], count: int) -> float:
    """Summed products of weights of pairs of edges (from, to, weight), sorted by `from`, that cross."""
    seen = np.zeros(count)
    total = 0.0
    for start in np.unique(edges[:, 0]):
        group = edges[edges[:, 0] == start]
        below = seen[::-1].cumsum()[::-1] - seen  # weight of what ends further down but began further up
        ends = group[:, 1].astype(np.int64)
        total += float((below[ends] * group[:, 2]).sum())
        np.add.at(seen, ends, group[:, 2])
    return total
