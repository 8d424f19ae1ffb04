"""A channel graph as plain values: what the cost of a target follows from, stored and read without torch."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from circuitlang.base.diagnostics import InputError
from circuitlang.engine.graph.channel_nodes import Layer, ReceptiveWindow

if TYPE_CHECKING:
    from circuitlang.engine.graph.channel_graph import Graph

# For each channel of a node 1 if it is reached, else 0.
_Channels = bytearray
# Numbers of channels as runs: the first, how many, and by how much the next is greater, 0 or 1.
Runs = list[tuple[int, int, int]]


class EdgeRecord(msgspec.Struct, frozen=True, array_like=True):
    """Connections between channels, as in `ChannelEdge`."""

    node: str
    source: Runs
    target: Runs


class NodeRecord(msgspec.Struct, frozen=True, array_like=True):
    """One operation, as in `ChannelNode`; `positions` is the shape of one channel."""

    name: str
    width: int
    positions: tuple[int, ...]
    edges: list[EdgeRecord]
    windows: tuple[ReceptiveWindow, ReceptiveWindow] | None
    blocks: int
    layer: Layer | None


class GraphRecord(msgspec.Struct, frozen=True, dict=True):
    """A traced network without its operations.

    `words` has the node of each word that a target may use, `output` the node whose channels are the classes; words
    and outputs that can't be targets are left out.
    """

    nodes: list[NodeRecord]
    image: str
    words: dict[str, str]
    output: str = ""

    @cached_property
    def steps(self) -> Mapping[str, NodeRecord]:
        """The nodes by name, in execution order."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def _ancestors(self) -> dict[str, list[NodeRecord]]:
        return {}

    def ancestors(self, name: str) -> Sequence[NodeRecord]:
        """Return the nodes that `name` depends on, itself included, in execution order."""
        if name not in self._ancestors:
            self._ancestors[name] = self._depended(name)
        return self._ancestors[name]

    def _depended(self, name: str) -> list[NodeRecord]:
        needed = {name}
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(edge.node for edge in node.edges)
        return [node for node in self.nodes if node.name in needed]

    def relevant(self, target: str, units: Sequence[int]) -> dict[str, int]:
        """Count the kernels on a path from the image to a node's units, by layer; see `reachability.on_path`."""
        nodes = self.ancestors(target)
        before = self._reached(nodes)
        wanted = {node.name: _Channels(node.width) for node in nodes}
        for unit in units:
            wanted[target][unit] = 1
        uses: defaultdict[str, list[tuple[Layer, _Channels, _Channels]]] = defaultdict(list)
        for node in reversed(nodes):
            if node.layer:
                source = node.edges[0].node
                uses[node.layer.path].append((node.layer, before[source], wanted[node.name]))
                _join(wanted[source], _through(wanted[node.name], node.layer.groups, node.layer.in_channels))
                continue
            mixed = _mixed(wanted[node.name], node.blocks)
            for edge in node.edges:
                values = wanted[edge.node]
                for channel, number in zip(_numbers(edge.source), _numbers(edge.target), strict=True):
                    values[channel] |= mixed[number]
        return {path: _count(uses[path]) for path in uses}

    def _reached(self, nodes: Sequence[NodeRecord]) -> dict[str, _Channels]:
        """Return which channels of each node a path from the image leads to."""
        values = {self.image: _Channels(b"\1" * self.steps[self.image].width)}
        for node in nodes:
            if node.layer:
                values[node.name] = _through(values[node.edges[0].node], node.layer.groups, node.layer.out_channels)
            elif node.name not in values:
                reached = _Channels(node.width)
                for edge in node.edges:
                    source = values[edge.node]
                    for number, channel in zip(_numbers(edge.target), _numbers(edge.source), strict=True):
                        reached[number] |= source[channel]
                values[node.name] = _mixed(reached, node.blocks)
        return values

    def operations(self, target: str) -> dict[str, int]:
        """Return the operations of one image in one output channel of each layer up to a node, by the layer's node: at
        each position a multiply-add for each weight."""
        return {
            node.name: 2 * math.prod(node.positions) * node.layer.in_channels_per_group * math.prod(node.layer.size)
            for node in self.ancestors(target)
            if node.layer
        }


def record(graph: Graph, output: int | str | None = None) -> GraphRecord:
    """Return the record of a traced network, with the output of a number or name."""
    lookup = graph.lookup
    words = {
        word: name
        for word, name in lookup.node_names().items()
        if not lookup.refusal(word) and not lookup.obstacle(word)
    }
    nodes = [
        NodeRecord(
            name=node.name,
            width=node.width,
            positions=tuple(node.positions),
            edges=[
                EdgeRecord(edge.node, _runs(edge.source.tolist()), _runs(edge.target.tolist())) for edge in node.edges
            ],
            windows=node.windows,
            blocks=node.blocks,
            layer=node.layer,
        )
        for node in graph.steps.values()
    ]
    classes = ""
    with suppress(InputError):
        classes = lookup.output(output).name
    return GraphRecord(nodes, graph.image, words, classes)


def _runs(numbers: Sequence[int]) -> Runs:
    runs: Runs = []
    for number in numbers:
        if runs:
            first, count, step = runs[-1]
            if count == 1 and number - first in (0, 1):
                runs[-1] = first, 2, number - first
                continue
            if count > 1 and number == first + count * step:
                runs[-1] = first, count + 1, step
                continue
        runs.append((number, 1, 1))
    return runs


def _numbers(runs: Runs) -> Iterator[int]:
    return chain.from_iterable(range(first, first + count) if step else (first,) * count for first, count, step in runs)


def _join(values: _Channels, others: _Channels) -> None:
    """Reach in `values` what is reached in either."""
    for number, value in enumerate(others):
        values[number] |= value


def _mixed(values: _Channels, blocks: int) -> _Channels:
    """Return the values once each of so many blocks is mixed: all of it is reached if any of it is."""
    return _through(values, blocks, len(values)) if blocks else values


def _through(values: _Channels, groups: int, width: int) -> _Channels:
    """Return the values on the other side of a layer with all of its kernels, which has so many channels there."""
    inner, outer = len(values) // groups, width // groups
    return _Channels(
        b"".join((b"\1" if 1 in values[start : start + inner] else b"\0") * outer for start in _starts(groups, inner))
    )


def _starts(groups: int, size: int) -> range:
    return range(0, groups * size, size)


def _count(uses: Sequence[tuple[Layer, _Channels, _Channels]]) -> int:
    """Count the kernels of a layer whose input is reached and whose output is wanted, in one of its uses."""
    total = 0
    for group in range(uses[0][0].groups):
        parts = [_group(*use, group) for use in uses]
        if len(parts) == 1:
            total += parts[0][0].count(1) * parts[0][1].count(1)
            continue
        for row in range(len(parts[0][1])):
            kernels = _Channels(len(parts[0][0]))
            for inputs, outputs in parts:
                if outputs[row]:
                    _join(kernels, inputs)
            total += kernels.count(1)
    return total


def _group(layer: Layer, inputs: _Channels, outputs: _Channels, group: int) -> tuple[_Channels, _Channels]:
    """Return the parts of a layer's input and output channels that one of its groups connects."""
    inner, outer = layer.in_channels_per_group, layer.out_channels // layer.groups
    return inputs[group * inner : (group + 1) * inner], outputs[group * outer : (group + 1) * outer]
