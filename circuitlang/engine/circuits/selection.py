"""Scores → masks: exactly as many kernels as were asked for, the same ones every time."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from circuitlang.plan.model import Kernels, Sparsity
from circuitlang.plugins.protocols import Masks, Scores


class Paths(Protocol):
    """What refilling asks of a network."""

    def since(self, places: Masks) -> Masks:
        """Of each kernel the last place that a path through it from the image to the target needs, on the path where
        that comes first."""

    def would_be_connected(self, masks: Masks) -> Masks:
        """What is, or would be if it were added alone, on a path within a mask."""

    def path(self, scores: Scores, masks: Masks, through: Masks) -> Masks:
        """Of what is live, the strongest path from the image to the target through one of them."""


def select(scores: Scores, relevant: Masks, budget: int) -> Masks:
    """The `budget` best relevant kernels by score; ties go to the earlier layer, then output, then input channel.

    Kernels of score zero are never kept to fill up, so fewer are returned where fewer matter.
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
    """Of each kernel its place by score, from 0; those that don't matter are behind all others."""
    values = _values(scores, relevant)
    there = np.flatnonzero(values > 0)
    places = np.full(len(values), len(values), np.int32)
    places[there[_descending(values[there])]] = np.arange(len(there), dtype=np.int32)
    return _split(places, relevant)


def _values(scores: Scores, relevant: Masks) -> NDArray[np.float64]:
    """The scores in order of layer, output and input channel; zero where they aren't relevant or not positive."""
    own = [(scores[path].cpu().flatten(), mask.flatten()) for path, mask in relevant.items()]
    found: NDArray[np.float64] = torch.cat(
        [torch.where(mask & (each > 0), each, 0).double() for each, mask in own]
    ).numpy()
    return found


def _split(values: NDArray[Any], relevant: Masks) -> Masks:
    parts = torch.split(torch.from_numpy(values), [mask.numel() for mask in relevant.values()])
    return {path: part.reshape(mask.shape) for (path, mask), part in zip(relevant.items(), parts, strict=True)}


def _descending(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """What puts positive numbers in descending order, equal ones as they stand.

    A fast sort of the numbers cut short, each with its place in the digits that it lost, comes first: a stable sort,
    which is slow, takes hardly any time over what is nearly in order.
    """
    digits = max(len(values) - 1, 0).bit_length()
    keys = (~values.view(np.int64) >> digits << digits) | np.arange(len(values))
    keys.sort()
    order = keys & ((1 << digits) - 1)
    found: NDArray[np.int64] = order[np.argsort(-values[order], kind="stable")]
    return found


def best(places: Masks, many: int) -> Masks:
    """So many of the best; places at and behind the number of kernels are of those that don't matter."""
    return {path: each < many for path, each in places.items()}


# How often a path is added through a kernel that brings more to life than the budget allows.
_PATHS = 16


def refill(scores: Scores, relevant: Masks, places: Masks, budget: int, graph: Paths) -> Masks:
    """The `budget` best kernels that are on a path from the image to the target within themselves.

    As many of the best are taken as leave no more than the budget on a path, and the dead among them dropped. Often the
    next would bring more to life than the budget allows: then it is taken with the strongest path through it alone, and
    again as many of the best as that allows. What is left in the end goes to the best of those that are on a path as
    soon as they are added. Where even one path takes more than the budget, the plain selection is returned. `places`
    are the kernels' ranks.
    """
    most = count({path: mask & (scores[path] > 0) for path, mask in relevant.items()})
    base: Masks = {path: torch.zeros_like(mask) for path, mask in relevant.items()}
    chosen = base
    for _ in range(_PATHS):
        since = graph.since({path: torch.where(base[path], 0, each + 1) for path, each in places.items()})
        taken = min(_fitting(since, budget), most)
        chosen = best(since, taken + 1)
        if taken == most or count(chosen) == budget:
            break
        through = {path: each == taken for path, each in places.items()}
        base = _both(chosen, graph.path(scores, best(since, taken + 2), through))
        if count(base) > budget:
            break
    if 0 < count(chosen) < budget:
        others = {path: joined & ~chosen[path] for path, joined in graph.would_be_connected(chosen).items()}
        chosen = _both(chosen, select(scores, others, budget - count(chosen)))
    return chosen if count(chosen) else best(places, budget)


def _fitting(since: Masks, budget: int) -> int:
    """The last place at which no more than the budget are on a path."""
    places = np.concatenate([each.flatten().numpy() for each in since.values()])
    return int(np.partition(places, budget)[budget]) - 1 if budget < len(places) else len(places)


def _both(one: Masks, other: Masks) -> Masks:
    return {path: mask | other[path] for path, mask in one.items()}


def channels(scores: Scores, relevant: Masks, ends: Masks, budget: int, live: Callable[[Masks], Masks]) -> Masks:
    """The kernels between whole channels, at most `budget`: of the channels by the mean score of their kernels, as many
    of the best as that allows, and always those [out] that carry the target. Kernels on no path are left out."""
    means = [(scores[path] * mask).sum(1) / mask.sum(1).clamp_min(1) for path, mask in relevant.items()]
    best = torch.cat(means).double()
    best[torch.cat([ends[path] & mask.any(1) for path, mask in relevant.items()])] = math.inf
    order = torch.sort(best, descending=True, stable=True).indices[: int((best > 0).sum())]
    sizes = [len(mask) for mask in relevant.values()]

    def between(many: int) -> Masks:
        kept = torch.zeros(len(best), dtype=torch.bool)
        kept[order[:many]] = True
        rows = zip(relevant.items(), torch.split(kept, sizes), strict=True)
        return live({path: mask & row[:, None] for (path, mask), row in rows})

    low, high = 0, len(order) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(between(middle)) <= budget else (low, middle)
    return between(low)


def budget(size: Sparsity | Kernels, relevant: int) -> int:
    """How many kernels a size allows: floor(sparsity * relevant), computed on the decimal that was written."""
    if isinstance(size, Sparsity):
        return math.floor(Fraction(str(size.at_most)) * relevant)
    return min(size.at_most, relevant)


def count(masks: Masks) -> int:
    """The number of kernels in a mask."""
    return sum(int(mask.sum()) for mask in masks.values())
