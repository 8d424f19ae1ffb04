"""Moments, bootstrap samples and each image's correlation against plain Python in double precision."""

import math

import pytest
import torch

from circuitlang.engine.evaluation.fidelity import measure
from circuitlang.engine.evaluation.statistics import bootstrap_weights, image_correlations, image_moments, moments
from circuitlang.results.statistics import SAMPLES


def pair(images: int, positions: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Responses of a network and of a circuit, [images, positions]."""
    generator = torch.Generator().manual_seed(seed)
    network = torch.rand(images, positions, generator=generator, dtype=torch.float64)
    return network, network + torch.rand(images, positions, generator=generator, dtype=torch.float64)


def naive_moments(f: list[float], c: list[float]) -> dict[str, float]:
    n = len(f)
    mean_f, mean_c = math.fsum(f) / n, math.fsum(c) / n
    return {
        "mean_f": mean_f,
        "mean_c": mean_c,
        "variance_f": math.fsum((a - mean_f) ** 2 for a in f) / n,
        "variance_c": math.fsum((b - mean_c) ** 2 for b in c) / n,
        "covariance": math.fsum((a - mean_f) * (b - mean_c) for a, b in zip(f, c, strict=True)) / n,
        "difference": math.fsum((a - b) ** 2 for a, b in zip(f, c, strict=True)) / n,
    }


def naive_pearson(f: list[float], c: list[float]) -> float:
    of = naive_moments(f, c)
    return of["covariance"] / math.sqrt(of["variance_f"] * of["variance_c"])


def test_moments_are_those_of_the_images_by_their_weights():
    network, circuit = pair(5, 6)
    weights = [[1, 1, 1, 1, 1], [0, 2, 1, 0, 2], [5, 0, 0, 0, 0]]
    found = moments(network, circuit, torch.tensor(weights).double())
    for sample, counts in enumerate(weights):
        f, c = (
            [value for row, count in zip(values.tolist(), counts, strict=True) for value in row * count]
            for values in (network, circuit)
        )
        for name, wanted in naive_moments(f, c).items():
            assert float(getattr(found, name)[sample]) == pytest.approx(wanted, rel=1e-9, abs=1e-12), name


def test_the_moments_of_an_image_are_those_of_its_positions():
    network, circuit = pair(4, 9)
    found = image_moments(network, circuit)
    for image in range(4):
        for name, wanted in naive_moments(network[image].tolist(), circuit[image].tolist()).items():
            assert float(getattr(found, name)[image]) == pytest.approx(wanted, rel=1e-12), name


def test_the_correlation_of_an_image_is_pearsons():
    network, circuit = pair(7, 12)
    found = image_correlations(1e6 + network, 3 - 2 * circuit).tolist()
    wanted = [-naive_pearson(f, c) for f, c in zip(network.tolist(), circuit.tolist(), strict=True)]
    assert found == pytest.approx(wanted, abs=1e-8)
    assert image_correlations(network, -network).tolist() == pytest.approx([-1] * 7)


def test_flat_responses_have_no_correlation():
    network, circuit = pair(4, 5)
    network[1], circuit[2], network[3], circuit[3] = 0.1, 0.3, 0, 0
    assert image_correlations(network, circuit).isnan().tolist() == [False, True, True, True]
    found = image_correlations(network, circuit, flat=0.0)
    assert found.isnan().tolist() == [False, True, False, True]
    assert found[2] == 0


def test_a_bootstrap_sample_has_as_many_images_as_there_are():
    weights = bootstrap_weights(30, seed=5)
    assert weights.shape == (SAMPLES, 30)
    assert weights.sum(1).tolist() == [30] * SAMPLES
    assert weights.mean(0) == pytest.approx(torch.ones(30).double(), abs=0.15)
    assert torch.equal(weights, bootstrap_weights(30, seed=5))
    assert not torch.equal(weights, bootstrap_weights(30, seed=6))


def test_the_interval_of_a_metric_is_that_of_its_resamples():
    network, circuit = pair(6, 4)
    values = []
    for counts in bootstrap_weights(6, seed=2).int().tolist():
        f, c = (
            [value for row, count in zip(rows.tolist(), counts, strict=True) for value in row * count]
            for rows in (network, circuit)
        )
        values.append(naive_pearson(f, c))
    values.sort()
    low, high = measure(network, circuit, seed=2).intervals["pearson"]
    # The ranks 24.975 and 974.025 of 0 to 999.
    assert low == pytest.approx(values[24] + 0.975 * (values[25] - values[24]), abs=1e-6)
    assert high == pytest.approx(values[974] + 0.025 * (values[975] - values[974]), abs=1e-6)
