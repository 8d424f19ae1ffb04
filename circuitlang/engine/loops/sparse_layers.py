"""Convolutions over kept kernels and max pools, as parts of the sparse runner.

Maps are tensors [N, C, H, W] of eight images whose order in memory is [C, H, W, N].
"""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from circuitlang.engine.loops.scoring import Floats, Ints
from circuitlang.engine.loops.simd import LANES
from circuitlang.engine.loops.sparse_loops import convolution, max_pool, over_channels

# With more kept kernels than this share, a library's dense product is faster.
_DENSE = 0.7
# With so few input channels, it never is.
_FEW = 4
# Positions that are computed at once, and numbers that stay in a processor's cache.
_WIDE = 8
CACHE = 1 << 16
# Arguments of a pool, in this order.
_POOL_ARGUMENTS = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_POOLS: tuple[Any, ...] = (nn.MaxPool2d, functional.max_pool2d)


class Channels:
    """A cache of maps of first layers' channels, shared by circuits: most circuits have some channels with all kernels.

    The key of a channel is its weights and what follows it up to the next layer, so that circuits for different
    features share it. At most `room` bytes are kept.
    """

    def __init__(self, room: int = 1 << 28) -> None:
        self._room = room
        self._maps: dict[Hashable, Tensor] = {}

    def of(self, images: Hashable, names: Sequence[bytes | None]) -> list[Tensor | None]:
        """Return the maps of channels for some images, None for those that are not kept or have no name."""
        return [None if name is None else self._maps.get((images, name)) for name in names]

    def keep(self, images: Hashable, name: bytes, maps: Tensor) -> None:
        """Keep the maps of a channel if there is room."""
        size = maps.numel() * maps.element_size()
        if size <= self._room:
            self._room -= size
            self._maps[images, name] = maps.clone()


def is_any_of(node: fx.Node, modules: dict[str, nn.Module], operations: Sequence[Any]) -> bool:
    """Return whether a node calls one of some modules or functions, with its maps as the first positional argument."""
    if not node.args:
        return False
    if node.op == "call_module":
        return type(modules[str(node.target)]) in operations
    return node.op == "call_function" and node.target in operations


def is_supported(layer: nn.Conv2d) -> bool:
    """Return whether a convolution can be run over its kept kernels, and is faster so."""
    weight = layer.weight
    zeros = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    plain = weight.dtype == torch.float32 and weight.device.type == "cpu" and layer.groups == 1
    kept = (weight != 0).flatten(2).any(-1)
    return zeros and plain and (weight.shape[1] <= _FEW or float(kept.float().mean()) <= _DENSE)


def images_last(maps: Tensor) -> Tensor:
    """Return maps [N, C, H, W] in the order [C, H, W, N] in memory."""
    return maps.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)


