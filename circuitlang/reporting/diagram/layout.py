"""Layout: layers as columns, few crossings, long connections in lanes of their own.

Columns share a middle line; what order their slots have is decided before, in `order`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from statistics import fmean

from circuitlang.reporting.diagram.ordering import Slot, ordered, way
from circuitlang.results.connections import IMAGE, Channel, Connection

HEIGHT = 860.0  # what columns try to fit in, in pixels
ROWS = 14  # beyond, nodes stand side by side
PITCH = (31.0, 92.0)  # from node to node, label included
NODE = 0.68  # of the pitch; the rest is label and air
TARGET, PICTURE = 84.0, 68.0  # the target's and the image's node
PORT = 2.5  # from the middle of a node
LANE = 10.0
LABEL = 14.0
GUTTER = (92.0, 176.0)


@dataclass(frozen=True)
class Node:
    """A channel's place: its centre and its diameter."""

    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Column:
    """A layer's place: its horizontal extent."""

    layer: int
    left: float
    right: float


# Straight pieces ((x, y), (x, y)) across columns; curves join them.
Point = tuple[float, float]
Route = list[tuple[Point, Point]]


@dataclass(frozen=True)
class Layout:
    """Places of columns and channels, and the way of every connection; the origin is at the top left."""

    columns: list[Column]
    nodes: dict[Channel, Node]
    routes: dict[tuple[Channel, Channel], Route]
    width: float
    height: float


@dataclass(frozen=True)
class _Grid:
    """A column's slots, placed: `x` from the column's left, `y` from its middle."""

    slots: dict[Slot, Point]
    size: float
    width: float
    slant: float  # how much lower the column's right side is, for slots of the same row
    top: float
    bottom: float


def arrange(connections: Sequence[Connection], targets: Set[Channel], headings: Mapping[int, float]) -> Layout:
    """Places for the connected channels and the targets; `headings` are the widths of the layers' labels."""
    return _arranged(tuple(connections), frozenset(targets), tuple(headings.items()))


# Several files of a circuit show the same, and to find it takes the longest part of writing them.
@lru_cache(maxsize=2)
def _arranged(
    connections: tuple[Connection, ...], targets: frozenset[Channel], labels: tuple[tuple[int, float], ...]
) -> Layout:
    headings = dict(labels)
    channels = set(targets) | {end for one in connections for end in (one.source, one.target)}
    layers = sorted({layer for layer, _ in channels})
    grids = [_grid(slots, targets) for slots in ordered(connections, channels, layers)]
    columns, nodes = [], {}
    top = min(grid.top for grid in grids)
    height = max(grid.bottom for grid in grids) - top
    for layer, grid, left in zip(layers, grids, _lefts(grids, layers, headings, height), strict=True):
        columns.append(Column(layer, left, left + grid.width))
        nodes.update(
            {
                (slot.layer, slot.channel): Node(left + x, y - top, grid.size)
                for slot, (x, y) in grid.slots.items()
                if not slot.lane
            }
        )
    ports = _Ports(connections, nodes)
    routes = {(one.source, one.target): _route(one, columns, grids, ports, top) for one in connections}
    last = columns[-1]
    width = max((last.left + last.right + headings.get(last.layer, 0.0)) / 2, last.right)
    return Layout(columns, nodes, routes, width, height)


