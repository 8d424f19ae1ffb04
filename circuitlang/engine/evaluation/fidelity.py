"""Fidelity: how well a circuit's responses match the network's, with bootstrap intervals."""

from __future__ import annotations

import torch
from torch import Tensor

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation.statistics import bootstrap_weights, moments
from circuitlang.plugins.protocols import METRICS, Batches, Edits, Masks
from circuitlang.results.statistics import percentile_interval
from circuitlang.results.types import Fidelity


def responses(subnetwork: TargetSubnetwork, images: Batches, label: str, edits: Edits | Masks | None = None) -> Tensor:
    """The feature of every image in the network so edited, float64 [images, maps and positions]."""
    with torch.no_grad(), subnetwork.edited(edits):
        return torch.cat([subnetwork.feature(batch).flatten(1).double().cpu() for batch in images.batches(label)])


def measure(original: Tensor, circuit: Tensor, seed: int | None = None) -> Fidelity:
    """Return every registered metric of responses [images, positions]; with a seed, with 95% intervals.

    An interval is the bootstrap's, over images: their responses are drawn with replacement 1,000 times, and 2.5% of
    the values that come out are below it, 2.5% above (Efron and Tibshirani 1993, section 13.3). Ranks, and means of
    positions, are those of all images. A single image has no interval.
    """
    weights = torch.ones(1, len(original)).double()
    if seed is not None and len(original) > 1:
        weights = torch.cat([weights, bootstrap_weights(len(original), seed)])
    metrics, intervals = {}, {}
    for name in METRICS.declarations:
        entry = METRICS.load(name)
        values = entry.measure(moments(entry.prepare(original), entry.prepare(circuit), weights))
        metrics[name] = float(values[0])
        if len(values) > 1:
            # In single precision, as the intervals of circuits that are finished were taken.
            intervals[name] = percentile_interval(values[1:].float().double().numpy())
    return Fidelity(images=len(original), metrics=metrics, intervals=intervals)
