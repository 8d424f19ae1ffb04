"""Fidelity: how well a circuit's responses match the network's, with bootstrap intervals."""

from __future__ import annotations

import torch
from torch import Tensor

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.plugins.protocols import METRICS, Batches, Edits, Masks, Moments
from circuitlang.results.types import Fidelity

# Samples of images that an interval is taken from.
_SAMPLES = 1000


def responses(subnetwork: TargetSubnetwork, images: Batches, label: str, edits: Edits | Masks | None = None) -> Tensor:
    """The feature of every image in the network so edited, float64 [images, maps and positions]."""
    with torch.no_grad(), subnetwork.edited(edits):
        return torch.cat([subnetwork.feature(batch).flatten(1).double().cpu() for batch in images.batches(label)])


def measure(original: Tensor, circuit: Tensor, seed: int | None = None) -> Fidelity:
    """Every registered metric, of responses [images, positions]; with a seed, with 95% intervals.

    An interval is the bootstrap's, over images: their responses are drawn with replacement 1,000 times, and 2.5% of
    the values that come out are below it, 2.5% above (Efron and Tibshirani 1993, section 13.3). Ranks, and means of
    positions, are those of all images. A single image has no interval.
    """
    weights = torch.ones(1, len(original)).double()
    if seed is not None and len(original) > 1:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(len(original), (_SAMPLES, len(original)), generator=generator)
        weights = torch.cat([weights, torch.zeros(_SAMPLES, len(original)).double().scatter_add_(
            1, drawn, torch.ones(drawn.shape).double()
        )])  # fmt: skip
    metrics, intervals = {}, {}
    for name in METRICS.declarations:
        entry = METRICS.load(name)
        value, *others = entry.measure(moments(entry.prepare(original), entry.prepare(circuit), weights)).tolist()
        metrics[name] = value
        if others:
            low, high = torch.tensor(others).double().quantile(torch.tensor([0.025, 0.975]).double()).tolist()
            intervals[name] = (low, high)
    return Fidelity(images=len(original), metrics=metrics, intervals=intervals)


def moments(original: Tensor, circuit: Tensor, weights: Tensor) -> Moments:
    """The moments of responses [images, positions] for several weightings [samples, images] of the images."""
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
