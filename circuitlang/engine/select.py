"""Scores → masks: exactly as many kernels as were asked for, the same ones every time."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import torch

from circuitlang.compiler.plan import Kernels, Sparsity
from circuitlang.engine.contracts import Masks, Scores


def select(scores: Scores, relevant: Masks, budget: int) -> Masks:
    """The `budget` best relevant kernels by score; ties go to the earlier layer, then output, then input channel.

    Kernels of score zero are never kept to fill up, so fewer are returned where fewer matter.
    """
    ranked = torch.cat([scores[path].double()[mask].cpu() for path, mask in relevant.items()])
    order = torch.sort(ranked, descending=True, stable=True).indices[:budget]
    chosen = torch.zeros(len(ranked), dtype=torch.bool)
    chosen[order] = True
    chosen &= ranked > 0
    masks, start = {}, 0
    for path, mask in relevant.items():
        count = int(mask.sum())
        masks[path] = torch.zeros_like(mask)
        masks[path][mask] = chosen[start : start + count]
        start += count
    return masks


def refill(
    scores: Scores,
    relevant: Masks,
    budget: int,
    live: Callable[[Masks], Masks],
    joinable: Callable[[Masks], Masks],
) -> Masks:
    """The `budget` best kernels that are on a path from the image to the target within themselves.

    So many of the best are taken that `budget` of them are on a path, and the dead among them dropped. A last kernel
    often brings several to life at once; then the weakest that the others can spare are left out again. Where even
    one path takes more than the budget, the plain selection is returned. `live` and `joinable` are as in `Section`.
    """

    def alive(best: int) -> Masks:
        return live(select(scores, relevant, best))

    low, high = 0, count({path: mask & (scores[path] > 0) for path, mask in relevant.items()})
    if count(alive(high)) <= budget:
        low = high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(alive(middle)) < budget else (low, middle)
    chosen = _thin(scores, alive(high), alive(budget), budget, budget, live)
    if count(chosen) > budget:
        nothing = {path: torch.zeros_like(mask) for path, mask in relevant.items()}
        chosen = alive(low) if count(alive(low)) else _thin(scores, alive(high), nothing, budget, 1, live)
    while 0 < count(chosen) < budget:
        others = {path: joined & ~chosen[path] for path, joined in joinable(chosen).items()}
        more = select(scores, others, budget - count(chosen))
        if not count(more):
            break
        chosen = {path: mask | more[path] for path, mask in chosen.items()}
    return chosen if 0 < count(chosen) <= budget else select(scores, relevant, budget)


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


def _thin(
    scores: Scores, masks: Masks, needed: Masks, budget: int, least: int, live: Callable[[Masks], Masks]
) -> Masks:
    """Some live kernels less the weakest, down to the budget, as long as at least `least` stay on a path. More than
    the budget are left where none but needed ones are left to drop."""
    chunk = max(count(masks) // 2, 1)
    while count(masks) > budget:
        loose = {path: mask & ~needed[path] for path, mask in masks.items()}
        if not count(loose):
            break
        chunk = min(chunk, count(loose))
        strong = select(scores, loose, count(loose) - chunk)
        rest = live({path: mask | (needed[path] & masks[path]) for path, mask in strong.items()})
        if count(rest) >= least:
            masks = rest
        elif chunk > 1:
            chunk //= 2
        else:
            needed = {path: mask | (loose[path] & ~strong[path]) for path, mask in needed.items()}
    return masks


def budget(size: Sparsity | Kernels, relevant: int) -> int:
    """How many kernels a size allows: floor(sparsity * relevant), computed on the decimal that was written."""
    if isinstance(size, Sparsity):
        return math.floor(Fraction(str(size.at_most)) * relevant)
    return min(size.at_most, relevant)


def count(masks: Masks) -> int:
    """The number of kernels in a mask."""
    return sum(int(mask.sum()) for mask in masks.values())
