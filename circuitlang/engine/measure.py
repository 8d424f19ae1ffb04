"""How well a circuit's feature matches the network's."""

from __future__ import annotations

import torch
from torch import Tensor

from circuitlang.engine.contracts import METRICS, Batches, Edits, Masks
from circuitlang.engine.intervene import Section
from circuitlang.engine.result import Fidelity


def responses(section: Section, images: Batches, label: str, edits: Edits | Masks | None = None) -> Tensor:
    """The feature of every image in the network so edited, float64 [images, maps and positions]."""
    with torch.no_grad(), section.edited(edits):
        return torch.cat([section.feature(batch).flatten(1).double().cpu() for batch in images.batches(label)])


def measure(original: Tensor, circuit: Tensor) -> Fidelity:
    """Every registered metric, of responses [images, positions]."""
    metrics = {name: METRICS.load(name).measure(original, circuit) for name in METRICS.declarations}
    return Fidelity(images=len(original), metrics=metrics)
