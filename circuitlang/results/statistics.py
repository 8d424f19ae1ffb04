"""Numbers, one for each feature → their median, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Samples that an interval is taken from.
_SAMPLES = 1000


def median(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """The median of some values and its 95% interval, low and high.

    The interval is the bootstrap's, over the values: they are drawn with replacement 1,000 times, and 2.5% of the
    medians that come out are below it, 2.5% above (Efron and Tibshirani 1993, section 13.3). A single value has an
    interval of no width.
    """
    found = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(len(found), size=(_SAMPLES, len(found)))
    low, high = np.quantile(np.median(found[drawn], axis=1), (0.025, 0.975))
    return float(np.median(found)), float(low), float(high)
