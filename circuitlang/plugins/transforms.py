"""The protocol of transforms of images.

A transform is a file with one decorated function, which has the name of the file; another package declares it by an
entry point of the group `circuitlang.transforms`. It takes an image [H, W, C] and a random generator, which follows
from the image's content, and returns an image of the same shape. For example, `mirrored.py`::

    from numpy.random import Generator

    from circuitlang.plugins.transforms import Pixels, transform

    @transform
    def mirrored(image: Pixels, _: Generator) -> Pixels:
        "Left and right change places."
        return image[:, ::-1]

Values are 0 to 1, beyond which they are cut off, unless the network takes images on another scale.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, TypeAlias, TypeVar

from circuitlang.plugins.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Transform = Callable[Concatenate["Pixels", np.random.Generator, ...], "Pixels"]
    F = TypeVar("F", bound=Transform)

# An image [H, W, C].
Pixels: TypeAlias = "NDArray[np.float32]"
# Types of parameters: a whole number from 1, a number above 0, and a number above 0 and up to 1.
Count = int
Positive = float
Share = float

TRANSFORMS: Registry[Transform] = Registry(
    "transform", "circuitlang.engine.images.transforms", "circuitlang.transforms"
)


def transform(function: F) -> F:
    """Register a transform of images."""
    TRANSFORMS.add(function.__name__, function.__module__, function)
    return function
