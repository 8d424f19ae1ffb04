"""Transform images before a network sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.plan.model import Choice
from circuitlang.plugins.transforms import TRANSFORMS


def transformed(image: NDArray[Any], transforms: Sequence[Choice], content: str) -> NDArray[Any]:
    """Return an image [H, W, C], uint8 or float32, after some transforms, of the same shape and type.

    What they draw at random follows from the hash of the image's content. Raises InputError where a transform gives
    something else than an image of the same shape.
    """
    if not transforms:
        return image
    pixels = np.asarray(image, np.float32) / np.float32(255 if image.dtype == np.uint8 else 1)
    for number, choice in enumerate(transforms):
        random = np.random.default_rng([int(content[:16], 16), number])
        pixels = np.ascontiguousarray(TRANSFORMS.load(choice.name)(pixels, random, **choice.parameters), np.float32)
        if pixels.shape != image.shape or not np.isfinite(pixels).all():
            message = f"'{choice.name}' doesn't give an image"
            shape = " x ".join(map(str, pixels.shape))
            raise InputError(Finding("E303", message, None, f"of {' x '.join(map(str, image.shape))} it makes {shape}"))
    return np.rint(pixels.clip(0, 1) * 255).astype(np.uint8) if image.dtype == np.uint8 else pixels
