"""The channels that a circuit needs: those that depend on the image, and those that the target depends on."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.plugins.protocols import Masks


def edited_channels(subnetwork: TargetSubnetwork) -> dict[str, Tensor]:
    """Return the output channels of each layer in which a circuit may differ from the network."""
    every = {
        layer.path: torch.ones(layer.out_channels, layer.in_channels_per_group, dtype=torch.bool)
        for layer in subnetwork.layers
    }
    wanted = needed_channels(subnetwork, every, None)
    channels = {}
    for layer in subnetwork.layers:
        edited = torch.zeros(layer.out_channels, dtype=torch.bool)
        for step in subnetwork.graph.uses(layer):
            edited[wanted.get(step.name, [])] = True
        channels[layer.path] = edited.nonzero()[:, 0]
    return channels


def channels_with_image(subnetwork: TargetSubnetwork, kept: Masks) -> dict[str, Tensor]:
    """Return which channels of each step depend on the image, bool [width]."""
    graph = subnetwork.graph
    fed: dict[str, Tensor] = {}
    for step in graph.ancestors(subnetwork.target.step.name):
        if step.name == graph.image:
            fed[step.name] = torch.ones(step.width, dtype=torch.bool)
        elif step.layer:
            fed[step.name] = (step.layer.per_kernel(fed[step.edges[0].node]) & kept[step.layer.path]).any(1)
        else:
            reached = torch.zeros(step.width, dtype=torch.bool)
            for edge in step.edges:
                reached[edge.target[fed[edge.node][edge.source]]] = True
            fed[step.name] = step.block_any(reached)
    return fed


def needed_channels(subnetwork: TargetSubnetwork, kept: Masks, fed: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """Return the channels of each step that the target depends on, in order.

    Nothing is needed of what feeds a step that is the same for all images; `fed` are the channels that depend on the
    image. All channels of a mixing step and of the image are needed.
    """
    graph, target = subnetwork.graph, subnetwork.target
    steps = graph.ancestors(target.step.name)
    wanted = {step.name: torch.zeros(step.width, dtype=torch.bool) for step in steps}
    wanted[target.step.name][list(target.units)] = True
    for step in reversed(steps):
        asked = wanted[step.name]
        if not (asked if fed is None else asked & fed[step.name]).any():
            continue
        if step.layer:
            kernels = kept[step.layer.path] & asked[:, None]
            wanted[step.edges[0].node] |= step.layer.by_group(kernels).any(1).flatten()
        elif step.kind == "mix":
            asked[:] = True
            for edge in step.edges:
                wanted[edge.node][:] = True
        else:
            for edge in step.edges:
                wanted[edge.node][edge.source[asked[edge.target]]] = True
    wanted[graph.image][:] = True
    return {name: channels.nonzero()[:, 0] for name, channels in wanted.items()}