def _grid(slots: list[Slot], targets: Set[Channel]) -> _Grid:
    """Slots of a column in rows: of one node, of several when there are many, or of one lane.

    Rows are slanted, so that a level line from one node meets the gap between two others.
    """
    nodes = [slot for slot in slots if not slot.lane]
    lanes = len(slots) - len(nodes)
    wrap = 1 if len(nodes) <= ROWS else 2 if len(nodes) <= 4 * ROWS else -(-len(nodes) // 38)
    lane = min(LANE, 260.0 / lanes) if lanes else 0.0
    pitch = _pitch(len(nodes), wrap, HEIGHT - lane * lanes)
    size = NODE * pitch
    channels = {(slot.layer, slot.channel) for slot in nodes}
    if channels <= targets or channels == {IMAGE}:
        size = (PICTURE if channels == {IMAGE} else TARGET) / len(nodes) ** 0.5
        pitch = size / NODE
    step = size + max(9.0, 0.4 * size)
    placed: dict[Slot, Point] = {}
    y = 0.0
    for row in _rows(slots, set(nodes), wrap):
        tall, centre = (pitch, 0.42) if row[0] in nodes else (lane, 0.5)  # labels are below the nodes
        for number, slot in enumerate(row):
            placed[slot] = (size / 2 + number * step, y + centre * tall + number * pitch / wrap)
        y += tall
    heights = [y for _, y in placed.values()]
    middle = (min(heights) + max(heights)) / 2
    slant = (wrap - 1) * pitch / wrap
    own = [placed[slot][1] for slot in nodes]
    return _Grid(
        {slot: (x, y - middle) for slot, (x, y) in placed.items()},
        size=size,
        width=size + (min(wrap, len(nodes)) - 1) * step,
        slant=slant,
        top=min(min(own) - size / 2, min(heights) - lane / 2) - middle,
        bottom=max(max(own) + size / 2 + LABEL, (y + slant) * bool(lanes)) - middle,
    )


def _pitch(count: int, wrap: int, height: float) -> float:
    smallest, largest = PITCH
    # Two nodes side by side are no larger than they would be one below the other.
    largest = min(largest, HEIGHT / ROWS) if wrap > 1 else largest
    return min(max(height / -(-count // wrap), smallest), largest)


def _rows(slots: list[Slot], nodes: set[Slot], wrap: int) -> list[list[Slot]]:
    rows: list[list[Slot]] = []
    row: list[Slot] = []
    waiting: list[list[Slot]] = []
    for slot in slots:
        if slot not in nodes:
            # A lane that comes when a row is half full goes below it: rows stay full.
            (waiting if row else rows).append([slot])
            continue
        row.append(slot)
        if len(row) == wrap:
            rows += [row, *waiting]
            row, waiting = [], []
    return [*rows, *([row] if row else []), *waiting]


def _lefts(grids: list[_Grid], layers: list[int], headings: Mapping[int, float], height: float) -> list[float]:
    """Return where columns begin: gutters are wide enough for the curves and for the headings above them."""
    crowd = min(1.0, max(0.55, 9 / len(grids)))
    gutter = min(max(0.2 * height, GUTTER[0]), GUTTER[1]) * crowd
    labels = [headings.get(layer, 0.0) for layer in layers]
    lefts = [max(0.0, (labels[0] - grids[0].width) / 2)]
    for (grid, beside), (label, label_beside) in zip(pairwise(grids), pairwise(labels), strict=True):
        clear = (label + label_beside) / 2 + 18 - (grid.width + beside.width) / 2
        lefts.append(lefts[-1] + grid.width + max(gutter, clear))
    return lefts


def _route(one: Connection, columns: list[Column], grids: list[_Grid], ports: _Ports, top: float) -> Route:
    numbers = {column.layer: number for number, column in enumerate(columns)}
    first, last = numbers[one.source[0]], numbers[one.target[0]]
    leave, arrive = ports.leave(one), ports.arrive(one)
    route: Route = [(leave, (columns[first].right, leave[1]))]
    for slot in way(one, first, last)[1:-1]:
        grid, column = grids[slot.column], columns[slot.column]
        y = grid.slots[slot][1] - top
        piece = (column.left, y), (column.right, y + grid.slant)
        route.append(piece if first < last else piece[::-1])
    return [*route, ((columns[last].left, arrive[1]), arrive)]


class _Ports:
    """The points where connections touch nodes: in the middle, or a little apart by sign so that colours don't mix."""

    def __init__(self, connections: Sequence[Connection], nodes: Mapping[Channel, Node]) -> None:
        self.nodes = nodes
        self.out = _offsets([(one.source, one.sign, nodes[one.target].y) for one in connections])
        self.into = _offsets([(one.target, one.sign, nodes[one.source].y) for one in connections])

    def leave(self, one: Connection) -> Point:
        node = self.nodes[one.source]
        return node.x + node.size / 2, node.y + self.out[one.source, one.sign]

    def arrive(self, one: Connection) -> Point:
        node = self.nodes[one.target]
        return node.x - node.size / 2, node.y + self.into[one.target, one.sign]


def _offsets(touches: Sequence[tuple[Channel, int, float]]) -> dict[tuple[Channel, int], float]:
    """Return the offset from the node's middle for each sign; the sign whose other ends are higher comes first."""
    heights: dict[Channel, dict[int, list[float]]] = {}
    for channel, sign, y in touches:
        heights.setdefault(channel, {}).setdefault(sign, []).append(y)
    offsets = {}
    for channel, by_sign in heights.items():
        order = sorted((fmean(ends), -sign) for sign, ends in by_sign.items())
        for number, (_, negated) in enumerate(order):
            offsets[channel, -negated] = (2 * number - len(order) + 1) * PORT
    return offsets
