"""A network as the cost of circuits follows from it: the kernels and the operations up to a target, without torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from circuitlang.engine.graph.graph_record import GraphRecord, record
from circuitlang.engine.graph.targets import Place, resolve
from circuitlang.engine.visuals.visualised_part import middle, part, reducible, work
from circuitlang.plan.model import Target

if TYPE_CHECKING:
    from circuitlang.engine.graph.channel_graph import Graph
    from circuitlang.plugins.loaded_model import LoadedModel
    from circuitlang.results.forecast import Forward


class TargetNode(NamedTuple):
    """A target as the record of a graph has it: the name of a node, some of its channels, and a place."""

    node: str
    units: tuple[int, ...]
    at: Place


class NetworkCosts:
    """Counts what circuits of a network cost; counts are kept for circuits of one target.

    `find` resolves a target and raises InputError where the network has none such. `crop` is the side of images, and
    `notes` are those of `LoadedModel`.
    """

    def __init__(
        self, graph: GraphRecord, find: Callable[[Target], TargetNode], crop: int, notes: tuple[str, ...]
    ) -> None:
        self.crop, self.notes, self.find = crop, notes, find
        self._graph = graph
        self._relevant: dict[tuple[str, tuple[int, ...], bool], int] = {}

    @classmethod
    def of(cls, loaded: LoadedModel, graph: Graph) -> NetworkCosts:
        """Return those of a network that was traced."""

        def find(target: Target) -> TargetNode:
            resolved = resolve(target, graph, loaded.classes, loaded.output)
            return TargetNode(resolved.step.name, resolved.units, resolved.at)

        return cls(record(graph, loaded.output), find, loaded.preprocess.crop, loaded.notes)

    def relevant(self, target: TargetNode, weights: bool) -> int:
        """Return the number of kernels, or of weights, on a path from the image to a target."""
        key = target.node, target.units, weights
        if key not in self._relevant:
            sizes = {node.layer.path: math.prod(node.layer.size) for node in self._graph.nodes if node.layer}
            kernels = self._graph.relevant(target.node, target.units)
            self._relevant[key] = sum(number * (sizes[path] if weights else 1) for path, number in kernels.items())
        return self._relevant[key]

    def forward(self, target: TargetNode) -> Forward:
        """Return the operations of one image up to a target, whose layer computes only its channels."""
        from circuitlang.results.forecast import Forward

        rows = self._graph.operations(target.node)
        widths = {node.name: node.layer.out_channels for node in self._graph.nodes if node.layer}
        steps = {name: row * widths[name] for name, row in rows.items()}
        if target.node not in widths:
            return Forward(steps, "")
        return Forward({**steps, target.node: rows[target.node] * len(set(target.units))}, target.node)

    def image_work(self, target: TargetNode) -> int:
        """Return the operations that an image that excites a channel takes at most, of those up to a target."""
        nodes = [node.name for node in self._graph.ancestors(target.node) if node.layer]
        return max((work(self._graph, node) for node in nodes), default=0)

    def tried(self, target: TargetNode) -> int:
        """Return how many images go forward to find out on what part of an image a target can be excited."""
        placed = isinstance(target.at, tuple)
        place = target.at if isinstance(target.at, tuple) else middle(self._graph.steps[target.node].positions)
        crop = part(self._graph, target.node, place)
        height, width = self._graph.steps[self._graph.image].positions
        if crop is None:
            return int(not placed and reducible((height, width)))
        # A part and the whole are both run, to compare them.
        box = crop[0]
        return 2 + int(not placed and reducible((box[2] - box[0], box[3] - box[1])))
