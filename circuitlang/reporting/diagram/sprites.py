"""Many small images of a channel as one: sheets, of which the page shows a tile at a time."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from circuitlang.reporting.diagram.thumbnails import Pixels
from circuitlang.results.connections import Channel
from circuitlang.results.types import ActivationMaps

# Pixels that all maps of a page may have together: of circuits with very many channels maps are reduced.
_PIXELS = 3_000_000
# Values that maps are drawn in: few, so that files are small, and odd, so that zero is one of them.
_LEVELS = 33
# From negative over zero to positive, in the colours of edges.
_NEGATIVE, _ZERO, _POSITIVE = (0x21, 0x66, 0xAC), (0xF7, 0xF7, 0xF5), (0xD9, 0x5F, 0x0E)


def side(maps: Mapping[Channel, NDArray[np.uint8]]) -> int:
    """Return the side that maps may have on a page that holds all of these."""
    count = sum(image.shape[0] * image.shape[1] for image in maps.values())
    return max(4, int((_PIXELS / max(count, 1)) ** 0.5))


def map_sheet(maps: NDArray[np.uint8], largest: int) -> str:
    """Maps [n, 2, h, w] as a data URI: a column for each image, the network's above the circuit's."""
    height, width = maps.shape[2:]
    if max(height, width) > largest:
        height, width = min(height, largest), min(width, largest)
        maps = _resized(maps, width, height)
    sheet = maps.transpose(1, 2, 0, 3).reshape(2 * height, -1)
    share = (sheet.astype(np.float64) - ActivationMaps.ZERO) / ActivationMaps.ZERO
    # Scaled by the square root: a circuit often responds a tenth as strongly as the network, and that should be seen.
    root = np.sign(share) * np.sqrt(np.abs(share))
    levels = np.rint((root + 1) * (_LEVELS - 1) / 2).astype(np.uint8)
    picture = Image.fromarray(levels).convert("P")
    picture.putpalette(_palette())
    return _uri(picture, "PNG", optimize=True)


def photograph_sheet(pictures: NDArray[np.uint8]) -> str:
    """Images [n, h, w, 3] side by side as a data URI."""
    return photograph(np.concatenate(list(pictures), axis=1))


def photograph(picture: Pixels) -> str:
    """Return an image as a data URI, as WebP where it can be written: half of what JPEG takes."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    if features.check("webp"):
        return _uri(image, "WEBP", quality=80, method=2)
    return _uri(image, "JPEG", quality=85, subsampling=0, optimize=True)


def _palette() -> list[int]:
    share = np.linspace(-1, 1, _LEVELS)[:, None]
    end = np.where(share < 0, np.array(_NEGATIVE), np.array(_POSITIVE))
    colours = np.array(_ZERO) + (end - np.array(_ZERO)) * np.abs(share)
    return [int(number) for number in np.rint(colours).flatten()]


def _resized(maps: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Maps [n, 2, h, w] reduced by the mean of what each pixel covers: all of them as one image of that many rows."""
    number, both, rows, columns = maps.shape
    across = np.asarray(
        Image.fromarray(maps.reshape(-1, columns)).resize((width, number * both * rows), Image.Resampling.BOX)
    )
    down = across.reshape(number, both, rows, width).transpose(0, 1, 3, 2).reshape(-1, rows)
    pixels = np.asarray(Image.fromarray(np.ascontiguousarray(down)).resize((height, len(down)), Image.Resampling.BOX))
    return pixels.reshape(number, both, width, height).transpose(0, 1, 3, 2)


def _uri(picture: Image.Image, kind: str, **options: int | bool) -> str:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
