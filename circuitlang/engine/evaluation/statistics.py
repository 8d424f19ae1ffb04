"""Statistics of responses: moments over images, their bootstrap samples, and Pearson's r of each image."""

from __future__ import annotations

import torch
from torch import Tensor

from circuitlang.engine.evaluation.metrics.pearson import pearson, varies
from circuitlang.plugins.protocols import Moments
from circuitlang.results.statistics import SAMPLES


def moments(original: Tensor, circuit: Tensor, weights: Tensor) -> Moments:
    """Compute the moments of responses [images, positions] for several weightings [samples, images] of the images."""
    # Around the mean, so that variances are not the small difference of large numbers.
    around_f, around_c = original.mean(), circuit.mean()
    f, c = original - around_f, circuit - around_c
    parts = (f, c, f.square(), c.square(), f * c, (original - circuit).square())
    images = torch.stack([part.mean(1) for part in parts], 1)
    x, y, xx, yy, xy, difference = (weights @ images / weights.sum(1, keepdim=True)).unbind(1)
    return Moments(
        mean_f=around_f + x,
        mean_c=around_c + y,
        variance_f=(xx - x.square()).clamp_min(0),
        variance_c=(yy - y.square()).clamp_min(0),
        covariance=xy - x * y,
        difference=difference,
    )


def bootstrap_weights(images: int, seed: int) -> Tensor:
    """Return how often each image is drawn in each bootstrap sample, float64 [samples, images]."""
    # Torch's generator draws, not numpy's: the intervals of circuits that are finished rest on it.
    draws = torch.randint(images, (SAMPLES, images), generator=torch.Generator().manual_seed(seed))
    return torch.zeros(SAMPLES, images).double().scatter_add_(1, draws, torch.ones(draws.shape).double())


def image_moments(original: Tensor, circuit: Tensor) -> Moments:
    """Compute the moments of each image's responses [images, positions] over its positions."""
    mean_f, mean_c = original.mean(1), circuit.mean(1)
    f, c = original - mean_f[:, None], circuit - mean_c[:, None]
    return Moments(
        mean_f=mean_f,
        mean_c=mean_c,
        variance_f=f.square().mean(1),
        variance_c=c.square().mean(1),
        covariance=(f * c).mean(1),
        difference=(original - circuit).square().mean(1),
    )


def image_correlations(original: Tensor, circuit: Tensor, *, flat: float = float("nan")) -> Tensor:
    """Return Pearson's r of each image's responses [images, positions], float64 [images].

    It is NaN where the network's responses do not vary, and `flat` where the circuit's alone do not.
    """
    images = image_moments(original, circuit)
    r = torch.where(varies(images.variance_c, images.mean_c), pearson(images), flat)
    return torch.where(varies(images.variance_f, images.mean_f), r, torch.nan)
