"""Kept kernels of a packed circuit with the network's weights and wires, which its row does not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circuitlang.base.deferred import np
from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.results.packed.rows import PackedCircuit, PackedMask
from circuitlang.results.types import ChannelSources, Circuit, KeptKernels, LayerSummary

if TYPE_CHECKING:
    from numpy.typing import NDArray

_IMAGE, _OTHER = -1, -2


@dataclass(frozen=True)
class NetworkWiring:
    """The wires and weights of a network.

    Attributes:
        paths: Layers of the network, in execution order; origins of wires are their numbers.
        wires: Sources of each layer's input channels, by path.
        weights: Sum of the weights of each kernel [out, in / groups], by path.
        targets: Sources of each target's units, by the target as it is written.
    """

    paths: Sequence[str]
    wires: Mapping[str, ChannelSources]
    weights: Mapping[str, NDArray[np.float32]]
    targets: Mapping[str, ChannelSources]


def wired(packed: PackedCircuit, network: NetworkWiring) -> Circuit:
    """Return the kernels of a packed circuit, with the sums of the network's weights as weights of one by one.

    Scores are in half precision, as shares of the largest. Raises InputError if the network is another.
    """
    layers = packed.summary.layers
    numbers = {layer.path: number for number, layer in enumerate(layers)}
    known = np.array([*(numbers.get(path, _OTHER) for path in network.paths), _IMAGE])
    target = str(packed.summary.plan.target)
    shapes = {path: weights.shape for path, weights in network.weights.items()}
    sizes = {layer.path: (layer.out_channels, layer.in_channels // layer.groups) for layer in layers}
    if target not in network.targets or any(shapes.get(path) != size for path, size in sizes.items()):
        raise InputError(Finding("E352", f"the model is not that of {packed.summary.plan.id}: its layers are others"))
    return Circuit(
        tuple(
            _kernels(layer, mask, network.weights[layer.path]) for layer, mask in zip(layers, packed.masks, strict=True)
        ),
        tuple(_renumbered(network.wires[layer.path], known) for layer in layers),
        _renumbered(network.targets[target], known),
    )


def _kernels(layer: LayerSummary, mask: PackedMask, weights: NDArray[np.float32]) -> KeptKernels:
    inner = layer.in_channels // layer.groups
    order = np.argsort(-mask.scores.astype(np.float64), kind="stable")
    target, column = np.divmod(mask.kernels[order], inner)
    group = target // (layer.out_channels // layer.groups)
    return KeptKernels(
        target=target,
        source=column + group * inner,
        score=mask.scores[order].astype(np.float64),
        weight=weights[target, column][:, None, None],
        effective=mask.effective[order],
    )


def _renumbered(wire: ChannelSources, known: NDArray[np.int64]) -> ChannelSources:
    """Return wires by the numbers of a circuit's layers, without those of other layers."""
    origin = known[wire.origin]
    own = origin > _OTHER
    return ChannelSources(wire.source[own], origin[own], wire.channel[own])
