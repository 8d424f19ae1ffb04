"""Parameters of image preprocessing, which a model source declares."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

# Red, green and blue on a scale of 0 to 1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Resampling(IntEnum):
    """Interpolation filters, numbered as Pillow numbers them, which is how exported modules store them."""

    BILINEAR = 2
    BICUBIC = 3


@dataclass(frozen=True)
class Preprocess:
    """Resize the shorter side, crop the centre, normalise.

    `resize` and `crop` are in pixels; `mean` and `std` have one value for each channel of the network, for most images
    on a scale of 0 to 1.
    """

    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: Resampling = Resampling.BILINEAR

    @property
    def channels(self) -> int:
        """The number of channels that the network takes."""
        return len(self.mean)

    @property
    def unit_scale(self) -> bool:
        """True if mean and standard deviation are those of values from 0 to 1."""
        return all(0 <= number <= 1 for number in self.mean) and all(number <= 1 for number in self.std)
