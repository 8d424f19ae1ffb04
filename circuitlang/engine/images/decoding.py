"""Decode the content of an image file into bands, whose brightness depends on the format and never on the image.

Only formats that Pillow decodes by itself are opened: others start programs (EPS) or read further files. Sizes are
checked in the header, before anything is decoded.
"""

from __future__ import annotations

import io
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from circuitlang.engine.images.npy_files import array_shape, is_array, read_array

# An image of more pixels, or an array of more values, is refused before it is decoded: it would fill memory.
MAX_PIXELS = 80_000_000
# Formats that are opened, by Pillow's names; MPO files, as cameras write them, begin with a JPEG image.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
# Formats and modes that take several times the memory for a pixel, by Pillow's names: pixels are limited to a part.
_COSTLY = {"AVIF": 4, "JPEG2000": 8, "WEBP": 2, "F": 2, "I": 2, "I;16": 2, "I;16B": 2}
# Tags of TIFF and their values.
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2
# Pixels that are laid on white at a time.
STRIP = 4_000_000


class _UnreadableError(ValueError):
    """A problem of an image, in the words that users see."""


def dimensions(content: bytes, channels: int = 3) -> tuple[int, int]:
    """Return width and height by an image's header. Raises ValueError if it can't be read or is too large."""
    with _findings(content):
        if is_array(content):
            shape = array_shape(content, channels)
            _check(shape, MAX_PIXELS)
            return shape[1], shape[0]
        return _opened(content).size


def decode(content: bytes, channels: int = 3) -> Iterable[Image.Image]:
    """Return the bands of an image for a network of so many channels, 0 for any: an RGB image, or images of bands.

    Bands of 8 bits have the modes RGB, L, LA and RGBA. Others have mode F, with values in 0..1, or those of an array of
    floats as they are. Images are upright, and lie on white where they are transparent; of an animation, or of a file
    of several pages, the first image is taken. Raises ValueError saying what is wrong with the content.
    """
    with _findings(content):
        if is_array(content):
            _check(array_shape(content, channels), MAX_PIXELS)
            return _split(content, channels)
        image = _opened(content)
        with _silent if _by_libtiff(image) else nullcontext():
            image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _bands(image, channels or 3)


def _split(content: bytes, channels: int) -> Iterator[Image.Image]:
    values = read_array(content, channels)
    # For three channels one is repeated, as that of a grey image is.
    numbers = range(channels) if values.shape[2] == channels else [0] * max(channels, 1)
    return (Image.fromarray(np.ascontiguousarray(values[..., number])) for number in numbers)


def _check(size: tuple[int, ...], most: int) -> None:
    if 0 in size:
        raise _UnreadableError("it has no pixels")
    if math.prod(size) > most:
        what = "pixels" if len(size) == 2 or size[2] == 1 else "values"
        shape = " x ".join(str(length) for length in size[: 2 if what == "pixels" else 3])
        raise _UnreadableError(f"{shape} {what} are more than {most / 10**6:g} million")


@contextmanager
def _findings(content: bytes) -> Iterator[None]:
    """Turn whatever a decoder raises into a ValueError that says what is wrong."""
    try:
        with _quiet:
            yield
    except Image.DecompressionBombError:
        raise _UnreadableError(f"it has more than {MAX_PIXELS // 10**6} million pixels") from None
    except UnidentifiedImageError:
        raise _UnreadableError("empty" if not content else "not an image") from None
    except _UnreadableError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a broken file drives them to
        if is_array(content) and isinstance(error, ValueError):
            raise
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise _UnreadableError(f"corrupt: {reason}") from None


