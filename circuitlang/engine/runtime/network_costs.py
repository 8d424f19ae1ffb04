"""A network as the cost of circuits follows from it: the kernels and the operations up to a target, without torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from circuitlang.engine.graph.graph_record import GraphRecord, record
from circuitlang.engine.graph.targets import Place, resolve
from circuitlang.engine.visuals.visualised_part import middle, part, reducible, work
from circuitlang.plan.model import Target

if TYPE_CHECKING:
    from circuitlang.engine.graph.channel_graph import Graph
    from circuitlang.plugins.loaded_model import LoadedModel


@dataclass(frozen=True)
class Forward:
    """The floating-point operations of one image's forward pass up to a target, by step that has kernels; of `own`
    the target's rows alone are computed, and for no other target."""

    steps: Mapping[str, int]
    own: str

    @property
    def operations(self) -> int:
        return sum(self.steps.values())


class TargetNode(NamedTuple):
    """A target as the record of a graph has it: the name of a node, some of its channels, and a place."""

    node: str
    units: tuple[int, ...]
    at: Place


class NetworkCosts:
    """Counts what circuits of a network cost; counts are kept for circuits of targets that cost the same.

    `find` resolves a target and raises InputError where the network has none such. `crop` is the side of images, and
    `notes` are those of `LoadedModel`.
    """

    def __init__(
        self, graph: GraphRecord, find: Callable[[Target], TargetNode], crop: int, notes: tuple[str, ...]
    ) -> None:
        self.crop, self.notes, self.find = crop, notes, find
        self._graph = graph
        self._relevant: dict[tuple[str, tuple[int, ...], bool], int] = {}
        self._forward: dict[tuple[str, int], Forward] = {}
        self._image_work: dict[str, int] = {}
        self._tried: dict[tuple[str, Place], int] = {}

    @classmethod
    def of(cls, loaded: LoadedModel, graph: Graph) -> NetworkCosts:
        """Return those of a network that was traced."""

        def find(target: Target) -> TargetNode:
            resolved = resolve(target, graph, loaded.classes, loaded.output)
            return TargetNode(resolved.step.name, resolved.units, resolved.at)

        return cls(record(graph, loaded.output), find, loaded.preprocess.crop, loaded.notes)

    def relevant(self, target: TargetNode, weights: bool) -> int:
        """Return the number of kernels, or of weights, on a path from the image to a target."""
        key = target.node, self._alike(target), weights
        if key not in self._relevant:
            sizes = {node.layer.path: math.prod(node.layer.size) for node in self._graph.nodes if node.layer}
            kernels = self._graph.relevant(target.node, target.units)
            self._relevant[key] = sum(number * (sizes[path] if weights else 1) for path, number in kernels.items())
        return self._relevant[key]

    def _alike(self, target: TargetNode) -> tuple[int, ...]:
        """Return units that have as many kernels before them as those of a target, the same for many targets.

        All channels of one group of a layer depend on the same channels. Not where the layer is also used before,
        where its kernels may be the same ones.
        """
        layer, units = self._graph.steps[target.node].layer, sorted(set(target.units))
        used = [node.layer.path for node in self._graph.ancestors(target.node) if node.layer]
        if layer is None or used.count(layer.path) > 1:
            return tuple(units)
        size, numbers = layer.out_channels // layer.groups, Counter[int]()
        alike = []
        for unit in units:
            group = unit // size
            alike.append(group * size + numbers[group])
            numbers[group] += 1
        return tuple(alike)

    def forward(self, target: TargetNode) -> Forward:
        """Return the operations of one image up to a target, whose layer computes only its channels."""
        key = target.node, len(set(target.units))
        if key not in self._forward:
            self._forward[key] = self._forward_of(*key)
        return self._forward[key]

    def _forward_of(self, node: str, units: int) -> Forward:
        rows = self._graph.operations(node)
        widths = {step.name: step.layer.out_channels for step in self._graph.nodes if step.layer}
        steps = {name: row * widths[name] for name, row in rows.items()}
        if node not in widths:
            return Forward(steps, "")
        return Forward({**steps, node: rows[node] * units}, node)

    def together(self, targets: Sequence[TargetNode]) -> int:
        """Return the operations of one image up to several targets, each step once and with all of its channels."""
        widths = {node.name: node.layer.out_channels for node in self._graph.nodes if node.layer}
        rows: dict[str, int] = {}
        for target in targets:
            rows |= self._graph.operations(target.node)
        return sum(row * widths[name] for name, row in rows.items())

    def classification(self, target: TargetNode) -> int:
        """Return the operations of one image's pass to the outputs for all classes; 0 unless they are several, each a
        single number."""
        step = self._graph.steps[target.node]
        several = step.width > 1 and math.prod(step.positions) == 1
        return self._forward_of(target.node, step.width).operations if several else 0

    def image_work(self, target: TargetNode) -> int:
        """Return the operations that an image that excites a channel takes at most, of those up to a target."""
        nodes = [node.name for node in self._graph.ancestors(target.node) if node.layer]
        for node in nodes:
            if node not in self._image_work:
                self._image_work[node] = work(self._graph, node)
        return max((self._image_work[node] for node in nodes), default=0)

    def tried(self, target: TargetNode) -> int:
        """Return how many images go forward to find out on what part of an image a target can be excited."""
        key = target.node, target.at
        if key not in self._tried:
            self._tried[key] = self._tried_of(target)
        return self._tried[key]

    def _tried_of(self, target: TargetNode) -> int:
        placed = isinstance(target.at, tuple)
        place = target.at if isinstance(target.at, tuple) else middle(self._graph.steps[target.node].positions)
        crop = part(self._graph, target.node, place)
        height, width = self._graph.steps[self._graph.image].positions
        if crop is None:
            return int(not placed and reducible((height, width)))
        # A part and the whole are both run, to compare them.
        box = crop[0]
        return 2 + int(not placed and reducible((box[2] - box[0], box[3] - box[1])))
