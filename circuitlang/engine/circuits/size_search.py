"""The smallest circuit that holds: sizes are tried from the top, then between the last that holds and the first that
does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

# Sizes halve until so many in a row fail: a size may hold although one above it fails.
_PATIENCE = 3
# The answer is the smallest to within this share of it.
_PRECISION = 0.01


@dataclass(frozen=True)
class SizeTrial(Generic[T]):
    """A size that was tried: the circuit, and by how much it holds (not below 0) or fails (below)."""

    size: int
    circuit: T
    margin: float


@dataclass(frozen=True)
class SizeSearch(Generic[T]):
    """The sizes that were tried, smallest first, and the one that is the answer, or where none holds comes nearest."""

    tried: tuple[SizeTrial[T], ...]
    found: SizeTrial[T]


def smallest(most: int, attempt: Callable[[int], tuple[T, float]]) -> SizeSearch[T]:
    """Look for the smallest size, from 1 to `most`, whose circuit holds; `attempt` makes one and tells its margin.

    Fidelity need not grow with size. The answer holds, and so does every size that was tried above it; the next
    smaller that was tried fails, and is at most 1% smaller. Sizes below that hold by luck are not the answer.
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
    bad = max((each for each in tried if good is not None and each < good), default=0)
    while good is not None and good - bad > max(1, int(good * _PRECISION)):
        middle = (good + bad) // 2
        if at(middle):
            good = middle
        else:
            bad = middle
    walked = tuple(tried[each] for each in sorted(tried))
    nearest = max(walked, key=lambda each: (each.margin, -each.size))
    return SizeSearch(walked, nearest if good is None else tried[good])


def _smallest_of_a_run(tried: dict[int, SizeTrial[T]]) -> int | None:
    """The smallest size above which no size fails; None where the largest fails."""
    good = None
    for size in sorted(tried, reverse=True):
        if tried[size].margin < 0:
            break
        good = size
    return good
