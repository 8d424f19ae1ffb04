"""Run a circuit's module over its kept kernels alone.

Eight images are computed at once, one in each lane, so that a kernel's weight is the same for all lanes, and no lane is
idle whatever the shape of a map. Between layers, maps are stored in the order [channels, rows, columns, images]. Other
operations than convolutions and max pools are left to torch, which takes such maps for channels-last ones if images and
channels change places.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from circuitlang.engine.loops.simd import LANES
from circuitlang.engine.loops.sparse_layers import (
    Channels,
    FirstLayer,
    MaxPool,
    SparseLayer,
    images_last,
    is_any_of,
    is_supported,
)

# Operations whose tensors are transposed, so that torch doesn't copy them into another order.
_TRANSPOSED: tuple[Any, ...] = (
    nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, functional.avg_pool2d, functional.adaptive_avg_pool2d,
)  # fmt: skip
_RECTIFIERS: tuple[Any, ...] = (nn.ReLU, torch.relu, functional.relu)


class Sparse(nn.Module):
    """A circuit's module, run over its kept kernels alone, with the same results up to rounding.

    Maps images [N, C, H, W] to the module's output, on the CPU and in single precision only. With a key for the images,
    which must name the same images each time, maps of the first layer are taken from `known` and kept there.
    """

    def __init__(self, module: fx.GraphModule, known: Channels | None = None) -> None:
        super().__init__()
        self._whole, self._runner = module, Runner(module, known or Channels(0))

    def forward(self, images: Tensor, key: Hashable = None) -> Tensor:
        """Return the target's maps for images."""
        with torch.no_grad():
            if not len(images):
                none: Tensor = self._whole(images)
                return none
            parts = [
                self._run(batch, None if key is None else (key, number, len(batch)))
                for number, batch in enumerate(torch.split(images, LANES))
            ]
        return torch.cat(parts)

    def _run(self, images: Tensor, key: Hashable) -> Tensor:
        spare = LANES - len(images)
        batch = torch.cat([images, images[-1:].expand(spare, -1, -1, -1)]) if spare else images
        maps = self._runner.run_lanes(images_last(batch), key)
        return maps[: len(images)].contiguous()


class Runner(fx.Interpreter):
    """Runs a module on eight images, convolutions and max pools by compiled loops."""

    def __init__(self, module: fx.GraphModule, known: Channels) -> None:
        super().__init__(module)
        self._key: Hashable = None
        modules = dict(module.named_modules())
        self._layers: dict[str, SparseLayer] = {}
        self._done: set[fx.Node] = set()
        for node in module.graph.nodes:
            layer = modules.get(str(node.target)) if node.op == "call_module" else None
            if isinstance(layer, nn.Conv2d) and is_supported(layer):
                follower = _follower(node)
                alone = follower is not None and is_any_of(follower, modules, _RECTIFIERS)
                self._layers[node.name] = SparseLayer(layer, alone)
                self._done |= {follower} if alone and follower else set()
        self.pools = {node.name: pool for node in module.graph.nodes if (pool := MaxPool.of(node, modules))}
        self._transposed = {node for node in module.graph.nodes if is_any_of(node, modules, _TRANSPOSED)}
        self._first: dict[str, FirstLayer] = {}
        for node in module.graph.nodes:
            if node.name in self._layers and node.args[0].op == "placeholder":
                in_channels = modules[str(node.target)].in_channels
                assert isinstance(in_channels, int)
                self._first[node.name] = FirstLayer(self._layers[node.name], in_channels, self._pooled(node), known)

    def _pooled(self, node: fx.Node) -> list[MaxPool]:
        """Return the pools behind a layer that are the only readers of their inputs, and mark them as done with it."""
        pools, follower = [], _follower(node)
        while follower and (follower in self._done or follower.name in self.pools):
            if follower not in self._done:
                pools.append(self.pools[follower.name])
                self._done.add(follower)
            follower = _follower(follower)
        return pools

    def run_lanes(self, images: Tensor, key: Hashable) -> Tensor:
        """Return the target's maps for eight images; `key` names them in the cache of channels."""
        self._key = key
        maps: Tensor = self.run(images)
        return maps

    def run_node(self, n: fx.Node) -> Any:
        argument: Any = n.args[0] if n.args else None
        if n in self._done:
            return self.env[argument]
        if n.name in self._first:
            return self._first[n.name](self.env[argument], self._key)
        if n.name in self._layers:
            return self._layers[n.name](self.env[argument])
        if n.name in self.pools:
            return self.pools[n.name](self.env[argument])
        if n in self._transposed:
            return _transpose(self._run_transposed(n, _transpose(self.env[argument])))
        if n.target is torch.cat and n.args[1:] == (1,) and all(self.env[part].dim() == 4 for part in argument):
            return _transpose(torch.cat([_transpose(images_last(self.env[part])) for part in argument]))
        return super().run_node(n)

    def _run_transposed(self, node: fx.Node, first: Tensor) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        return getattr(self, node.op)(node.target, (first, *args[1:]), kwargs)


def _follower(node: fx.Node) -> fx.Node | None:
    """Return the only node that reads a node; None if there are several."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def _transpose(maps: Tensor) -> Tensor:
    """Return maps with images and channels exchanged."""
    return maps.permute(1, 0, 2, 3)
