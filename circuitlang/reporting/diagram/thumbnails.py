"""Arrays to images that are part of the SVG: what a channel looks like."""

from __future__ import annotations

import base64
import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from circuitlang.results.types import ChannelSources, KeptKernels

Pixels = NDArray[np.uint8]


def filter_image(kernels: KeptKernels, wire: ChannelSources, channel: int) -> Pixels | None:
    """Return a channel's effective kernels that look at the image, as one image in colour; zero is mid grey.

    None where there is no such image: kernels of one weight, several kernels on one colour (a linear
    layer), or an image that is neither grey nor RGB.
    """
    height, width = kernels.weight.shape[1:]
    image = wire.origin < 0
    if height * width == 1 or not image.any():
        return None
    colour_of = dict(zip(wire.source[image].tolist(), wire.channel[image].tolist(), strict=True))
    depth = max(colour_of.values(), default=-1) + 1
    mine = np.flatnonzero(kernels.effective & (kernels.target == channel))
    mine = mine[[int(source) in colour_of for source in kernels.source[mine]]]
    colours = [colour_of[int(source)] for source in kernels.source[mine]]
    if depth not in (1, 3) or not colours or len(set(colours)) < len(colours):
        return None
    # A 1x7 kernel is a 7x7 one with zeros around: padded, every filter is a square.
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.zeros((side, side, depth))
    square[top : top + height, left : left + width, colours] = np.moveaxis(kernels.weight[mine], 0, -1)
    largest = float(np.abs(square).max())
    shade = square / largest if largest > 0 else square
    pixels = np.rint(128 + 127 * shade).astype(np.uint8)
    return np.repeat(pixels, 3, axis=2) if depth == 1 else pixels


def enlarge(pixels: Pixels, size: int) -> Pixels:
    """Repeat every pixel, so that viewers show the squares of a small filter rather than a blur."""
    times = max(1, -(-size // pixels.shape[0]))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def embed(pixels: Pixels, size: int) -> str:
    """Return the middle square of an image as a data URI of at most `size` pixels; the smaller of PNG and JPEG."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    return _encoded(square.tobytes(), square.shape, size)


# A cache for a few circuits, because each is drawn for several files.
@lru_cache(maxsize=2048)
def _encoded(content: bytes, shape: tuple[int, ...], size: int) -> str:
    picture = Image.fromarray(np.frombuffer(content, np.uint8).reshape(shape))
    if shape[0] > size:
        picture = picture.resize((size, size), Image.Resampling.LANCZOS)
    png, jpeg = io.BytesIO(), io.BytesIO()
    picture.save(png, "PNG", optimize=True)
    picture.save(jpeg, "JPEG", quality=88, subsampling=0, optimize=True)
    kind, smallest = min(("png", png.getvalue()), ("jpeg", jpeg.getvalue()), key=lambda one: len(one[1]))
    return f"data:image/{kind};base64,{base64.b64encode(smallest).decode('ascii')}"
