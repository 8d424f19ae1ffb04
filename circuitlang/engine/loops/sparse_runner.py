"""A circuit's module, run over its kept kernels alone, where numba is there to compile the loops.

Eight images are worked on at once, one in each lane, so that a kernel's weight is the same for all lanes and whatever
the shape of a map, none is idle. Between layers maps lie so in memory too: [channels, rows, columns, images]. What is
no convolution is left to torch, which takes such maps for channels-last ones if images and channels change places.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from circuitlang.engine.loops.backend import pool
from circuitlang.engine.loops.compilation import loops
from circuitlang.engine.loops.scoring import Floats, Ints
from circuitlang.engine.loops.simd import LANES, fma, larger, load, positive, splat, spread, store

# Where more of a layer's kernels than this are kept, a library's dense product is faster.
_DENSE = 0.7
# With so few input channels it never is.
_FEW = 4
# Positions that are worked on at once, and numbers that stay in a processor's cache.
_WIDE = 8
_CACHE = 1 << 16
# Operations whose tensors must be turned, lest torch copies them into another order.
_TURNED: tuple[Any, ...] = (
    nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, functional.avg_pool2d, functional.adaptive_avg_pool2d,
)  # fmt: skip
# What a pool is told, in this order.
_WORDS = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_POOLS: tuple[Any, ...] = (nn.MaxPool2d, functional.max_pool2d)
_RECTIFIERS: tuple[Any, ...] = (nn.ReLU, torch.relu, functional.relu)


class Channels:
    """Maps of channels of first layers, kept from circuit to circuit: most have some of them whole, and then the same.

    A channel is known by its weights and what follows it up to the next layer, so that it doesn't matter of what
    feature a circuit is.
    """

    def __init__(self, room: int = 1 << 28) -> None:
        self._room = room
        self._maps: dict[Hashable, Tensor] = {}

    def of(self, images: Hashable, names: Sequence[bytes | None]) -> list[Tensor | None]:
        """What is known of some images' channels."""
        return [None if name is None else self._maps.get((images, name)) for name in names]

    def keep(self, images: Hashable, name: bytes, maps: Tensor) -> None:
        """Keep a channel, while there is room."""
        size = maps.numel() * maps.element_size()
        if size <= self._room:
            self._room -= size
            self._maps[images, name] = maps.clone()


class Sparse(nn.Module):
    """What a circuit's module computes, to rounding, by its kept kernels alone.

    Takes images [N, C, H, W] and gives maps as the module does; only on the CPU and in single precision. Where it is
    told what the images are called, which is to say that they are the same whenever they are called so, channels of
    the first layer are taken from `known` and kept there.
    """

    def __init__(self, module: fx.GraphModule, known: Channels | None = None) -> None:
        super().__init__()
        self._whole, self._runner = module, _Runner(module, known or Channels(0))

    def forward(self, images: Tensor, called: Hashable = None) -> Tensor:
        """The target's maps of some images."""
        with torch.no_grad():
            if not len(images):
                none: Tensor = self._whole(images)
                return none
            parts = [
                self._of(some, None if called is None else (called, number, len(some)))
                for number, some in enumerate(torch.split(images, LANES))
            ]
        return torch.cat(parts)

    def _of(self, images: Tensor, called: Hashable) -> Tensor:
        spare = LANES - len(images)
        some = torch.cat([images, images[-1:].expand(spare, -1, -1, -1)]) if spare else images
        found = self._runner.found(_laid(some), called)
        return found[: len(images)].contiguous()


class _Runner(fx.Interpreter):
    """Runs a module on eight images."""

    def __init__(self, module: fx.GraphModule, known: Channels) -> None:
        super().__init__(module)
        self._called: Hashable = None
        modules = dict(module.named_modules())
        self._layers: dict[str, _Layer] = {}
        self._done: set[fx.Node] = set()
        for node in module.graph.nodes:
            layer = modules.get(str(node.target)) if node.op == "call_module" else None
            if isinstance(layer, nn.Conv2d) and _suits(layer):
                follower = _follower(node)
                alone = follower is not None and _is(follower, modules, _RECTIFIERS)
                self._layers[node.name] = _Layer(layer, alone)
                self._done |= {follower} if alone and follower else set()
        self._pools = {node.name: pool for node in module.graph.nodes if (pool := _Pool.of(node, modules))}
        self._turned = {node for node in module.graph.nodes if _is(node, modules, _TURNED)}
        self._first: dict[str, _First] = {}
        for node in module.graph.nodes:
            if node.name in self._layers and node.args[0].op == "placeholder":
                inner = modules[str(node.target)].in_channels
                assert isinstance(inner, int)
                self._first[node.name] = _First(self._layers[node.name], inner, self._pooled(node), known)

    def _pooled(self, node: fx.Node) -> list[_Pool]:
        """The pools behind a layer that nothing but them reads; they are done with it."""
        pools, follower = [], _follower(node)
        while follower and (follower in self._done or follower.name in self._pools):
            if follower not in self._done:
                pools.append(self._pools[follower.name])
                self._done.add(follower)
            follower = _follower(follower)
        return pools

    def found(self, images: Tensor, called: Hashable) -> Tensor:
        """The target's maps of eight images, which may be called something."""
        self._called = called
        maps: Tensor = self.run(images)
        return maps

    def run_node(self, n: fx.Node) -> Any:
        given: Any = n.args[0] if n.args else None
        if n in self._done:
            return self.env[given]
        if n.name in self._first:
            return self._first[n.name](self.env[given], self._called)
        if n.name in self._layers:
            return self._layers[n.name](self.env[given])
        if n.name in self._pools:
            return self._pools[n.name](self.env[given])
        if n in self._turned:
            return _turn(self._carry_out(n, _turn(self.env[given])))
        if n.target is torch.cat and n.args[1:] == (1,) and all(self.env[each].dim() == 4 for each in given):
            return _turn(torch.cat([_turn(_laid(self.env[each])) for each in given]))
        return super().run_node(n)

    def _carry_out(self, node: fx.Node, first: Tensor) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        return getattr(self, node.op)(node.target, (first, *args[1:]), kwargs)


