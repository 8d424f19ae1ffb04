"""Scores → masks: exactly as many kernels as were asked for, the same ones every time."""

from __future__ import annotations

import math
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


def budget(size: Sparsity | Kernels, relevant: int) -> int:
    """How many kernels a size allows: floor(sparsity * relevant), computed on the decimal that was written."""
    if isinstance(size, Sparsity):
        return math.floor(Fraction(str(size.at_most)) * relevant)
    return min(size.at_most, relevant)


def count(masks: Masks) -> int:
    """The number of kernels in a mask."""
    return sum(int(mask.sum()) for mask in masks.values())
