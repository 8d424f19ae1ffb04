"""Search for the smallest circuit that meets bounds.

Sizes are halved from the largest until they fail; then the interval between the last that holds and the first that
fails is bisected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

# Halving stops after this many failures in a row: a size may hold although one above it fails.
_PATIENCE = 3
# The relative precision of the answer.
_PRECISION = 0.01


@dataclass(frozen=True)
class SizeTrial(Generic[T]):
    """A size that was tried and its circuit, which holds if `margin` is at least 0."""

    size: int
    circuit: T
    margin: float


@dataclass(frozen=True)
class SizeSearch(Generic[T]):
    """The sizes that were tried, smallest first, and the answer; if none holds, the one with the largest margin."""

    tried: tuple[SizeTrial[T], ...]
    answer: SizeTrial[T]


def smallest(most: int, attempt: Callable[[int], tuple[T, float]]) -> SizeSearch[T]:
    """Return the search for the smallest size, from 1 to `most`, whose circuit holds.

    `attempt` builds the circuit of a size and returns it with its margin. Fidelity need not grow with size: the answer
    and every larger size that was tried hold, and the next smaller size that was tried fails and is at most 1% smaller.
    Smaller sizes that hold by chance are not the answer.
    """
    tried: dict[int, SizeTrial[T]] = {}

    def at(size: int) -> bool:
        if size not in tried:
            tried[size] = SizeTrial(size, *attempt(size))
        return tried[size].margin >= 0

    size, failures = most, 0
    while size and failures < _PATIENCE:
        failures = 0 if at(size) else failures + 1
        size //= 2
    good = _smallest_of_a_run(tried)
    bad = max((size for size in tried if good is not None and size < good), default=0)
    while good is not None and good - bad > max(1, int(good * _PRECISION)):
        middle = (good + bad) // 2
        if at(middle):
            good = middle
        else:
            bad = middle
    trials = tuple(tried[size] for size in sorted(tried))
    nearest = max(trials, key=lambda trial: (trial.margin, -trial.size))
    return SizeSearch(trials, nearest if good is None else tried[good])


def _smallest_of_a_run(tried: dict[int, SizeTrial[T]]) -> int | None:
    """Return the smallest size above which no size fails, or None if the largest fails."""
    good = None
    for size in sorted(tried, reverse=True):
        if tried[size].margin < 0:
            break
        good = size
    return good
