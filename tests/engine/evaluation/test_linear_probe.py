"""Linear probes against gradient descent in NumPy, and against what is known of the samples."""

from itertools import combinations

import numpy as np
import pytest
import torch

from circuitlang.engine.evaluation.linear_probe import chance, fit_probe, right
from tests.helpers.reference_probe import naive_probe


def samples(counts: tuple[int, int], variables: int, seed: int = 0, apart: float = 1.0):
    """Samples of two sides that differ along a direction, on scales that differ; and which are positive."""
    random = np.random.default_rng(seed)
    direction = random.normal(size=variables)
    x = random.normal(size=(sum(counts), variables)) * 3 ** random.normal(size=variables) + random.normal(
        size=variables
    )
    positive = np.arange(sum(counts)) < counts[0]
    return x + apart * positive[:, None] * direction, positive


@pytest.mark.parametrize(
    ("counts", "variables", "penalty"),
    [((9, 13), 4, 0.1), ((30, 8), 6, 1.0), ((5, 6), 17, 0.3), ((3, 20), 40, 2.0)],
)
def test_a_probe_is_that_of_gradient_descent(counts, variables, penalty):
    x, positive = samples(counts, variables)
    coefficients, intercept = naive_probe(x, positive, penalty)
    probe = fit_probe(torch.from_numpy(x), torch.from_numpy(positive), penalty)
    np.testing.assert_allclose(probe.coefficients.numpy(), coefficients, rtol=1e-6, atol=1e-9)
    assert probe.intercept == pytest.approx(intercept, rel=1e-6)


def test_samples_that_are_far_apart_have_a_probe_too():
    x, positive = samples((6, 6), 3, apart=1e4)
    probe = fit_probe(torch.from_numpy(x), torch.from_numpy(positive), 1e-8)
    assert torch.isfinite(probe.coefficients).all()
    x = torch.from_numpy(x)
    assert (right(probe, x[:6], positive=True), right(probe, x[6:], positive=False)) == (6, 6)
    assert (right(probe, x[:6], positive=False), right(probe, x[6:], positive=True)) == (0, 0)


def test_a_planted_direction_is_found():
    random = torch.Generator().manual_seed(0)
    direction = torch.randn(20, generator=random)
    x = torch.randn(4000, 20, generator=random)
    # A logistic model with these weights draws the sides.
    positive = torch.rand(4000, generator=random) < torch.sigmoid(x @ direction + 0.5)
    probe = fit_probe(x, positive, 1e-3)
    assert torch.cosine_similarity(probe.coefficients, direction.double(), 0) > 0.99


def test_a_constant_variable_has_no_say():
    x, positive = samples((8, 9), 5)
    constant = np.c_[x, np.full(len(x), 7.0), np.zeros(len(x))]
    own, more = (fit_probe(torch.from_numpy(part), torch.from_numpy(positive), 0.1) for part in (x, constant))
    assert (more.coefficients[5:] == 0).all()
    torch.testing.assert_close(more.coefficients[:5], own.coefficients)
    noisy = constant + np.array([0.0] * 5 + [1e-7] * 2) * np.random.default_rng(1).normal(size=constant.shape)
    assert fit_probe(torch.from_numpy(noisy), torch.from_numpy(positive), 0.1).coefficients[5] == 0


def test_scales_of_variables_have_no_say_and_sides_count_alike():
    x, positive = samples((8, 9), 5)
    scale = np.array([1e-3, 1.0, 10.0, 1e4, -2.0])
    own = fit_probe(torch.from_numpy(x), torch.from_numpy(positive), 0.1)
    scaled = fit_probe(torch.from_numpy(x * scale), torch.from_numpy(positive), 0.1)
    np.testing.assert_allclose(scaled.coefficients.numpy() * scale, own.coefficients.numpy(), rtol=1e-6)
    other = fit_probe(torch.from_numpy(x), torch.from_numpy(~positive), 0.1)
    torch.testing.assert_close(other.coefficients, -own.coefficients)
    assert other.intercept == pytest.approx(-own.intercept)


@pytest.mark.parametrize(("hits", "counts"), [((3, 4), (4, 5)), ((1, 2), (3, 3)), ((0, 0), (2, 3)), ((5, 1), (5, 3))])
def test_chance_is_counted(hits, counts):
    """It is a share of all ways to take as many samples for the first side: those in which as many are right."""
    taken = hits[0] + counts[1] - hits[1]
    ways = list(combinations(range(sum(counts)), taken))
    as_good = sum(sum(number < counts[0] for number in way) >= hits[0] for way in ways)
    assert chance(hits, counts) == pytest.approx(as_good / len(ways))
