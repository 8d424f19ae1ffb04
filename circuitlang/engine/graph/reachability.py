"""Kernels on paths from the image to a target's units, by traversals of the channel graph in both directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_nodes import ChannelNode, Layer
from circuitlang.plugins.protocols import Masks, Scores

# A layer, the value of its use's node and the values of the channels that it reads or writes → those on its other side.
_ThroughLayer = Callable[[ChannelNode, Layer, Tensor], Tensor]


class _Semiring(Protocol):
    """Values of channels on their way through the graph, and how those that meet in one channel are joined."""

    def none(self, step: ChannelNode) -> Tensor:
        """Return the value of unreached channels, for all of a node's [width]."""

    def scatter(self, values: Tensor, index: Tensor, source: Tensor) -> None:
        """Join `source[k]` into `values[index[k]]`."""

    def mix(self, step: ChannelNode, values: Tensor) -> Tensor:
        """Return values [width] once each block of the node's channels is mixed."""

    def join(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the values where both meet, element by element."""


class _Any:
    """Reached or not, bool: a channel is reached if any of those that lead to it is."""

    def none(self, step: ChannelNode) -> Tensor:
        return torch.zeros(step.width, dtype=torch.bool)

    def scatter(self, values: Tensor, index: Tensor, source: Tensor) -> None:
        values[index[source]] = True

    def mix(self, step: ChannelNode, values: Tensor) -> Tensor:
        return step.block_any(values)

    def join(self, one: Tensor, other: Tensor) -> Tensor:
        return one | other


class _Min:
    """Ranks, integers: a channel gets the least of those that lead to it; the type's greatest stands for never."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype, self._never = dtype, torch.iinfo(dtype).max

    def none(self, step: ChannelNode) -> Tensor:
        return torch.full((step.width,), self._never, dtype=self._dtype)

    def scatter(self, values: Tensor, index: Tensor, source: Tensor) -> None:
        values.scatter_reduce_(0, index, source, "amin")

    def mix(self, step: ChannelNode, values: Tensor) -> Tensor:
        return step.block_min(values)

    def join(self, one: Tensor, other: Tensor) -> Tensor:
        return one.minimum(other)


def _forward(
    steps: Sequence[ChannelNode], semiring: _Semiring, values: dict[str, Tensor], through: _ThroughLayer
) -> Mapping[str, Tensor]:
    """Propagate values of channels [width] from the nodes that have some to all behind them.

    `through` turns the values of a layer's input channels [in] into those of its output channels [out].
    """
    for step in steps:
        if step.layer:
            values[step.name] = through(step, step.layer, values[step.edges[0].node])
        elif step.name not in values:
            reached = semiring.none(step)
            for edge in step.edges:
                semiring.scatter(reached, edge.target, values[edge.node][edge.source])
            values[step.name] = semiring.mix(step, reached)
    return values


def _backward(
    steps: Sequence[ChannelNode], semiring: _Semiring, target: Mapping[str, Tensor], through: _ThroughLayer
) -> None:
    """Propagate values of channels [width] from the target to all nodes before it.

    `through` turns the values of a layer's output channels [out] into those of its input channels [in]; what is wanted
    of a traversal is what `through` notes.
    """
    values = {step.name: semiring.none(step) for step in steps} | dict(target)
    for step in reversed(steps):
        if step.layer:
            source = step.edges[0].node
            values[source] = semiring.join(values[source], through(step, step.layer, values[step.name]))
        else:
            mixed = semiring.mix(step, values[step.name])
            for edge in step.edges:
                semiring.scatter(values[edge.node], edge.source, mixed[edge.target])


def on_path(graph: Graph, target: str, units: Tensor, masks: Masks | None = None) -> dict[str, Tensor]:
    """Return which kernels lie on a path from the image to the target's units, by layer [out, in / groups].

    With masks, a path uses their kernels only. A layer that is used again has the kernels of all its uses.
    """
    kernels = would_be_connected(graph, target, units, masks)
    return kernels if masks is None else {path: kernels[path] & masks[path] for path in kernels}


def would_be_connected(graph: Graph, target: str, units: Tensor, masks: Masks | None = None) -> dict[str, Tensor]:
    """Return which kernels would lie on such a path if each were added to the masks by itself."""
    ranks: dict[str, Tensor]
    if masks is None:
        layers = [step.layer for step in graph.ancestors(target) if step.layer]
        present = torch.zeros((), dtype=torch.uint8)
        ranks = {layer.path: present.expand(layer.out_channels, layer.in_channels_per_group) for layer in layers}
    else:
        ranks = {path: (~mask).view(torch.uint8) for path, mask in masks.items()}
    return {path: rank == 0 for path, rank in path_bottleneck_rank(graph, target, units, ranks).items()}


def constant_kernels(graph: Graph, target: str, units: Tensor) -> dict[str, Tensor]:
    """Return which kernels read channels that no path from the image leads to and lead to the target's units.

    They add the same to every image's output, and belong to the network that circuits are cut from: no circuit is
    without them. Of a layer that is used again, they are those that none of its uses has on a path from the image.
    """
    steps, semiring = graph.ancestors(target), _Any()
    leading: dict[str, Tensor] = {}

    def through(_: ChannelNode, layer: Layer, wanted: Tensor) -> Tensor:
        kernels = wanted[:, None].expand(-1, layer.in_channels_per_group)
        leading[layer.path] = kernels | leading[layer.path] if layer.path in leading else kernels
        return layer.by_group(kernels).any(1).flatten()

    wanted = semiring.none(graph.steps[target])
    wanted[units] = True
    _backward(steps, semiring, {target: wanted}, through)
    return {path: leading[path] & ~mask for path, mask in on_path(graph, target, units).items()}


def path_bottleneck_rank(graph: Graph, target: str, units: Tensor, ranks: Masks) -> dict[str, Tensor]:
    """Return for each kernel the greatest rank of the others on a path through it, on the path where that is least.

    Paths lead from the image to the target's units. Ranks [out, in / groups] are integers from 0, of one type; the
    type's greatest stands for never. Where kernels are added in the order of their ranks, the result says when a
    kernel has a path, provided that it is there itself.
    """
    steps = graph.ancestors(target)
    dtype = next(iter(ranks.values())).dtype
    semiring = _Min(dtype)
    nothing = torch.zeros(graph.steps[graph.image].width, dtype=dtype)
    before = _forward(
        steps,
        semiring,
        {graph.image: nothing},
        lambda _, layer, inputs: layer.per_kernel(inputs).maximum(ranks[layer.path]).amin(1),
    )
    bottleneck: dict[str, Tensor] = {}

    def through(step: ChannelNode, layer: Layer, behind: Tensor) -> Tensor:
        others, path = layer.per_kernel(before[step.edges[0].node]).maximum(behind[:, None]), layer.path
        bottleneck[path] = others.minimum(bottleneck[path]) if path in bottleneck else others
        return layer.by_group(others.maximum(ranks[path])).amin(1).flatten()

    wanted = semiring.none(graph.steps[target])
    wanted[units] = 0
    _backward(steps, semiring, {target: wanted}, through)
    return {layer.path: bottleneck[layer.path] for layer in graph.layers if layer.path in bottleneck}


def strongest_path(
    graph: Graph, target: str, units: Tensor, scores: Scores, masks: Masks, through: Masks
) -> dict[str, Tensor]:
    """Return a path within masks to the target's units that uses at least one kernel of `through`.

    The path goes from each channel to the one that its strongest kernel reads, of those that lead to a kernel of
    `through` where there are any. Where channels are added or mixed, each is followed. All kernels of the masks must be
    on a path.
    """
    steps, semiring = graph.ancestors(target), _Any()
    behind = _forward(
        steps,
        semiring,
        {},
        lambda _, layer, inputs: (masks[layer.path] & layer.per_kernel(inputs) | through[layer.path]).any(1),
    )
    chosen = {path: torch.zeros_like(mask) for path, mask in masks.items()}

    def choose(step: ChannelNode, layer: Layer, wanted: Tensor) -> Tensor:
        mask = masks[layer.path]
        leading = mask & (layer.per_kernel(behind[step.edges[0].node]) | through[layer.path])
        ranked = torch.where(mask, scores[layer.path], -1.0)
        ranked = torch.where(leading, ranked + 1 + ranked.amax(), ranked)
        out_channels = (wanted & mask.any(1)).nonzero()[:, 0]
        inputs = ranked.argmax(1)[out_channels]
        chosen[layer.path][out_channels, inputs] = True
        reads = torch.zeros(layer.in_channels, dtype=torch.bool)
        reads[layer.input_channels()[out_channels, inputs]] = True
        return reads

    wanted = semiring.none(graph.steps[target])
    wanted[units] = True
    _backward(steps, semiring, {target: wanted}, choose)
    return chosen
