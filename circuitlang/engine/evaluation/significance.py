"""Significance: exact binomial tails, p-values of random draws, and Holm's correction for several tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

# The p from which on a test decides.
LEVEL = 0.05


def binomial_at_most(count: int, trials: int, chance: float) -> float:
    """Return the probability of at most `count` successes in so many independent trials of a chance in (0, 1)."""
    if count >= trials:
        return 1.0
    log, other = math.log(chance), math.log1p(-chance)
    whole = math.lgamma(trials + 1)
    terms = (
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * log + (trials - k) * other)
        for k in range(count + 1)
    )
    return min(1.0, math.fsum(terms))


def sign_test(positive: int, negative: int) -> float:
    """Return the two-sided p of so many positive and negative signs, if either were equally likely.

    It is twice the smaller tail of the binomial distribution, and at most 1. Source: Conover 1999, section 3.4.
    """
    return min(1.0, 2 * binomial_at_most(min(positive, negative), positive + negative, 0.5))


def add_one(as_extreme: int, draws: int) -> float:
    """Return the p of random draws of which so many are as extreme as what was observed, which counts as a draw too.

    Source: Phipson and Smyth 2010, "Permutation P-values should never be zero".
    """
    return (as_extreme + 1) / (draws + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number: rejecting those up to a level errs at all with that probability.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
