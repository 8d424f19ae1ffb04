"""Medians of a sweep, and the interval that every bootstrap of the project takes from its samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from circuitlang.base.deferred import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


# Bootstrap samples that an interval is taken from.
SAMPLES = 1000
_LEVELS = 0.025, 0.975


def percentile_interval(samples: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95% interval of samples of a statistic: 2.5% of them are below it, 2.5% above.

    The percentile interval of Efron and Tibshirani 1993, section 13.3.
    """
    # In single precision: the intervals of circuits that are finished were taken at these levels.
    low, high = np.quantile(samples, np.array(_LEVELS, np.float32).astype(np.float64))
    return float(low), float(high)


def median(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Return the median of values and its 95% bootstrap interval, low and high.

    The values are drawn with replacement `SAMPLES` times. A single value has an interval of no width.
    """
    features = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(len(features), size=(SAMPLES, len(features)))
    return float(np.median(features)), *percentile_interval(np.median(features[draws], axis=1))
