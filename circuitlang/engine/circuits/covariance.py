"""Covariances of a layer's input patches and of its kernels' outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circuitlang.engine.deferred import torch
from circuitlang.engine.loops import backend

if TYPE_CHECKING:
    from torch import Tensor

# The least number of rows of a symmetric matrix that is worth a matrix product of its own.
STRIP = 128


def covariance_of(patches: Tensor) -> Tensor:
    """Return the covariance [n, taps, n, taps] of patches [positions, n, taps], which must be centred already."""
    positions, n, taps = patches.shape
    flat = patches.flatten(1)
    covariance = flat.new_empty(n * taps, n * taps)
    # It is symmetric: blocks above the diagonal are computed once.
    step = max(STRIP, -(-n * taps // 8))
    for start in range(0, n * taps, step):
        own = slice(start, start + step)
        covariance[own, start:] = flat[:, own].T @ flat[:, start:]
        covariance[start + step :, own] = covariance[own, start + step :].T
    return covariance.div_(positions).reshape(n, taps, n, taps)


def gram_of(weights: Tensor, kernels: Tensor, covariance: Tensor) -> Tensor:
    """Return the covariance [k, k] of kernels' outputs, from the covariance [n, taps, n, taps] of their inputs.

    `weights` are [k, taps], `kernels` [k] the input channel of each.
    """
    if weights.device.type == "cpu" and (native := backend.compiled("elimination")):
        gram: Tensor = native.gram(weights, kernels, covariance)
        return gram
    selected = covariance[kernels][:, :, kernels]
    return torch.einsum("kt,ktls,ls->kl", weights, selected, weights)