def _follower(node: fx.Node) -> fx.Node | None:
    """What alone reads a node."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def _is(node: fx.Node, modules: dict[str, nn.Module], kinds: Sequence[Any]) -> bool:
    """Whether a node is of these; what is given its maps by a keyword is left to torch."""
    if not node.args:
        return False
    if node.op == "call_module":
        return type(modules[str(node.target)]) in kinds
    return node.op == "call_function" and node.target in kinds


def _suits(layer: nn.Conv2d) -> bool:
    weight = layer.weight
    zeros = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    plain = weight.dtype == torch.float32 and weight.device.type == "cpu" and layer.groups == 1
    kept = (weight != 0).flatten(2).any(-1)
    return zeros and plain and (weight.shape[1] <= _FEW or float(kept.float().mean()) <= _DENSE)


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

    def only(self, rows: Sequence[int]) -> _Layer:
        """The layer with some of its output channels alone."""
        part, taps = copy.copy(self), self._size[0] * self._size[1]
        spans = [slice(self._start[row], self._start[row + 1]) for row in rows]
        part._start = np.cumsum([0, *(each.stop - each.start for each in spans)])
        kept = np.concatenate([np.arange(each.start, each.stop) for each in spans])
        part._input, part._bias = self._input[kept], self._bias[list(rows)]
        part._weight = self._weight.reshape(-1, taps)[kept].ravel()
        return part

    def names(self, inner: int) -> list[bytes | None]:
        """What an output channel is, where it has a kernel from every one of so many inputs."""
        how = repr((self._size, self._rectified, self._stride, self._dilation, self._padding)).encode()
        weight = self._weight.reshape(len(self._input), self._size[0] * self._size[1])
        whole = np.diff(self._start) == inner
        spans = zip(self._start, self._start[1:], self._bias, whole, strict=False)
        return [how + weight[a:z].tobytes() + bias.tobytes() if all_ else None for a, z, bias, all_ in spans]

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


class _First:
    """A layer that reads images, with the pools behind it; of channels that are known nothing is computed."""

    def __init__(self, layer: _Layer, inner: int, pools: Sequence[_Pool], known: Channels) -> None:
        self._layer, self._pools, self._known = layer, pools, known
        how = repr([vars(pool) for pool in pools]).encode()
        self._names = [None if each is None else how + each for each in layer.names(inner)]

    def __call__(self, images: Tensor, called: Hashable) -> Tensor:
        known = self._known.of(called, self._names)
        rows = [row for row, maps in enumerate(known) if maps is None]
        if rows:
            own = (self._layer if len(rows) == len(known) else self._layer.only(rows))(images)
            for pool in self._pools:
                own = pool(own)
            for row, maps in zip(rows, own.permute(1, 2, 3, 0), strict=True):
                name = self._names[row]
                if name is not None and called is not None:
                    self._known.keep(called, name, maps)
                known[row] = maps
        if len(rows) == len(known):
            return own
        return torch.stack([maps for maps in known if maps is not None]).permute(3, 0, 1, 2)


class _Pool:
    """The greatest of each window; torch's own finds out where each is too, and takes many times as long."""

    def __init__(self, size: Any, stride: Any, padding: Any, dilation: Any, up: bool) -> None:
        self._size, self._padding, self._dilation = _pair(size), _pair(padding), _pair(dilation)
        self._stride, self._up = _pair(stride) if stride else self._size, up

    @classmethod
    def of(cls, node: fx.Node, modules: dict[str, nn.Module]) -> _Pool | None:
        """What a node does, where it is no more than that."""
        if not _is(node, modules, _POOLS):
            return None
        if node.op == "call_module":
            module: Any = modules[str(node.target)]
            where = module.return_indices
            given = tuple(getattr(module, each) for each in _WORDS)
        else:
            usual = (None, None, 0, 1, False, False)
            named: dict[str, Any] = dict(zip((*_WORDS, "return_indices"), usual, strict=True))
            named |= {**dict(zip(named, node.args[1:], strict=False)), **node.kwargs}
            where = named["return_indices"]
            given = tuple(named[each] for each in _WORDS)
        return None if where else cls(*given)

    def __call__(self, maps: Tensor) -> Tensor:
        laid = _laid(maps).permute(1, 2, 3, 0)
        channels, rows, columns = laid.shape[:3]
        words = self._size, self._stride, self._padding, self._dilation
        shape = functional.max_pool2d(torch.empty(1, rows, columns, device="meta"), *words, self._up).shape[1:]
        found = torch.empty(channels, *shape, LANES)
        sizes = rows, columns, *shape, *(number for pair in words for number in pair)
        given = laid.view(-1).numpy(), found.view(-1).numpy(), *sizes
        _spread(lambda first, last: _greatest(*given, first, last), channels)
        return found.permute(3, 0, 1, 2)


def _pair(word: Any) -> tuple[int, int]:
    return (word[0], word[-1]) if isinstance(word, (tuple, list)) else (word, word)


@loops()
def _greatest(
    x: Floats, found: Floats, rows: int, columns: int, height: int, width: int, tall: int, wide: int, down: int,
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
                store(found, ((channel * height + y) * width + z) * LANES, most)


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

    @loops()
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
