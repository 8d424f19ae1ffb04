"""Layers and channels that the channels of a node stem from, through everything that has no kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_nodes import ChannelEdge, Layer


def input_origins(graph: Graph, layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
    """Return what carries each input channel of a layer, in any of its uses; see `channel_origins`."""
    return channel_origins(graph, *(step.edges[0].node for step in graph.uses(layer)))


def channel_origins(graph: Graph, *names: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return what carries each channel of nodes, as three tensors of equal length.

    They are channels, the numbers of the layers that they stem from (-1: the image), and the channels of those. A norm
    over channels carries each by itself: others in its block shift and scale it, and are not named.
    """
    numbers = {layer.path: number for number, layer in enumerate(graph.layers)}
    origins: dict[str, Tensor] = {}

    def of(name: str) -> Tensor:
        """Return columns [3, n] of a node's channel and the layer and channel it stems from, in order."""
        if name not in origins:
            step = graph.steps[name]
            own = torch.arange(step.width)
            if step.layer or name == graph.image:
                number = numbers[step.layer.path] if step.layer else -1
                origins[name] = torch.stack([own, torch.full_like(own, number), own])
            else:
                origins[name] = _unique_columns([_along(edge, of(edge.node)) for edge in step.edges])
        return origins[name]

    rows = _unique_columns([of(name) for name in names])
    return rows[0], rows[1], rows[2]


def _along(edge: ChannelEdge, origins: Tensor) -> Tensor:
    """Return columns of channel and origin behind an edge, from those in front of it, which are sorted by channel."""
    low = torch.searchsorted(origins[0].contiguous(), edge.source)
    count = torch.searchsorted(origins[0].contiguous(), edge.source, right=True) - low
    row = torch.repeat_interleave(count)
    index = torch.arange(len(row)) - (count.cumsum(0) - count)[row] + low[row]
    return torch.cat([edge.target[row][None], origins[1:, index]])


def _unique_columns(parts: list[Tensor]) -> Tensor:
    """Return the columns [3, n] of several lists without repetitions, sorted."""
    columns = torch.cat(parts, 1)
    _, layers, channels = (int(row.max()) + 2 if row.numel() else 1 for row in columns)
    # One number for each column sorts much faster than columns do.
    keys = torch.unique((columns[0] * layers + columns[1] + 1) * channels + columns[2])
    return torch.stack([keys // channels // layers, keys // channels % layers - 1, keys % channels])
