"""Turn the content of image files into network inputs, and images into RGB for people."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import nullcontext
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from circuitlang.engine.images.decoding import decode, dimensions
from circuitlang.plugins.preprocess import Preprocess

# Images of more pixels, as they are stored or resized, take turns: together they would fill memory.
LARGE = 8_000_000
# Pixels of a resized image: a long image of few pixels becomes one of many.
_MOST = 40_000_000
TURN = Lock()


def read(preprocess: Preprocess, content: bytes) -> NDArray[Any]:
    """Return the resized and cropped image of a file's content; see `prepare`.

    Raises ValueError saying what is wrong.
    """
    size = dimensions(content, preprocess.channels)
    most = max(math.prod(size), math.prod(_resized(preprocess, size)))
    with TURN if most > LARGE else nullcontext():
        return prepare(preprocess, decode(content, preprocess.channels))


def prepare(preprocess: Preprocess, bands: Iterable[Image.Image]) -> NDArray[Any]:
    """Return the resized and cropped bands, [crop, crop, channels]: uint8, or float32 if that is what they hold."""
    cut = [_cut(preprocess, band) for band in bands]
    values = np.concatenate(cut, 2) if len(cut) > 1 else cut[0]
    if values.dtype != np.uint8 and preprocess.unit_scale and any(preprocess.mean):
        low, high = float(values.min()), float(values.max())
        if not -0.5 <= low <= high <= 1.5:
            cure = "divide them, or say mean= and std= of such values"
            raise ValueError(f"its values go from {low:g} to {high:g}, but mean and std are for 0 to 1: {cure}")
    return values


def normalise(preprocess: Preprocess, images: Tensor) -> Tensor:
    """Return images [N, H, W, C], uint8 or float32, as the network's float32 input [N, C, H, W]."""
    mean, std = torch.tensor(preprocess.mean), torch.tensor(preprocess.std)
    return as_floats(images).sub(mean).div_(std).permute(0, 3, 1, 2).contiguous()


def as_floats(images: Tensor) -> Tensor:
    """Return 8-bit values on a scale of 0 to 1; floats are unchanged."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def shown_range(preprocess: Preprocess) -> tuple[Tensor, Tensor]:
    """Return the values of each channel that are shown black and white.

    They are 0 and 1, or, where `mean` and `std` are on another scale, two standard deviations below and above the mean.
    """
    if preprocess.unit_scale:
        return torch.zeros(preprocess.channels), torch.ones(preprocess.channels)
    mean, std = torch.tensor(preprocess.mean), torch.tensor(preprocess.std)
    return mean - 2 * std, mean + 2 * std


def shown(preprocess: Preprocess, image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image [H, W, C] as a person is shown it, uint8 [H, W, 3].

    One channel is grey, and so is the mean of two; of more the first three are red, green and blue.
    """
    channels = image.shape[2]
    if image.dtype == np.uint8 and channels >= 3:
        return np.asarray(image[..., :3], np.uint8)
    low, high = (tensor.numpy() for tensor in shown_range(preprocess))
    shares = image / np.float32(255) if image.dtype == np.uint8 else (image - low) / (high - low)
    colours = shares[..., :3] if channels >= 3 else shares.mean(2, keepdims=True).repeat(3, 2)
    return np.asarray(np.rint(colours.clip(0, 1) * 255), np.uint8)


def _cut(preprocess: Preprocess, band: Image.Image) -> NDArray[Any]:
    size = _resized(preprocess, band.size)
    if size != band.size:
        band = band.resize(size, Image.Resampling(preprocess.resample))
    crop = preprocess.crop
    left, top = round((size[0] - crop) / 2), round((size[1] - crop) / 2)
    values = np.array(band.crop((left, top, left + crop, top + crop)))
    return values if values.ndim == 3 else values[..., None]


def _resized(preprocess: Preprocess, size: tuple[int, int]) -> tuple[int, int]:
    """Return width and height after resizing. Raises ValueError where the longer side would become too long."""
    width, height = size
    # As torchvision: the longer side is cut to whole pixels.
    scale = preprocess.resize / min(width, height)
    wide, high = (max(preprocess.resize, int(side * scale)) for side in size)
    if wide * high > _MOST:
        limit = f"{wide} x {high}, which is more than {_MOST // 10**6} million pixels"
        raise ValueError(f"{width} x {height} pixels would be resized to {limit}")
    return (preprocess.resize, high) if width <= height else (wide, preprocess.resize)
