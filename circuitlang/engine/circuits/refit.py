"""Refit kept kernels by least squares, so that a layer's outputs in the circuit approach those in the network."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from circuitlang.engine.circuits.covariance import covariance_of, gram_of
from circuitlang.engine.graph.channel_nodes import Layer
from circuitlang.plugins.protocols import Edit, LayerActivations, Masks

# The strength of the ridge penalty, relative to each kernel's variance; it holds gains that the data leave open at 1.
_RIDGE = 0.01
# A variance below this share of the mean square is rounding of single precision.
_STILL = 1e-10


def refit(
    layer: Layer,
    activations: LayerActivations,
    masks: Masks,
    how: Literal["bias", "affine", "kernels"],
) -> Edit:
    """Return the edit with which a layer's output in the circuit fits its output y in the whole network best.

    Each output channel is fitted by itself, with a_k the output of kept kernel k. `bias` fits b in y = sum a_k + b,
    `affine` s and b in y = s sum a_k + b, and `kernels` s_k and b in y = sum s_k a_k + b, by ridge regression towards
    gains of 1: min |y - sum s_k a_k - b|^2 + 0.01 sum var(a_k) (s_k - 1)^2. A channel without kernels becomes the mean
    of y.
    """
    mask = masks[layer.path]
    rows = activations.rows.cpu()
    kept = mask[rows].to(activations.weight.device)
    groups, inner = activations.patches.shape[1:3]
    taps = activations.patches.shape[3]
    weight = (
        (activations.weight * (kept if kept.dim() == 4 else kept[..., None, None])).reshape(-1, inner, taps).double()
    )
    present = kept if kept.dim() == 2 else kept.flatten(2).any(-1)
    gain, offset = torch.ones(present.shape).double(), torch.zeros(len(present)).double()
    per_group = len(weight) // groups
    for group in range(groups):
        channels = slice(group * per_group, (group + 1) * per_group)
        used = present[channels].any(0).nonzero()[:, 0]
        patches = activations.patches[:, group, used].flatten(1)
        wanted = activations.wanted[:, channels]
        mean, wanted_mean = patches.mean(0), wanted.mean(0)
        patches, wanted = patches - mean, wanted - wanted_mean
        covariance = covariance_of(patches.reshape(len(patches), len(used), taps)).double()
        shared = (patches.T @ wanted / len(patches)).double().reshape(len(used), taps, per_group)
        mean = mean.double().reshape(len(used), taps)
        for unit in range(per_group):
            row = group * per_group + unit
            selected = present[row, used].nonzero()[:, 0]
            kernels = used[selected]
            w = weight[row, kernels]
            if len(kernels):
                gram = gram_of(w, selected, covariance)
                cross = (w * shared[selected, :, unit]).sum(1)
                means = (w * mean[selected]).sum(1)
                gain[row, kernels.cpu()] = _gains(gram, cross, means, how).cpu()
            constant = (gain[row, kernels.cpu()] * (w * mean[selected]).sum(1).cpu()).sum()
            offset[row] = wanted_mean[unit].cpu().double() - constant - activations.bias[row].cpu().double()
    return Edit(*_whole(layer, mask, gain, offset, rows))


def _gains(gram: Tensor, cross: Tensor, means: Tensor, how: str) -> Tensor:
    """Return the gains s_k [k].

    `gram` [k, k] is the covariance of the kernels' outputs, `cross` [k] their covariance with the wanted output, and
    `means` [k] their means. Kernels whose output is constant keep a gain of 1.
    """
    gains = torch.ones_like(cross)
    variance = gram.diagonal()
    varying = variance > _STILL * (variance + means.square())
    if how == "bias" or not bool(varying.any()):
        return gains
    gram, cross, variance = gram[varying][:, varying], cross[varying], variance[varying]
    if how == "affine":
        penalty = _RIDGE * variance.sum()
        return gains * (cross.sum() + penalty) / (gram.sum() + penalty)
    penalty = _RIDGE * variance + 1e-12 * variance.max() + 1e-30
    gains[varying] += torch.linalg.solve(gram + penalty.diag(), cross - gram.sum(1))
    return gains


def _whole(layer: Layer, mask: Tensor, gain: Tensor, offset: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return gains and offsets of all output channels of a layer, from those of `rows`; others are unchanged."""
    gain = torch.ones(layer.out_channels, layer.in_channels_per_group).double().index_copy(0, rows, gain)
    offset = torch.zeros(layer.out_channels).double().index_copy(0, rows, offset)
    return (mask * gain if mask.dim() == 2 else mask * gain[..., None, None]), offset
