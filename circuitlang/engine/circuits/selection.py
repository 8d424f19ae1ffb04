"""Select the kernels of a circuit by their scores: exactly as many as the budget, with ties broken by position."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

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
        kept = np.zeros_like(kept)
        kept[_best(values, budget)] = True
    return _split(kept if budget > 0 else np.zeros_like(kept), relevant)


# The size of a sample, and how many more of it than the wanted share are taken: far more than chance takes away.
_SAMPLE, _MARGIN = 1 << 16, 1 << 10


class Ranks(NamedTuple):
    """The best kernels by their rank, from 0 for the highest score; `number` of all kernels is the rank of the others.

    Attributes:
        of: Ranks, int32, by layer.
        first: Number of kernels that have ranks of their own.
        complete: Whether all kernels of a positive score have.
    """

    of: Masks
    first: int
    complete: bool


def ranks(scores: Scores, relevant: Masks, first: int | None = None) -> Ranks:
    """Return the ranks of the `first` kernels by score, or of all. Kernels without a positive score have none."""
    values = _values(scores, relevant)
    positive = np.count_nonzero(values > 0)
    there = _best(values, first) if first and first < positive else np.flatnonzero(values > 0)
    ranks = np.full(len(values), len(values), np.int32)
    ranks[there[_descending(values[there])]] = np.arange(len(there), dtype=np.int32)
    return Ranks(_split(ranks, relevant), len(there), len(there) == positive)


def _best(values: NDArray[np.float64], number: int) -> NDArray[np.int64]:
    """Return the places of the greatest of more positive values than a number; of equal ones, the earlier."""
    # Sorting all of millions takes most of the time of a circuit. A sample says about how great the greatest are.
    sample = values[:: max(1, len(values) // _SAMPLE)]
    likely = min(number * len(sample) // len(values) + _MARGIN, len(sample))
    there = np.flatnonzero(values >= np.partition(sample, -likely)[-likely])
    if len(there) < number or values[there].min() <= 0:
        there = np.flatnonzero(values > 0)
    some = values[there]
    least = np.partition(some, -number)[-number]
    kept = some > least
    kept[np.flatnonzero(some == least)[: number - np.count_nonzero(kept)]] = True
    places: NDArray[np.int64] = there[kept]
    return places


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
# So many kernels are ranked for each of the budget, and so many times more where not enough of them are connected.
_FIRST, _MORE = 2, 4


def refill(scores: Scores, relevant: Masks, ranked: Callable[[int], Ranks], budget: int, graph: Paths) -> Masks:
    """Return the `budget` best kernels that are on a path from the image to the target within the selection.

    1. Take the highest-ranked kernels as long as no more than the budget are connected, and drop the others.
    2. If the next kernel would connect more than the budget allows, add the strongest path through it, and repeat 1.
    3. Fill up with the best kernels that are connected as soon as they are added.

    If a single path takes more than the budget, the plain selection is returned. `ranked` returns the ranks of so many
    kernels or more; the result does not depend on how many they are.
    """
    first = _FIRST * budget
    while (chosen := _connected(scores, relevant, ranked(first), budget, graph)) is None:
        first *= _MORE
    if 0 < count(chosen) < budget:
        others = {path: joined & ~chosen[path] for path, joined in graph.would_be_connected(chosen).items()}
        chosen = _both(chosen, select(scores, others, budget - count(chosen)))
    return chosen if count(chosen) else select(scores, relevant, budget)


def _connected(scores: Scores, relevant: Masks, ranks: Ranks, budget: int, graph: Paths) -> Masks | None:
    """Return the kernels of steps 1 and 2 of `refill`; None if more ranks are needed."""
    base: Masks = {path: torch.zeros_like(mask) for path, mask in relevant.items()}
    chosen = base
    for _ in range(_PATHS):
        needed = graph.activation_rank({path: torch.where(base[path], 0, rank + 1) for path, rank in ranks.of.items()})
        taken = _fitting(needed, budget, ranks.first)
        if taken == ranks.first and not ranks.complete:
            return None
        chosen = best(needed, taken + 1)
        if taken == ranks.first or count(chosen) == budget:
            break
        through = {path: rank == taken for path, rank in ranks.of.items()}
        base = _both(chosen, graph.path(scores, best(needed, taken + 2), through))
        if count(base) > budget:
            break
    return chosen


def _fitting(needed: Masks, budget: int, first: int) -> int:
    """Return the last rank at which no more than the budget are connected; `first` if no more are at any rank."""
    parts = [tensor.flatten().numpy() for tensor in needed.values()]
    # A partition of many equal numbers takes long, and most kernels may have no rank.
    ranks = np.concatenate([part[part <= first] for part in parts])
    return int(np.partition(ranks, budget)[budget]) - 1 if budget < len(ranks) else first


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
