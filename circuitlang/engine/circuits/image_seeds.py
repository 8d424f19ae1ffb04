"""Random numbers that follow from the content of an image."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from circuitlang.engine.deferred import torch

if TYPE_CHECKING:
    from torch import Tensor


def seeded(image: Tensor, seed: int) -> torch.Generator:
    """Return a generator that follows from a seed and from the content of an image, not from its position in a set."""
    content = blake2b(image.cpu().numpy().tobytes(), digest_size=7, key=seed.to_bytes(8, "little"))
    return torch.Generator().manual_seed(int.from_bytes(content.digest(), "little"))
