"""What is kept, refitted: layer by layer, the circuit's outputs brought as near to the whole network's as they come."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from circuitlang.engine.circuits.covariance import covariance_of, gram_of
from circuitlang.engine.graph.channel_nodes import Layer
from circuitlang.plugins.protocols import Edit, LayerActivations, Masks

# How much of its own variance a kernel's fit is held back by, which keeps what the data can't tell at 1.
_RIDGE = 0.01
# What varies by less of its mean square, in single precision, doesn't vary.
_STILL = 1e-10


def refit(
    layer: Layer,
    passage: LayerActivations,
    masks: Masks,
    how: Literal["bias", "affine", "kernels"],
) -> Edit:
    """The edit of a layer that fits its output y in the whole network best from its input in the circuit.

    With a_k the output of kept kernel k, of each output channel: `bias` fits b in y = sum a_k + b, `affine` s and b
    in y = s sum a_k + b, `kernels` s_k and b in y = sum s_k a_k + b, by ridge regression that holds s at 1:
    min |y - sum s_k a_k - b|^2 + 0.01 sum var(a_k) (s_k - 1)^2. A channel without kernels becomes its mean.
    """
    mask = masks[layer.path]
    rows = passage.rows.cpu()
    kept = mask[rows].to(passage.weight.device)
    groups, inner = passage.patches.shape[1:3]
    taps = passage.patches.shape[3]
    weight = (passage.weight * (kept if kept.dim() == 4 else kept[..., None, None])).reshape(-1, inner, taps).double()
    present = kept if kept.dim() == 2 else kept.flatten(2).any(-1)
    gain, offset = torch.ones(present.shape).double(), torch.zeros(len(present)).double()
    each = len(weight) // groups
    for group in range(groups):
        channels = slice(group * each, (group + 1) * each)
        used = present[channels].any(0).nonzero()[:, 0]
        seen = passage.patches[:, group, used].flatten(1)
        wanted = passage.wanted[:, channels]
        mean, goal = seen.mean(0), wanted.mean(0)
        seen, wanted = seen - mean, wanted - goal
        covariance = covariance_of(seen.reshape(len(seen), len(used), taps)).double()
        common = (seen.T @ wanted / len(seen)).double().reshape(len(used), taps, each)
        mean = mean.double().reshape(len(used), taps)
        for unit in range(each):
            row = group * each + unit
            among = present[row, used].nonzero()[:, 0]
            kernels = used[among]
            w = weight[row, kernels]
            if len(kernels):
                gram = gram_of(w, among, covariance)
                toward = (w * common[among, :, unit]).sum(1)
                level = (w * mean[among]).sum(1)
                gain[row, kernels.cpu()] = _gains(gram, toward, level, how).cpu()
            still = (gain[row, kernels.cpu()] * (w * mean[among]).sum(1).cpu()).sum()
            offset[row] = goal[unit].cpu().double() - still - passage.bias[row].cpu().double()
    return Edit(*_whole(layer, mask, gain, offset, rows))


def _gains(gram: Tensor, toward: Tensor, level: Tensor, how: str) -> Tensor:
    """The factors s_k, from the covariance of the kernels' outputs, their covariance with what is wanted, and their
    means; 1 for those that put out the same everywhere, of which the rest is rounding."""
    found = torch.ones_like(toward)
    variance = gram.diagonal()
    moves = variance > _STILL * (variance + level.square())
    if how == "bias" or not bool(moves.any()):
        return found
    gram, toward, variance = gram[moves][:, moves], toward[moves], variance[moves]
    if how == "affine":
        held = _RIDGE * variance.sum()
        return found * (toward.sum() + held) / (gram.sum() + held)
    held = _RIDGE * variance + 1e-12 * variance.max() + 1e-30
    found[moves] += torch.linalg.solve(gram + held.diag(), toward - gram.sum(1))
    return found


def _whole(layer: Layer, mask: Tensor, gain: Tensor, offset: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Gains and offsets of all of a layer's output channels, where they were fitted for some."""
    gain = torch.ones(layer.out_channels, layer.inner).double().index_copy(0, rows, gain)
    offset = torch.zeros(layer.out_channels).double().index_copy(0, rows, offset)
    return (mask * gain if mask.dim() == 2 else mask * gain[..., None, None]), offset
