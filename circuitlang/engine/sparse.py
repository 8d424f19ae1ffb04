"""A circuit's module, run over its kept kernels alone, where numba is there to compile the loops.

Eight images are worked on at once, one in each lane, so that a kernel's weight is the same for all lanes and whatever
the shape of a map, none is idle. Between layers maps lie so in memory too: [channels, rows, columns, images]. What is
no convolution is left to torch, which takes such maps for channels-last ones if images and channels change places.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor, fx, nn
from torch.nn import functional

from circuitlang.engine.native import Floats, Ints, pool
from circuitlang.engine.simd import LANES, fma, load, positive, splat, spread, store

# Where more of a layer's kernels than this are kept, a library's dense product is faster.
_DENSE = 0.7
# Positions that are worked on at once, and numbers that stay in a processor's cache.
_WIDE = 8
_CACHE = 1 << 16
# Operations whose tensors must be turned, lest torch copies them into another order.
_TURNED: tuple[Any, ...] = (
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
    functional.max_pool2d, functional.avg_pool2d, functional.adaptive_avg_pool2d,
)  # fmt: skip
_RECTIFIERS: tuple[Any, ...] = (nn.ReLU, torch.relu, functional.relu)


class Sparse(nn.Module):
    """What a circuit's module computes, to rounding, by its kept kernels alone.

    Takes images [N, 3, H, W] and gives maps as the module does; only on the CPU and in single precision.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__()
        self._whole, self._runner = module, _Runner(module)

    def forward(self, images: Tensor) -> Tensor:
        """The target's maps of some images."""
        with torch.no_grad():
            if not len(images):
                none: Tensor = self._whole(images)
                return none
            parts = [self._of(some) for some in torch.split(images, LANES)]
        return torch.cat(parts)

    def _of(self, images: Tensor) -> Tensor:
        spare = LANES - len(images)
        some = torch.cat([images, images[-1:].expand(spare, -1, -1, -1)]) if spare else images
        found: Tensor = self._runner.run(_laid(some))
        return found[: len(images)].contiguous()


class _Runner(fx.Interpreter):
    """Runs a module on eight images."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        modules = dict(module.named_modules())
        self._layers: dict[str, _Layer] = {}
        self._rectified: set[fx.Node] = set()
        for node in module.graph.nodes:
            layer = modules.get(str(node.target)) if node.op == "call_module" else None
            if isinstance(layer, nn.Conv2d) and _suits(layer):
                users = list(node.users)
                alone = len(users) == 1 and _is(users[0], modules, _RECTIFIERS)
                self._layers[node.name] = _Layer(layer, alone)
                self._rectified |= {users[0]} if alone else set()
        self._turned = {node for node in module.graph.nodes if _is(node, modules, _TURNED)}

    def run_node(self, n: fx.Node) -> Any:
        given: Any = n.args[0] if n.args else None
        if n.name in self._layers:
            return self._layers[n.name](self.env[given])
        if n in self._rectified:
            return self.env[given]
        if n in self._turned:
            return _turn(self._carry_out(n, _turn(self.env[given])))
        if n.target is torch.cat and n.args[1:] == (1,) and all(self.env[each].dim() == 4 for each in given):
            return _turn(torch.cat([_turn(_laid(self.env[each])) for each in given]))
        return super().run_node(n)

    def _carry_out(self, node: fx.Node, first: Tensor) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        return getattr(self, node.op)(node.target, (first, *args[1:]), kwargs)


def _is(node: fx.Node, modules: dict[str, nn.Module], kinds: Sequence[Any]) -> bool:
    if node.op == "call_module":
        return type(modules[str(node.target)]) in kinds
    return node.op == "call_function" and node.target in kinds


def _suits(layer: nn.Conv2d) -> bool:
    weight = layer.weight
    zeros = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    plain = weight.dtype == torch.float32 and weight.device.type == "cpu" and layer.groups == 1
    kept = (weight != 0).flatten(2).any(-1)
    return zeros and plain and float(kept.float().mean()) <= _DENSE


def _laid(maps: Tensor) -> Tensor:
    """Maps [N, C, H, W] in the order [C, H, W, N] in memory."""
    return maps.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)


def _turn(maps: Tensor) -> Tensor:
    return maps.permute(1, 0, 2, 3)


class _Layer:
    """A convolution as a list of kept kernels, output channel by output channel; `rectified`, with the ReLU behind."""

    def __init__(self, layer: nn.Conv2d, rectified: bool) -> None:
        weight = layer.weight.detach()
        self._size, self._rectified = (weight.shape[2], weight.shape[3]), rectified
        self._stride, self._dilation = layer.stride, layer.dilation
        padding: Any = layer.padding
        self._padding = (padding[0], padding[1])
        kept = (weight != 0).flatten(2).any(-1)
        row, column = kept.nonzero(as_tuple=True)
        self._start: Ints = np.concatenate(([0], kept.sum(1).cumsum(0).numpy()))
        self._input: Ints = column.numpy()
        self._weight: Floats = weight[row, column].reshape(-1).contiguous().numpy()
        bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach()
        self._bias: Floats = bias.contiguous().numpy()

    def __call__(self, maps: Tensor) -> Tensor:
        laid = self._padded(maps.permute(1, 2, 3, 0))
        channels, rows, columns = laid.shape[:3]
        down, across = (np.arange(size) * step for size, step in zip(self._size, self._dilation, strict=True))
        height = (rows - int(down[-1]) - 1) // self._stride[0] + 1
        width = (columns - int(across[-1]) - 1) // self._stride[1] + 1
        found = torch.empty(len(self._bias), height, width, LANES)
        offsets = ((down[:, None] * columns + across) * LANES).ravel()
        # As many rows at a time as leave what is read of them in the processor's cache.
        together = max(1, _CACHE // (channels * columns * self._stride[0] * LANES))
        given = (
            laid.view(-1).numpy(), self._weight, self._bias, self._start, self._input, offsets, found.view(-1).numpy(),
            height, width, rows * columns * LANES, self._stride[0] * columns * LANES,
            self._rectified, together,
        )  # fmt: skip
        loop = _convolve(self._stride[1])
        _spread(lambda first, last: loop(*given, first, last), len(self._bias))
        return found.permute(3, 0, 1, 2)

    def _padded(self, maps: Tensor) -> Tensor:
        """Maps [C, H, W, lanes] with their borders, contiguous; what is read behind the last row's end is there."""
        top, left = self._padding
        # So wide that a row of the output has as many positions as are read at once.
        wide = _WIDE * self._stride[1] + (self._size[1] - 1) * self._dilation[1]
        if not (top or left) and maps.is_contiguous() and maps.shape[2] >= wide:
            return maps
        shape = (len(maps), maps.shape[1] + 2 * top, maps.shape[2] + 2 * left, LANES)
        memory = maps.new_zeros(math.prod(shape) + _WIDE * self._stride[1] * LANES)
        laid = memory[: math.prod(shape)].view(shape)
        laid[:, top : top + maps.shape[1], left : left + maps.shape[2]] = maps
        return laid


