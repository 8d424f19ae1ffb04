"""Compiled loops over an observation, where numba is installed: as exact as `observe`'s own, and several times faster.

They visit only positions at which the gradient is not zero, eight input channels at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from circuitlang.engine.loops.backend import pool
from circuitlang.engine.loops.compilation import loops
from circuitlang.engine.loops.simd import LANES, absolute, fma, load, splat, store
from circuitlang.plugins.protocols import LayerSignals

Ints = NDArray[np.int64]
Places = NDArray[np.int32]
Floats = NDArray[np.float32]

# Weights whose gradients are added up at once, each in a register.
_TAPS = 9
# Numbers of maps that stay in a processor's cache.
_NEAR = 24576
# Above this share of nonzero gradients, a library's dense product is faster.
_DENSE = 0.85


class Traffic:
    """The input and gradient of one image for one group of a convolution, laid out for the loops.

    `x` [inner, H, W] is padded, `gradient` [O, H', W'], `weight` [O, inner, h, w].
    """

    def __init__(
        self, weight: Tensor, x: Tensor, gradient: Tensor, stride: tuple[int, int], dilation: tuple[int, int]
    ) -> None:
        self.out, self.inner, height, width = weight.shape
        self.blocks = -(-self.inner // LANES)
        self.taps = height * width
        rows, columns = x.shape[1:]
        self.plane = rows * columns * LANES
        # Block by block, so that what one loop goes through lies together.
        self.x: Floats = np.empty(self.blocks * self.plane, np.float32)
        _blocks(*_strided(x), self.inner, rows, columns, self.x)
        weight = weight.permute(0, 2, 3, 1)
        missing = self.blocks * LANES - self.inner
        self.weight = _flat(functional.pad(weight, (0, missing)) if missing else weight)
        down, across = (np.arange(size) * step for size, step in zip((height, width), dilation, strict=True))
        self.offsets = ((down[:, None] * columns + across) * LANES).ravel()
        self.start, self.where, self.gradient = _present(
            *_strided(gradient), *gradient.shape, stride[0] * columns * LANES, stride[1] * LANES
        )

    @property
    def share(self) -> float:
        """Return the share of the gradient that isn't zero."""
        return float(self.start[-1]) / (len(self.gradient) - 1)

    def flows(self) -> Tensor:
        """The sum over positions of |a dL/da| with a the kernel's own output map, [O, inner]."""
        result = torch.empty(self.out, self.blocks * LANES)
        self._spread(_flows, self.offsets, result)
        return result[:, : self.inner]

    def effects(self) -> tuple[Tensor, Tensor]:
        """The sums over a kernel's weights of w dL/dw and of |w dL/dw|, [O, inner] each."""
        spare = -self.taps % _TAPS
        result = torch.empty(2, self.out, self.blocks * LANES)
        self._spread(_effects, np.concatenate((self.offsets, np.zeros(spare, np.int64))), result)
        return result[0, :, : self.inner], result[1, :, : self.inner]

    def _spread(self, loop: Callable[..., None], offsets: Ints, result: Tensor) -> None:
        """Run a loop over all blocks of input channels, shared out among as many threads as torch would use."""
        arguments = (
            self.x, self.weight, self.start, self.where, self.gradient, offsets, _flat(result),
            self.out, self.blocks, self.taps, self.plane,
        )  # fmt: skip
        threads = min(torch.get_num_threads(), self.blocks)
        if threads == 1:
            loop(*arguments, 0, self.blocks)
            return
        ends = [self.blocks * number // threads for number in range(threads + 1)]
        list(pool(threads).map(lambda span: loop(*arguments, *span), pairwise(ends)))


def suits(kernels: LayerSignals) -> bool:
    """Return whether the loops are faster for a layer.

    They are not for kernels of one weight, which are one product of matrices, nor where most lanes would be idle.
    """
    weight = kernels.weight
    plain = weight.dtype == torch.float32 and weight.device.type == "cpu" and type(weight) is Tensor
    return plain and weight.shape[1] > 2 and weight.shape[2] * weight.shape[3] > 1 and kernels.gradient.numel() > 0


def groups(kernels: LayerSignals, image: int) -> list[tuple[slice, Traffic]]:
    """Return each group's output channels and traffic, laid out once for all callers."""
    groups_by_size: dict[int, list[tuple[slice, Traffic]]] = kernels.shared.setdefault("traffic", {})
    if image not in groups_by_size:
        outputs_per_group, inner = len(kernels.weight) // kernels.groups, kernels.weight.shape[1]
        groups_by_size[image] = []
        for group in range(kernels.groups):
            rows, columns = (
                slice(group * outputs_per_group, (group + 1) * outputs_per_group),
                slice(group * inner, (group + 1) * inner),
            )
            parts = kernels.weight[rows], kernels.input[image, columns], kernels.gradient[image, rows]
            groups_by_size[image].append((rows, Traffic(*parts, kernels.stride, kernels.dilation)))
    return groups_by_size[image]


def sparse(kernels: LayerSignals, image: int) -> list[tuple[slice, Traffic]]:
    """`groups`, where so many lanes are used and so much of the gradient is zero that loops are faster than a dense
    product; else none."""
    if kernels.weight.shape[1] <= LANES // 2:
        return []
    groups_by_size = groups(kernels, image)
    return groups_by_size if sum(traffic.share for _, traffic in groups_by_size) < _DENSE * len(groups_by_size) else []


def _flat(values: Tensor) -> Any:
    return values.detach().contiguous().view(-1).numpy()


def _strided(values: Tensor) -> tuple[Any, int, int, int]:
    """Return the memory of maps [C, H, W] as an array, and the strides of channels, rows and columns in it."""
    channel, row, column = values.stride()
    last = sum((size - 1) * step for size, step in zip(values.shape, values.stride(), strict=True))
    return values.detach().as_strided((last + 1,), (1,)).numpy(), channel, row, column


@loops()
def _blocks(
    x: Floats, channel: int, row: int, column: int, channels: int, rows: int, columns: int, result: Floats
) -> None:
    """Lay maps out in blocks of channels, each [rows, columns, lanes]; lanes that are left over are zero."""
    full = channels // LANES if channel == 1 else 0
    plane = rows * columns * LANES
    for i in range(rows):
        for j in range(columns):
            p, q = i * row + j * column, (i * columns + j) * LANES
            for block in range(full):
                store(result, block * plane + q, load(x, p + block * LANES))
            for c in range(full * LANES, len(result) // (rows * columns)):
                result[c // LANES * plane + q + c % LANES] = x[p + c * channel] if c < channels else 0


@loops()
def _present(
    gradient: Floats, channel: int, row: int, column: int, out: int, rows: int, columns: int, down: int, across: int
) -> tuple[Ints, Places, Floats]:
    """Return the indices and values of nonzero numbers, by output channel; `down` and `across` are strides."""
    start = np.zeros(out + 1, np.int64)
    where = np.empty(out * rows * columns + 1, np.int32)
    values = np.empty(out * rows * columns + 1, np.float32)
    many = 0
    for o in range(out):
        for i in range(rows):
            for j in range(columns):
                value = gradient[o * channel + i * row + j * column]
                where[many] = i * down + j * across
                values[many] = value
                many += value != 0
        start[o + 1] = many
    return start, where, values


@loops()
def _flows(
    x: Floats, weight: Floats, start: Ints, where: Places, gradient: Floats, offsets: Ints, result: Floats,
    out: int, blocks: int, taps: int, plane: int, first: int, last: int,
) -> None:  # fmt: skip
    zero, step = splat(np.float32(0)), blocks * LANES
    tile = _tile(plane)
    for low in range(first, last, tile):
        for o in range(out):
            for block in range(low, min(low + tile, last)):
                at, w = block * plane, (o * taps * blocks + block) * LANES
                total, k = zero, start[o]
                if taps == _TAPS:
                    # All weights stay in registers.
                    w0, w1, w2 = load(weight, w), load(weight, w + step), load(weight, w + 2 * step)
                    w3, w4, w5 = load(weight, w + 3 * step), load(weight, w + 4 * step), load(weight, w + 5 * step)
                    w6, w7, w8 = load(weight, w + 6 * step), load(weight, w + 7 * step), load(weight, w + 8 * step)
                    right, twice, down = offsets[1], offsets[2], offsets[3]
                    while k < start[o + 1]:
                        p = at + where[k]
                        a = fma(w0, load(x, p), zero)
                        a = fma(w1, load(x, p + right), a)
                        a = fma(w2, load(x, p + twice), a)
                        p += down
                        a = fma(w3, load(x, p), a)
                        a = fma(w4, load(x, p + right), a)
                        a = fma(w5, load(x, p + twice), a)
                        p += down
                        a = fma(w6, load(x, p), a)
                        a = fma(w7, load(x, p + right), a)
                        a = fma(w8, load(x, p + twice), a)
                        total = fma(absolute(a), splat(abs(gradient[k])), total)
                        k += 1
                # Four positions at a time share a load of the weight, and don't wait for one another.
                while k + 4 <= start[o + 1]:
                    p, q, r, s = at + where[k], at + where[k + 1], at + where[k + 2], at + where[k + 3]
                    a = b = c = d = zero
                    for t in range(taps):
                        own, there = load(weight, w + t * step), offsets[t]
                        a = fma(own, load(x, p + there), a)
                        b = fma(own, load(x, q + there), b)
                        c = fma(own, load(x, r + there), c)
                        d = fma(own, load(x, s + there), d)
                    total = fma(absolute(a), splat(abs(gradient[k])), total)
                    total = fma(absolute(b), splat(abs(gradient[k + 1])), total)
                    total = fma(absolute(c), splat(abs(gradient[k + 2])), total)
                    total = fma(absolute(d), splat(abs(gradient[k + 3])), total)
                    k += 4
                while k < start[o + 1]:
                    a = zero
                    for t in range(taps):
                        a = fma(load(weight, w + t * step), load(x, at + where[k] + offsets[t]), a)
                    total = fma(absolute(a), splat(abs(gradient[k])), total)
                    k += 1
                store(result, (o * blocks + block) * LANES, total)


@loops()
def _effects(
    x: Floats, weight: Floats, start: Ints, where: Places, gradient: Floats, offsets: Ints, result: Floats,
    out: int, blocks: int, taps: int, plane: int, first: int, last: int,
) -> None:  # fmt: skip
    zero, one = splat(np.float32(0)), splat(np.float32(1))
    sums = np.empty(_TAPS * LANES, np.float32)
    tile = _tile(plane)
    for low in range(first, last, tile):
        for o in range(out):
            for block in range(low, min(low + tile, last)):
                at, w = block * plane, (o * taps * blocks + block) * LANES
                signed = without = zero
                for t in range(0, taps, _TAPS):
                    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = zero
                    if taps == _TAPS:
                        right, twice, down = offsets[1], offsets[2], offsets[3]
                        for k in range(start[o], start[o + 1]):
                            p, g = at + where[k], splat(gradient[k])
                            s0 = fma(g, load(x, p), s0)
                            s1 = fma(g, load(x, p + right), s1)
                            s2 = fma(g, load(x, p + twice), s2)
                            p += down
                            s3 = fma(g, load(x, p), s3)
                            s4 = fma(g, load(x, p + right), s4)
                            s5 = fma(g, load(x, p + twice), s5)
                            p += down
                            s6 = fma(g, load(x, p), s6)
                            s7 = fma(g, load(x, p + right), s7)
                            s8 = fma(g, load(x, p + twice), s8)
                    else:
                        j0, j1, j2, j3, j4 = offsets[t], offsets[t + 1], offsets[t + 2], offsets[t + 3], offsets[t + 4]
                        j5, j6, j7, j8 = offsets[t + 5], offsets[t + 6], offsets[t + 7], offsets[t + 8]
                        for k in range(start[o], start[o + 1]):
                            p, g = at + where[k], splat(gradient[k])
                            s0 = fma(g, load(x, p + j0), s0)
                            s1 = fma(g, load(x, p + j1), s1)
                            s2 = fma(g, load(x, p + j2), s2)
                            s3 = fma(g, load(x, p + j3), s3)
                            s4 = fma(g, load(x, p + j4), s4)
                            s5 = fma(g, load(x, p + j5), s5)
                            s6 = fma(g, load(x, p + j6), s6)
                            s7 = fma(g, load(x, p + j7), s7)
                            s8 = fma(g, load(x, p + j8), s8)
                    store(sums, 0, s0)
                    store(sums, LANES, s1)
                    store(sums, 2 * LANES, s2)
                    store(sums, 3 * LANES, s3)
                    store(sums, 4 * LANES, s4)
                    store(sums, 5 * LANES, s5)
                    store(sums, 6 * LANES, s6)
                    store(sums, 7 * LANES, s7)
                    store(sums, 8 * LANES, s8)
                    for i in range(min(_TAPS, taps - t)):
                        part = fma(load(weight, w + (t + i) * blocks * LANES), load(sums, i * LANES), zero)
                        signed = fma(part, one, signed)
                        without = fma(absolute(part), one, without)
                store(result, (o * blocks + block) * LANES, signed)
                store(result, ((out + o) * blocks + block) * LANES, without)


@loops()
def _tile(plane: int) -> int:
    """Return how many blocks of input channels stay in the cache while all output channels are computed.

    With more than one, a weight that is loaded is used several times.
    """
    return max(1, _NEAR // plane)
