"""Medians and bootstrap intervals against plain Python in double precision."""

import math
import random
import statistics

import numpy as np
import pytest

from circuitlang.results.statistics import SAMPLES, median, percentile_interval


def naive_quantile(samples: list[float], level: float) -> float:
    """The linear interpolation between the two samples around a level (type 7 of Hyndman and Fan 1996)."""
    rank = level * (len(samples) - 1)
    below, above = sorted(samples)[math.floor(rank)], sorted(samples)[math.ceil(rank)]
    return below + (rank - math.floor(rank)) * (above - below)


@pytest.mark.parametrize("count", [2, 3, 40, 1000])
def test_an_interval_leaves_a_fortieth_of_the_samples_on_either_side(count):
    samples = [random.Random(count).gauss(0, 1) for _ in range(count)]
    wanted = naive_quantile(samples, 0.025), naive_quantile(samples, 0.975)
    assert percentile_interval(np.array(samples)) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_the_interval_of_a_median_is_that_of_the_medians_of_its_resamples(count):
    values = [random.Random(count).random() for _ in range(count)]
    draws = np.random.default_rng(3).integers(count, size=(SAMPLES, count)).tolist()
    medians = [statistics.median(values[index] for index in sample) for sample in draws]
    wanted = statistics.median(values), naive_quantile(medians, 0.025), naive_quantile(medians, 0.975)
    assert median(values, seed=3) == pytest.approx(wanted, abs=1e-6)