def _spread(loop: Callable[[int, int], None], rows: int) -> None:
    """Share out output channels among as many threads as torch would use."""
    threads = min(torch.get_num_threads(), rows)
    if threads == 1:
        loop(0, rows)
        return
    ends = [rows * number // threads for number in range(threads + 1)]
    list(pool(threads).map(lambda span: loop(*span), pairwise(ends)))


@cache
def _convolve(stride: int) -> Callable[..., None]:
    """The loop for a horizontal stride, which is a constant to it: the processor has too few registers else."""
    across = stride * LANES

    @njit(cache=True, nogil=True)
    def convolve(
        x: Floats, weight: Floats, bias: Floats, start: Ints, source: Ints, offsets: Ints, found: Floats,
        height: int, width: int, plane: int, down: int, rectified: bool, together: int, first: int, last: int,
    ) -> None:  # fmt: skip
        taps = len(offsets)
        for top in range(0, height, together):
            for o in range(first, last):
                own = splat(bias[o])
                for y in range(top, min(top + together, height)):
                    column = 0
                    while column < width:
                        # Eight positions at a time keep the processor busy. Those that don't add up are worked out
                        # twice, or, where a row has fewer, not kept.
                        column = max(min(column, width - 8), 0)
                        a = b = c = d = e = f = g = h = own
                        for k in range(start[o], start[o + 1]):
                            p = source[k] * plane + y * down + column * across
                            for t in range(taps):
                                w, at = spread(weight, k * taps + t), p + offsets[t]
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
                        store(found, at, a)
                        if many > 1:
                            store(found, at + LANES, b)
                        if many > 2:
                            store(found, at + 2 * LANES, c)
                        if many > 3:
                            store(found, at + 3 * LANES, d)
                        if many > 4:
                            store(found, at + 4 * LANES, e)
                        if many > 5:
                            store(found, at + 5 * LANES, f)
                        if many > 6:
                            store(found, at + 6 * LANES, g)
                        if many > 7:
                            store(found, at + 7 * LANES, h)
                        column += 8

    loop: Callable[..., None] = convolve
    return loop
