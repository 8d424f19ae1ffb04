"""Contributions: what each kernel of a circuit carries to the feature in some images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitlang.engine.attribution.effects import flows
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_nodes import Layer
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.engine.visuals.activation_maps import choose
from circuitlang.plugins.protocols import Edits, LayerSignals
from circuitlang.results.types import Circuit

# Kernels; the contributions of more in each image would take more memory than the circuit.
MANY = 1_000_000


def collect(
    subnetwork: TargetSubnetwork, images: ImageSet, strength: Tensor, circuit: Circuit, edits: Edits
) -> tuple[NDArray[np.float32], ...]:
    """Return the contribution of each kept kernel in each of the images that activation maps are shown of, [kernels,
    images] by layer; their sum over images, [kernels, 1], in a circuit of very many kernels.

    It is the sum over positions of |a dL/da| in the circuit, with a the kernel's own output map and L the sum of the
    feature's absolute values: the criterion `actgrad`, but within the circuit, and of single images. Cost: one pass
    over these images.
    """
    few = images.take(choose(strength))
    single = sum(len(kernels.target) for kernels in circuit.kernels) <= MANY
    contributions = [
        np.zeros((len(kernels.target), len(few) if single else 1), np.float32) for kernels in circuit.kernels
    ]
    numbers = {layer.path: number for number, layer in enumerate(subnetwork.layers)}
    gains = {path: subnetwork.keeping(path, edit).gain for path, edit in edits.items()}
    image = 0

    def observer(_: int, layer: Layer, signals: LayerSignals) -> None:
        rows, number = subnetwork.rows(layer), numbers[layer.path]
        gain = (gains[layer.path] if rows is None else gains[layer.path][rows]).to(signals.weight)
        weight = signals.weight * (gain if gain.dim() == 4 else gain[..., None, None])
        own = flows(replace(signals, weight=weight)).cpu()
        carried = own if rows is None else own.new_zeros(layer.out_channels, own.shape[1]).index_copy(0, rows, own)
        kernels = circuit.kernels[number]
        contributions[number][:, image if single else 0] += carried.numpy()[
            kernels.target, kernels.source % layer.in_channels_per_group
        ]

    with subnetwork.edited(edits):
        for batch in few.batches("images to look at"):
            for one in torch.split(batch, 1):
                subnetwork.observe(one, [torch.sign], observer)
                image += 1
    return tuple(contributions)
