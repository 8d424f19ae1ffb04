"""Select the kernels of a circuit by their scores: exactly as many as the budget, with ties broken by position."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from circuitlang.engine.deferred import torch
from circuitlang.plan.model import Kernels, Sparsity
from circuitlang.plugins.protocols import Masks, Scores


class Paths(Protocol):
    """The graph queries that `refill` needs."""

    def activation_rank(self, ranks: Masks) -> Masks:
        """Return the smallest rank at which a path from the image to the target through each kernel is complete.

        A path is complete at the highest rank of its kernels; the path with the lowest such rank counts.
        """

    def would_be_connected(self, masks: Masks) -> Masks:
        """Return the kernels that are, or would be if they were added alone, on a path within a mask."""

    def path(self, scores: Scores, masks: Masks, through: Masks) -> Masks:
        """Return the strongest path from the image to the target within a mask, through one of the kernels in
        `through`."""


def select(scores: Scores, relevant: Masks, budget: int) -> Masks:
    """Return the `budget` relevant kernels with the highest scores.

    Ties go to the earlier layer, then output, then input channel. Kernels of score zero are never kept to fill up, so
    the mask has fewer kernels if fewer have a positive score.
    """
    values = _values(scores, relevant)
    kept = values > 0
    if 0 < budget < np.count_nonzero(kept):
        # Without the zeros: of many equal numbers a partition takes many times as long.
        least = np.partition(values[kept], -budget)[-budget]
        kept = values > least
        kept[np.flatnonzero(values == least)[: budget - np.count_nonzero(kept)]] = True
    return _split(kept if budget > 0 else np.zeros_like(kept), relevant)


def ranks(scores: Scores, relevant: Masks) -> Masks:
    """Return the rank of each kernel by score, from 0 for the highest.

    Kernels without a positive score have the number of kernels as their rank.
    """
    values = _values(scores, relevant)
    there = np.flatnonzero(values > 0)
    ranks = np.full(len(values), len(values), np.int32)
    ranks[there[_descending(values[there])]] = np.arange(len(there), dtype=np.int32)
    return _split(ranks, relevant)


def _values(scores: Scores, relevant: Masks) -> NDArray[np.float64]:
    """Return the scores in order of layer, output and input channel, 0 if a kernel is irrelevant or not positive."""
    own = [(scores[path].cpu().flatten(), mask.flatten()) for path, mask in relevant.items()]
    values: NDArray[np.float64] = torch.cat(
        [torch.where(mask & (part > 0), part, 0).double() for part, mask in own]
    ).numpy()
    return values


def _split(values: NDArray[Any], relevant: Masks) -> Masks:
    parts = torch.split(torch.from_numpy(values), [mask.numel() for mask in relevant.values()])
    return {path: part.reshape(mask.shape) for (path, mask), part in zip(relevant.items(), parts, strict=True)}


def _descending(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the indices that sort positive numbers in descending order; equal numbers keep their order.

    A stable sort is slow, but not on numbers that are nearly sorted. So a fast sort comes first, of the numbers with
    their last digits replaced by their index.
    """
    digits = max(len(values) - 1, 0).bit_length()
    keys = (~values.view(np.int64) >> digits << digits) | np.arange(len(values))
    keys.sort()
    order = keys & ((1 << digits) - 1)
    sorted_again: NDArray[np.int64] = order[np.argsort(-values[order], kind="stable")]
    return sorted_again


def best(ranks: Masks, number: int) -> Masks:
    """Return the kernels whose rank is below a number."""
    return {path: rank < number for path, rank in ranks.items()}


# The number of kernels for which a path is added because they would connect more kernels than the budget allows.
_PATHS = 16


def refill(scores: Scores, relevant: Masks, ranks: Masks, budget: int, graph: Paths) -> Masks:
    """Return the `budget` best kernels that are on a path from the image to the target within the selection.

    1. Take the highest-ranked kernels as long as no more than the budget are connected, and drop the others.
    2. If the next kernel would connect more than the budget allows, add the strongest path through it, and repeat 1.
    3. Fill up with the best kernels that are connected as soon as they are added.

    If a single path takes more than the budget, the plain selection is returned.
    """
    most = count({path: mask & (scores[path] > 0) for path, mask in relevant.items()})
    base: Masks = {path: torch.zeros_like(mask) for path, mask in relevant.items()}
    chosen = base
    for _ in range(_PATHS):
        needed = graph.activation_rank({path: torch.where(base[path], 0, rank + 1) for path, rank in ranks.items()})
        taken = min(_fitting(needed, budget), most)
        chosen = best(needed, taken + 1)
        if taken == most or count(chosen) == budget:
            break
        through = {path: rank == taken for path, rank in ranks.items()}
        base = _both(chosen, graph.path(scores, best(needed, taken + 2), through))
        if count(base) > budget:
            break
    if 0 < count(chosen) < budget:
        others = {path: joined & ~chosen[path] for path, joined in graph.would_be_connected(chosen).items()}
        chosen = _both(chosen, select(scores, others, budget - count(chosen)))
    return chosen if count(chosen) else best(ranks, budget)


def _fitting(needed: Masks, budget: int) -> int:
    """Return the last rank at which no more than the budget are connected."""
    ranks = np.concatenate([tensor.flatten().numpy() for tensor in needed.values()])
    return int(np.partition(ranks, budget)[budget]) - 1 if budget < len(ranks) else len(ranks)


def _both(one: Masks, other: Masks) -> Masks:
    return {path: mask | other[path] for path, mask in one.items()}


def channels(scores: Scores, relevant: Masks, ends: Masks, budget: int, connected: Callable[[Masks], Masks]) -> Masks:
    """Return the connected kernels between the best channels, at most `budget` kernels.

    Channels are ranked by the mean score of their kernels. The channels in `ends` [out], which carry the target, are
    always kept.
    """
    means = [(scores[path] * mask).sum(1) / mask.sum(1).clamp_min(1) for path, mask in relevant.items()]
    best = torch.cat(means).double()
    best[torch.cat([ends[path] & mask.any(1) for path, mask in relevant.items()])] = math.inf
    order = torch.sort(best, descending=True, stable=True).indices[: int((best > 0).sum())]
    sizes = [len(mask) for mask in relevant.values()]

    def between(many: int) -> Masks:
        kept = torch.zeros(len(best), dtype=torch.bool)
        kept[order[:many]] = True
        rows = zip(relevant.items(), torch.split(kept, sizes), strict=True)
        return connected({path: mask & row[:, None] for (path, mask), row in rows})

    low, high = 0, len(order) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(between(middle)) <= budget else (low, middle)
    return between(low)


def budget(size: Sparsity | Kernels, relevant: int) -> int:
    """Return the number of kernels of a size: floor(sparsity * relevant), exact for the decimal that was written."""
    if isinstance(size, Sparsity):
        return math.floor(Fraction(str(size.at_most)) * relevant)
    return min(size.at_most, relevant)


def count(masks: Masks) -> int:
    """Return the number of kernels in a mask."""
    return sum(int(mask.sum()) for mask in masks.values())