class SparseLayer:
    """A convolution as a list of kept kernels, by output channel; if `rectified`, with the ReLU behind it."""

    def __init__(self, layer: nn.Conv2d, rectified: bool) -> None:
        weight = layer.weight.detach()
        self._size, self._rectified = (weight.shape[2], weight.shape[3]), rectified
        self._stride, self._dilation = layer.stride, layer.dilation
        padding: Any = layer.padding
        self._padding = (padding[0], padding[1])
        kept = (weight != 0).flatten(2).any(-1)
        out_channel, in_channel = kept.nonzero(as_tuple=True)
        self._start: Ints = np.concatenate(([0], kept.sum(1).cumsum(0).numpy()))
        self._input: Ints = in_channel.numpy()
        self._weight: Floats = weight[out_channel, in_channel].reshape(-1).contiguous().numpy()
        bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach()
        self._bias: Floats = bias.contiguous().numpy()

    def __call__(self, maps: Tensor) -> Tensor:
        padded = self.padded(maps.permute(1, 2, 3, 0))
        channels, rows, columns = padded.shape[:3]
        down, across = (np.arange(size) * step for size, step in zip(self._size, self._dilation, strict=True))
        height = (rows - int(down[-1]) - 1) // self._stride[0] + 1
        width = (columns - int(across[-1]) - 1) // self._stride[1] + 1
        result = torch.empty(len(self._bias), height, width, LANES)
        offsets = ((down[:, None] * columns + across) * LANES).ravel()
        # As many rows at a time as leave their inputs in the processor's cache.
        rows_at_once = max(1, CACHE // (channels * columns * self._stride[0] * LANES))
        arguments = (
            padded.view(-1).numpy(), self._weight, self._bias, self._start, self._input, offsets,
            result.view(-1).numpy(), height, width, rows * columns * LANES, self._stride[0] * columns * LANES,
            self._rectified, rows_at_once,
        )  # fmt: skip
        loop = convolution(self._stride[1])
        over_channels(lambda first, last: loop(*arguments, first, last), len(self._bias))
        return result.permute(3, 0, 1, 2)

    def only(self, out_channels: Sequence[int]) -> SparseLayer:
        """Return the layer with some of its output channels alone."""
        part, kernel_positions = copy.copy(self), self._size[0] * self._size[1]
        spans = [slice(self._start[channel], self._start[channel + 1]) for channel in out_channels]
        part._start = np.cumsum([0, *(span.stop - span.start for span in spans)])
        kept = np.concatenate([np.arange(span.start, span.stop) for span in spans])
        part._input, part._bias = self._input[kept], self._bias[list(out_channels)]
        part._weight = self._weight.reshape(-1, kernel_positions)[kept].ravel()
        return part

    def names(self, in_channels: int) -> list[bytes | None]:
        """Return a key for each output channel that has kernels for all input channels, None for the others."""
        how = repr((self._size, self._rectified, self._stride, self._dilation, self._padding)).encode()
        weight = self._weight.reshape(len(self._input), self._size[0] * self._size[1])
        whole = np.diff(self._start) == in_channels
        spans = zip(self._start, self._start[1:], self._bias, whole, strict=False)
        return [how + weight[a:z].tobytes() + bias.tobytes() if all_ else None for a, z, bias, all_ in spans]

    def padded(self, maps: Tensor) -> Tensor:
        """Return maps [C, H, W, lanes] with their borders, contiguous; memory behind the last row may be read."""
        top, left = self._padding
        # A row of the output then has as many positions as are computed at once.
        wide = _WIDE * self._stride[1] + (self._size[1] - 1) * self._dilation[1]
        if not (top or left) and maps.is_contiguous() and maps.shape[2] >= wide:
            return maps
        shape = (len(maps), maps.shape[1] + 2 * top, maps.shape[2] + 2 * left, LANES)
        memory = maps.new_zeros(math.prod(shape) + _WIDE * self._stride[1] * LANES)
        padded = memory[: math.prod(shape)].view(shape)
        padded[:, top : top + maps.shape[1], left : left + maps.shape[2]] = maps
        return padded


class FirstLayer:
    """A layer that reads images, with the pools behind it; channels whose maps are kept are not computed."""

    def __init__(self, layer: SparseLayer, in_channels: int, pools: Sequence[MaxPool], known: Channels) -> None:
        self._layer, self._pools, self._known = layer, pools, known
        how = repr([vars(pool) for pool in pools]).encode()
        self._names = [None if name is None else how + name for name in layer.names(in_channels)]

    def __call__(self, images: Tensor, called: Hashable) -> Tensor:
        known = self._known.of(called, self._names)
        missing = [channel for channel, maps in enumerate(known) if maps is None]
        if missing:
            own = (self._layer if len(missing) == len(known) else self._layer.only(missing))(images)
            for pool in self._pools:
                own = pool(own)
            for channel, maps in zip(missing, own.permute(1, 2, 3, 0), strict=True):
                name = self._names[channel]
                if name is not None and called is not None:
                    self._known.keep(called, name, maps)
                known[channel] = maps
        if len(missing) == len(known):
            return own
        return torch.stack([maps for maps in known if maps is not None]).permute(3, 0, 1, 2)


class MaxPool:
    """A max pool. PyTorch's own also computes the positions of maxima, and takes many times as long."""

    def __init__(self, size: Any, stride: Any, padding: Any, dilation: Any, up: bool) -> None:
        self._size, self._padding, self._dilation = _pair(size), _pair(padding), _pair(dilation)
        self._stride, self._up = _pair(stride) if stride else self._size, up

    @classmethod
    def of(cls, node: fx.Node, modules: dict[str, nn.Module]) -> MaxPool | None:
        """Return the pool of a node; None if it is none, or also returns the positions of maxima."""
        if not is_any_of(node, modules, _POOLS):
            return None
        if node.op == "call_module":
            module: Any = modules[str(node.target)]
            where = module.return_indices
            arguments = tuple(getattr(module, name) for name in _POOL_ARGUMENTS)
        else:
            usual = (None, None, 0, 1, False, False)
            named: dict[str, Any] = dict(zip((*_POOL_ARGUMENTS, "return_indices"), usual, strict=True))
            named |= {**dict(zip(named, node.args[1:], strict=False)), **node.kwargs}
            where = named["return_indices"]
            arguments = tuple(named[name] for name in _POOL_ARGUMENTS)
        return None if where else cls(*arguments)

    def __call__(self, maps: Tensor) -> Tensor:
        values = images_last(maps).permute(1, 2, 3, 0)
        channels, rows, columns = values.shape[:3]
        words = self._size, self._stride, self._padding, self._dilation
        shape = functional.max_pool2d(torch.empty(1, rows, columns, device="meta"), *words, self._up).shape[1:]
        result = torch.empty(channels, *shape, LANES)
        sizes = rows, columns, *shape, *(number for pair in words for number in pair)
        arguments = values.view(-1).numpy(), result.view(-1).numpy(), *sizes
        over_channels(lambda first, last: max_pool(*arguments, first, last), channels)
        return result.permute(3, 0, 1, 2)


def _pair(word: Any) -> tuple[int, int]:
    return (word[0], word[-1]) if isinstance(word, (tuple, list)) else (word, word)
