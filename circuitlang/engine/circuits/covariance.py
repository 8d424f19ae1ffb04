"""Covariances of what a layer's weights see, and of what its kernels put out."""

from __future__ import annotations

import torch
from torch import Tensor

from circuitlang.engine.loops import backend

# Rows of a symmetric matrix that are worth a product of their own.
_STRIP = 128


def covariance_of(seen: Tensor) -> Tensor:
    """The means over places of products of centred inputs [R, n, taps], [n, taps, n, taps]."""
    places, n, taps = seen.shape
    flat = seen.flatten(1)
    found = flat.new_empty(n * taps, n * taps)
    # It is symmetric: what is above the diagonal is made once.
    step = max(_STRIP, -(-n * taps // 8))
    for start in range(0, n * taps, step):
        own = slice(start, start + step)
        found[own, start:] = flat[:, own].T @ flat[:, start:]
        found[start + step :, own] = found[own, start + step :].T
    return found.div_(places).reshape(n, taps, n, taps)


def gram_of(weights: Tensor, kernels: Tensor, covariance: Tensor) -> Tensor:
    """The covariances [k, k] of what kernels put out, from the covariance [n, taps, n, taps] of what weights see."""
    if weights.device.type == "cpu" and (native := backend.compiled("elimination")):
        found: Tensor = native.gram(weights, kernels, covariance)
        return found
    seen = covariance[kernels][:, :, kernels]
    return torch.einsum("kt,ktls,ls->kl", weights, seen, weights)
