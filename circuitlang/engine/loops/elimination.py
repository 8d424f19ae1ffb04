"""Compiled loops over covariances of a layer's inputs: covariances of kernels' outputs, and backward elimination."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitlang.engine.loops.backend import pool
from circuitlang.engine.loops.compilation import loops

Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]

# Weights of a kernel that are gone through at once.
_TAPS = 9
# Output channels that are worked on together, in the lanes of a processor, and numbers of theirs that are held at once.
_ROWS, _BLOCK = 32, 1 << 23
# The side of a square of a matrix that is turned at once.
_SQUARE = 8


def costs(
    weights: Tensor, covariance: Tensor, constants: Tensor, lacking: Tensor, alive: Tensor, later: float
) -> Tensor:
    """Return the costs [O, n] of removing kernels [O, n, positions] one after the other, as `greedy` scores them.

    A cost is never less than that of an earlier kernel times `later`.

    `covariance` [n, positions, n, positions] is that of the inputs, `constants` [O, n] what a kernel puts out
    everywhere and nothing stands in for, `lacking` [O, n] the products of the kernels' outputs with what is missing
    from the start. Only kernels that are `alive` [O, n] are removed. All float64.
    """
    out, n = weights.shape[:2]
    arrays = [tensor.contiguous().numpy() for tensor in (weights, covariance, constants, lacking, alive)]
    costs_of_kernels = torch.zeros(out, n).double()
    rows = max(1, min(_ROWS, _BLOCK // (n * n)))
    threads = min(torch.get_num_threads(), out)
    ends = [out * number // threads for number in range(threads + 1)]

    def some(span: tuple[int, int]) -> None:
        _costs(*arrays, later, costs_of_kernels.numpy(), rows, *span)

    list(pool(threads).map(some, pairwise(ends)))
    return costs_of_kernels


def gram(weights: Tensor, kernels: Tensor, covariance: Tensor) -> Tensor:
    """Return the covariances [k, k] of the outputs of some kernels of an output channel.

    They follow from the kernels' weights [k, positions], their indices, and the covariance
    [n, positions, n, positions] of their inputs. All float64.
    """
    products = weights.new_zeros(len(weights), len(weights))
    _gram(weights.contiguous().numpy(), kernels.numpy(), covariance.numpy(), products.numpy())
    return products


@loops(fastmath={"contract"})
def _gram(weights: Doubles, kernels: Ints, covariance: Doubles, products: Doubles) -> None:
    number, kernel_positions = weights.shape
    for i in range(number):
        for j in range(i + 1):
            total = 0.0
            for t in range(kernel_positions):
                c, w = covariance[kernels[i], t, kernels[j]], weights[j]
                seen = 0.0
                for s in range(kernel_positions):
                    seen += c[s] * w[s]
                total += weights[i, t] * seen
            products[i, j] = products[j, i] = total


@loops()
def _costs(
    weights: Doubles, covariance: Doubles, constants: Doubles, lacking: Doubles, alive: Flags, later: float,
    result: Doubles, together: int, first: int, last: int,
) -> None:  # fmt: skip
    n, kernel_positions = weights.shape[1:]
    same = np.ones(n)
    gram = np.empty((1 if kernel_positions == 1 else together, n, n))
    if kernel_positions == 1:
        # Kernels of one weight put out the same but for that weight, in every output channel.
        gram[0] = covariance[:, 0, :, 0]
    for start in range(first, last, together):
        rows = min(together, last - start)
        if kernel_positions > 1:
            _grams(weights[start : start + rows], covariance, gram)
        for r in range(rows):
            o = start + r
            if kernel_positions == 1:
                _remove(gram[0], weights[o, :, 0].copy(), constants[o], lacking[o], alive[o], later, result[o])
            else:
                _remove(gram[r], same, constants[o], lacking[o], alive[o], later, result[o])


@loops(fastmath={"contract"})
def _grams(weights: Doubles, covariance: Doubles, gram: Doubles) -> None:
    """Return for each output channel the covariances of its kernels' outputs [O, n, n]."""
    rows, n, kernel_positions = weights.shape
    lanes = np.empty((n, kernel_positions, rows))
    for r in range(rows):
        lanes[:, :, r] = weights[r]
    put, line = np.empty((n, rows)), np.empty(rows)
    for k in range(n):
        for other in range(k + 1):
            own, w = put[other], lanes[other]
            own[:] = 0
            for t in range(kernel_positions):
                c = covariance[k, t, other]
                if kernel_positions == _TAPS:
                    # All in one expression, so that nothing goes through memory between them.
                    c0, c1, c2, c3, c4, c5, c6, c7, c8 = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8]
                    for r in range(rows):
                        own[r] += lanes[k, t, r] * (
                            c0 * w[0, r] + c1 * w[1, r] + c2 * w[2, r] + c3 * w[3, r] + c4 * w[4, r]
                            + c5 * w[5, r] + c6 * w[6, r] + c7 * w[7, r] + c8 * w[8, r]
                        )  # fmt: skip
                    continue
                line[:] = 0
                for s in range(kernel_positions):
                    for r in range(rows):
                        line[r] += c[s] * w[s, r]
                for r in range(rows):
                    own[r] += lanes[k, t, r] * line[r]
        for r in range(rows):
            for other in range(k + 1):
                gram[r, k, other] = put[other, r]
    for r in range(rows):
        # The part above the diagonal, in squares, so that the lines that are written stay in a processor's cache.
        for top in range(0, n, _SQUARE):
            for left in range(0, top + 1, _SQUARE):
                for k in range(top, min(top + _SQUARE, n)):
                    for other in range(left, min(left + _SQUARE, k)):
                        gram[r, other, k] = gram[r, k, other]


@loops(fastmath={"contract"})
def _remove(
    gram: Doubles, scale: Doubles, constants: Doubles, lacking: Doubles, alive: Flags, later: float, result: Doubles
) -> None:
    """Remove the kernels of one output channel; their outputs' products are those of `gram` times both their scales."""
    n = len(gram)
    own, linear, left = np.empty(n), 2 * lacking, np.empty(n, np.int64)
    most, many = 0.0, 0
    for k in range(n):
        own[k] = scale[k] * gram[k, k] * scale[k] + constants[k] * constants[k]
        most = max(most, own[k])
        # A kernel without an output can go for nothing.
        if alive[k] and own[k] > 0:
            left[many] = k
            many += 1
    last = 1e-12 * most
    while many > 0:
        least, at = np.inf, -1
        for i in range(many):
            cost = own[left[i]] + linear[left[i]]
            if cost < least:
                least, at = cost, i
        if at < 0:
            # The remaining kernels have no finite cost.
            return
        kernel = left[at]
        for i in range(at, many - 1):
            left[i] = left[i + 1]
        many -= 1
        last = max(least, later * last)
        result[kernel] = last
        products, factor, constant = gram[kernel], 2 * scale[kernel], 2 * constants[kernel]
        for k in range(n):
            linear[k] += factor * products[k] * scale[k] + constant * constants[k]
