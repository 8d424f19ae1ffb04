"""Passes of a circuit on parts of a batch, several at a time, whose results are the same for any number of threads.

Each part is computed by one thread, and what follows from the parts is added up in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from circuitlang.engine.circuits.masked_layer import MaskedLayer
from circuitlang.engine.loops.backend import pool

# Maps of images [N, C, H, W], [N, maps, H', W'], each image by itself.
Run = Callable[[Tensor], Tensor]


def in_parts(run: Run, images: Tensor, size: int, layers: Sequence[MaskedLayer], threads: int) -> Tensor:
    """Return the maps of images [N, C, H, W], from parts of `size` images, `threads` of them at the same time.

    Differentiable with respect to whatever the edits of the layers are.
    """
    parts = torch.split(images, size)
    if len(parts) < 2:
        return run(images)
    workers = _Workers(min(threads, len(parts)), len(parts))
    edits = [value for layer in layers for value in (layer.edited_weight, layer.edited_bias)]
    if not torch.is_grad_enabled() or not any(value.requires_grad for value in edits):
        with torch.no_grad():
            return torch.cat(workers(lambda number: run(parts[number])))
    maps: Tensor = _Parts.apply(run, parts, layers, workers, *edits)
    return maps


class _Workers:
    """Threads that compute something of each of several parts."""

    def __init__(self, threads: int, parts: int) -> None:
        self._threads, self._parts = threads, parts

    def __call__(self, compute: Callable[[int], Any]) -> list[Any]:
        """Return the results, in the order of the parts; gradients are enabled in each as they are here."""
        enabled = torch.is_grad_enabled()

        def computed(number: int) -> Any:
            with torch.set_grad_enabled(enabled):
                return compute(number)

        if self._threads == 1:
            return [compute(number) for number in range(self._parts)]
        return list(pool(self._threads).map(computed, range(self._parts)))


class _Parts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, run: Run, parts: Sequence[Tensor], layers: Sequence[MaskedLayer], workers: _Workers, *edits: Tensor
    ) -> Tensor:
        # Every part has a graph of its own, down to these.
        ctx.edits = [value.detach().requires_grad_(value.requires_grad) for value in edits]
        ctx.workers = workers
        with torch.enable_grad(), _edited(layers, ctx.edits):
            ctx.maps = workers(lambda number: run(parts[number]))
        return torch.cat([maps.detach() for maps in ctx.maps])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        wanted = [value for value in ctx.edits if value.requires_grad]
        own = torch.split(gradients[0], [len(maps) for maps in ctx.maps])

        def slopes(number: int) -> Sequence[Tensor | None]:
            maps = ctx.maps[number]
            # A circuit that is cut off depends on nothing.
            if not maps.requires_grad:
                return [None] * len(wanted)
            return torch.autograd.grad(maps, wanted, own[number], allow_unused=True)

        sums = iter([_sum(parts) for parts in zip(*ctx.workers(slopes), strict=True)])
        # Graphs are gone, and what they kept.
        ctx.maps = None
        return None, None, None, None, *(next(sums) if value.requires_grad else None for value in ctx.edits)


@contextmanager
def _edited(layers: Sequence[MaskedLayer], edits: Sequence[Tensor]) -> Iterator[None]:
    """Put values in place of the edited weights and biases of layers, in turn, within the block."""
    before = [(layer.edited_weight, layer.edited_bias) for layer in layers]
    try:
        for number, layer in enumerate(layers):
            layer.edited_weight, layer.edited_bias = edits[2 * number : 2 * number + 2]
        yield
    finally:
        for layer, (weight, bias) in zip(layers, before, strict=True):
            layer.edited_weight, layer.edited_bias = weight, bias


def _sum(slopes: Sequence[Tensor | None]) -> Tensor | None:
    there = [slope for slope in slopes if slope is not None]
    return sum(there[1:], there[0]) if there else None