def _opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=_formats())
    _check(image.size, MAX_PIXELS // max(_COSTLY.get(str(kind), 1) for kind in (image.format, image.mode)))
    return image


@cache
def _formats() -> tuple[str, ...]:
    """Return those of the formats that the installed Pillow supports."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


class _Shared(AbstractContextManager[None]):
    """A change of the whole process, made by the first thread that enters and undone by the last that leaves."""

    def __init__(self, change: Callable[[], AbstractContextManager[None]]) -> None:
        self._change = change
        self._lock = Lock()
        self._inside = 0
        self._stack = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._stack.enter_context(self._change())
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._stack.close()


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Suppress Pillow's warnings and log: they are about problems that are findings here, and unused metadata."""
    logger = logging.getLogger("PIL")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Close stderr for libtiff, which writes to its file descriptor directly."""
    try:
        before = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


_quiet, _silent = _Shared(_without_remarks), _Shared(_without_stderr)


def _by_libtiff(image: Image.Image) -> bool:
    return any(tile[0] == "libtiff" for tile in getattr(image, "tile", ()))


def _bands(image: Image.Image, channels: int) -> list[Image.Image]:
    mode = image.mode
    if mode == "LAB":
        raise _UnreadableError("its colours are LAB: save it as RGB")
    if mode in ("La", "RGBa"):
        image = image.convert(mode.upper())
    if _tag(image, _SAMPLE_FORMAT) == _SIGNED:
        raise _UnreadableError("its pixels are signed numbers, which have no fixed brightness: save 8 or 16 bits")
    if mode[0] in "IF":
        if channels not in (1, 3):
            raise _counted(1, channels)
        return [_floats(image)] * channels
    if channels == 3:
        return [_rgb(image)]
    transparent = _transparent(image)
    if channels == 1:
        return [image.convert("L") if mode in ("1", "L") and not transparent else _rgb(image).convert("L")]
    if channels == 4 and transparent:
        return [image.convert("RGBA")]
    if channels == 2 and mode == "LA":
        return [image]
    if mode == "CMYK":
        raise _UnreadableError(f"its colours are CMYK, and the network takes {channels} channels: save them as .npy")
    raise _counted(1 if mode in ("1", "L") else 3 if mode == "P" else len(image.getbands()), channels)


def _counted(count: int, channels: int) -> _UnreadableError:
    cure = "save its channels as .npy"
    return _UnreadableError(f"an image of {count} channel{'s' * (count > 1)}, and the network takes {channels}: {cure}")


def _tag(image: Image.Image, number: int) -> int | None:
    """Return a tag of a TIFF image, the first of several values; None without it, or for other formats."""
    value = getattr(image, "tag_v2", {}).get(number)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else None


def _floats(image: Image.Image) -> Image.Image:
    """Return a grey image of more than 8 bits in mode F, with values in 0..1."""
    pixels = np.asarray(image)
    if image.mode == "F":
        values = pixels.astype(np.float32)
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise _UnreadableError("its floating-point pixels are not all from 0 to 1: save them as .npy")
    elif image.mode == "I" and image.format not in ("PNG", "PPM"):
        raise _UnreadableError("its pixels are numbers of 32 bits, which have no fixed brightness: save 8 or 16 bits")
    else:
        bits = _tag(image, _BITS) or 16
        values = pixels.astype(np.float32)
        values /= np.float32(2**bits - 1)
    if _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:
        values = 1 - values
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        values = np.where(pixels == clear, np.float32(1), values)
    return Image.fromarray(values)


def _transparent(image: Image.Image) -> bool:
    return "A" in image.getbands() or "transparency" in image.info


def _rgb(image: Image.Image) -> Image.Image:
    """Return an image of 8 bits in RGB, on white where it is transparent."""
    if not _transparent(image):
        return image if image.mode == "RGB" else image.convert("RGB")
    flat = Image.new("RGB", image.size)
    rows = max(1, STRIP // image.width)
    # In strips, because whole intermediate images would take several times the memory.
    for top in range(0, image.height, rows):
        box = 0, top, image.width, min(top + rows, image.height)
        layered = image.crop(box).convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        flat.paste(Image.alpha_composite(white, layered).convert("RGB"), box)
    return flat
