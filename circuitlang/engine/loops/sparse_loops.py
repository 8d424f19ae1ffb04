"""Compiled loops of the sparse runner: convolutions over kept kernels and max pools, eight images at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
import torch

from circuitlang.engine.loops.backend import pool
from circuitlang.engine.loops.compilation import loops
from circuitlang.engine.loops.scoring import Floats, Ints
from circuitlang.engine.loops.simd import LANES, fma, larger, load, positive, splat, spread, store


def over_channels(loop: Callable[[int, int], None], channels: int) -> None:
    """Run a loop over channels, divided among as many threads as torch would use."""
    threads = min(torch.get_num_threads(), channels)
    if threads == 1:
        loop(0, channels)
        return
    ends = [channels * number // threads for number in range(threads + 1)]
    list(pool(threads).map(lambda span: loop(*span), pairwise(ends)))


@loops()
def max_pool(
    x: Floats, result: Floats, rows: int, columns: int, height: int, width: int, tall: int, wide: int, down: int,
    across: int, above: int, before: int, apart: int, beside: int, first: int, last: int,
) -> None:  # fmt: skip
    for channel in range(first, last):
        for y in range(height):
            for z in range(width):
                most = splat(np.float32(-np.inf))
                for i in range(tall):
                    row = y * down - above + i * apart
                    if 0 <= row < rows:
                        at = (channel * rows + row) * columns
                        for j in range(wide):
                            column = z * across - before + j * beside
                            if 0 <= column < columns:
                                most = larger(most, load(x, (at + column) * LANES))
                store(result, ((channel * height + y) * width + z) * LANES, most)


@cache
def convolution(stride: int) -> Callable[..., None]:
    """Return the loop of a convolution for a horizontal stride.

    The stride is a constant of the compiled code: as a variable it would take one register too many.
    """
    across = stride * LANES

    @loops()
    def convolve(
        x: Floats, weight: Floats, bias: Floats, start: Ints, source: Ints, offsets: Ints, result: Floats,
        height: int, width: int, plane: int, down: int, rectified: bool, together: int, first: int, last: int,
    ) -> None:  # fmt: skip
        kernel_positions = len(offsets)
        for top in range(0, height, together):
            for o in range(first, last):
                own = splat(bias[o])
                for y in range(top, min(top + together, height)):
                    column = 0
                    while column < width:
                        # Eight positions at a time keep the processor busy. At the end of a row some are computed
                        # twice, or, in a row of fewer, computed and not stored.
                        column = max(min(column, width - 8), 0)
                        a = b = c = d = e = f = g = h = own
                        for k in range(start[o], start[o + 1]):
                            p = source[k] * plane + y * down + column * across
                            for t in range(kernel_positions):
                                w, at = spread(weight, k * kernel_positions + t), p + offsets[t]
                                a = fma(w, load(x, at), a)
                                b = fma(w, load(x, at + across), b)
                                c = fma(w, load(x, at + 2 * across), c)
                                d = fma(w, load(x, at + 3 * across), d)
                                e = fma(w, load(x, at + 4 * across), e)
                                f = fma(w, load(x, at + 5 * across), f)
                                g = fma(w, load(x, at + 6 * across), g)
                                h = fma(w, load(x, at + 7 * across), h)
                        if rectified:
                            a, b, c, d = positive(a), positive(b), positive(c), positive(d)
                            e, f, g, h = positive(e), positive(f), positive(g), positive(h)
                        at, many = ((o * height + y) * width + column) * LANES, width - column
                        store(result, at, a)
                        if many > 1:
                            store(result, at + LANES, b)
                        if many > 2:
                            store(result, at + 2 * LANES, c)
                        if many > 3:
                            store(result, at + 3 * LANES, d)
                        if many > 4:
                            store(result, at + 4 * LANES, e)
                        if many > 5:
                            store(result, at + 5 * LANES, f)
                        if many > 6:
                            store(result, at + 6 * LANES, g)
                        if many > 7:
                            store(result, at + 7 * LANES, h)
                        column += 8

    loop: Callable[..., None] = convolve
    return loop
