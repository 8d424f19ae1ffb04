"""The loss by which masks and gains are learned: a circuit's maps against those of the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def map_loss(circuit: Tensor, wanted: Tensor, scale: float, variance: float) -> Tensor:
    """Return 1 - r + scale |c - f|^2 / |f - mean f|^2, with r the correlation of maps c and f.

    `variance` is that of f over all images: batches that hardly vary are measured by a hundredth of it.
    """
    c, f = circuit.flatten().double(), wanted.flatten().double()
    dc, df = c - c.mean(), f - f.mean()
    own = df.square().sum() + 0.01 * variance * len(f)
    # The circuit's own variation is floored too: a constant map has no direction in which its correlation grows.
    r = (dc @ df) / ((dc.square().sum() + 1e-6 * own).sqrt() * own.sqrt())
    return 1 - r + scale * (c - f).square().sum() / own
