"""Metrics against the textbook formula in plain Python, and at the edges where formulas divide by zero."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circuitlang.engine.evaluation.fidelity import measure
from circuitlang.plugins.protocols import METRICS


def naive_pearson(f, c):
    n = len(f)
    mf, mc = math.fsum(f) / n, math.fsum(c) / n
    cov = math.fsum((a - mf) * (b - mc) for a, b in zip(f, c, strict=True))
    return cov / math.sqrt(math.fsum((a - mf) ** 2 for a in f) * math.fsum((b - mc) ** 2 for b in c))


def ranks(values):
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2 for value in values
    ]


def naive(name, f, c):
    match name:
        case "pearson":
            return naive_pearson(f, c)
        case "pearson_demeaned":
            # Two images of three positions.
            means = [(f[i] + f[i + 3]) / 2 for i in range(3)], [(c[i] + c[i + 3]) / 2 for i in range(3)]
            f, c = ([values[i] - mean[i % 3] for i in range(6)] for values, mean in zip((f, c), means, strict=True))
            return naive_pearson(f, c) if any(f) and any(c) else 0
        case "spearman":
            return naive_pearson(ranks(f), ranks(c))
        case "r2":
            mean = math.fsum(f) / len(f)
            total = math.fsum((a - mean) ** 2 for a in f)
            return 1 - math.fsum((a - b) ** 2 for a, b in zip(f, c, strict=True)) / total
        case "error":
            difference = math.fsum((a - b) ** 2 for a, b in zip(f, c, strict=True))
            return math.sqrt(difference / math.fsum(a * a for a in f))
    raise AssertionError(f"no reference for {name}: write one")


numbers = st.lists(st.integers(-50, 50), min_size=6, max_size=6, unique=True)


@given(numbers, st.lists(st.integers(-9, 9), min_size=6, max_size=6).filter(lambda c: len(set(c)) > 1))
def test_metrics_are_their_formulas(f, c):
    found = measure(torch.tensor(f).double().reshape(2, 3), torch.tensor(c).double().reshape(2, 3))
    assert found.images == 2
    assert found.metrics.keys() == METRICS.declarations.keys()
    for name, value in found.metrics.items():
        assert value == pytest.approx(naive(name, f, c), rel=1e-9, abs=1e-9), name


def test_a_perfect_circuit_is_perfect():
    f = torch.randn(3, 4, dtype=torch.float64)
    assert measure(f, f).metrics == pytest.approx(
        {"pearson": 1, "pearson_demeaned": 1, "spearman": 1, "r2": 1, "error": 0}
    )


@pytest.mark.parametrize("level", [0.0, 0.1, 1e6, -3.3])
def test_a_circuit_that_does_not_vary_preserves_nothing(level):
    f = torch.randn(3, 4, dtype=torch.float64)
    found = measure(f, torch.full_like(f, level)).metrics
    assert found["pearson"] == found["pearson_demeaned"] == found["spearman"] == 0
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_a_feature_that_does_not_vary_is_said_to_be_that(level):
    f = torch.full((3, 4), level, dtype=torch.float64)
    found = measure(f, torch.randn(3, 4, dtype=torch.float64)).metrics
    assert found["pearson"] == found["pearson_demeaned"] == found["spearman"] == 0
    assert all(math.isfinite(value) for value in found.values())


def test_correlation_forgives_scale_and_sign_is_kept():
    f = torch.randn(3, 4, dtype=torch.float64)
    assert measure(f, 5 * f + 2).metrics["pearson"] == pytest.approx(1)
    assert measure(f, -f).metrics["pearson"] == pytest.approx(-1)
    assert measure(f, 5 * f).metrics["r2"] < 0


def test_position_alone_preserves_nothing_once_its_mean_is_removed():
    f = torch.randn(5, 4, dtype=torch.float64) + torch.tensor([0.0, 0, 9, 9])
    position = torch.tensor([1.1, 1.2, 7.3, 7.4]).double().expand(5, 4)
    found = measure(f, position).metrics
    assert found["pearson"] > 0.8
    assert found["pearson_demeaned"] == 0


def test_one_image_has_nothing_but_position():
    f = torch.randn(1, 4, dtype=torch.float64)
    assert measure(f, f).metrics["pearson_demeaned"] == 0


def test_of_one_position_the_mean_removed_changes_nothing():
    f, c = torch.randn(2, 6, 1, dtype=torch.float64)
    found = measure(f, c).metrics
    assert found["pearson_demeaned"] == pytest.approx(found["pearson"])
