"""How well a circuit's feature matches the network's."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from circuitlang.engine.contracts import METRICS, Masks
from circuitlang.engine.intervene import Section
from circuitlang.engine.result import Fidelity
from circuitlang.engine.score import Batches


def responses(
    section: Section,
    images: Batches,
    label: str,
    masks: Masks | None = None,
    stand_ins: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """The feature map of every image under a mask, float64 [images, positions]."""
    with section.masked(masks, stand_ins):
        return torch.cat([section.feature(batch).flatten(1).double().cpu() for batch in images.batches(label)])


def measure(original: Tensor, circuit: Tensor) -> Fidelity:
    """Every registered metric, of responses [images, positions]."""
    metrics = {name: METRICS.load(name).measure(original, circuit) for name in METRICS.declarations}
    return Fidelity(images=len(original), metrics=metrics)
