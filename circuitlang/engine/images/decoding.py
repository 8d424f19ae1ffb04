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
# Of what takes several times the memory for a pixel, by Pillow's names of formats and modes, a part of the pixels.
_COSTLY = {"AVIF": 4, "JPEG2000": 8, "WEBP": 2, "F": 2, "I": 2, "I;16": 2, "I;16B": 2}
# Tags of TIFF and their values.
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2
# Pixels that are laid on white at a time.
_STRIP = 4_000_000


class _UnreadableError(ValueError):
    """Something that is wrong with an image, in the words that users see."""


def dimensions(content: bytes, channels: int = 3) -> tuple[int, int]:
    """The width and height that an image's header names. Raises ValueError where it can't be read or is too large."""
    with _findings(content):
        if is_array(content):
            shape = array_shape(content, channels)
            _check(shape, MAX_PIXELS)
            return shape[1], shape[0]
        return _opened(content).size


def decode(content: bytes, channels: int = 3) -> Iterable[Image.Image]:
    """The bands of an image for a network of so many channels, 0 for any: an RGB image, or images of a band or more.

    Bands of 8 bits have the modes RGB, L, LA and RGBA. Others have mode F, with values in 0..1, or those of an array of
    floats as they are. Images are upright, and lie on white where they are transparent; of an animation, or of a file
    of several pages, the first image is taken. Raises ValueError saying what is wrong with the content.
    """
    with _findings(content):
        if is_array(content):
            _check(array_shape(content, channels), MAX_PIXELS)
            return _split(content, channels)
        picture = _opened(content)
        with _silent if _by_libtiff(picture) else nullcontext():
            picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
        return _bands(picture, channels or 3)


def _split(content: bytes, channels: int) -> Iterator[Image.Image]:
    values = read_array(content, channels)
    # For three channels one is repeated, as that of a grey picture is.
    numbers = range(channels) if values.shape[2] == channels else [0] * max(channels, 1)
    return (Image.fromarray(np.ascontiguousarray(values[..., number])) for number in numbers)


def _check(size: tuple[int, ...], most: int) -> None:
    if 0 in size:
        raise _UnreadableError("it has no pixels")
    if math.prod(size) > most:
        what = "pixels" if len(size) == 2 or size[2] == 1 else "values"
        said = " x ".join(str(each) for each in size[: 2 if what == "pixels" else 3])
        raise _UnreadableError(f"{said} {what} are more than {most / 10**6:g} million")


@contextmanager
def _findings(content: bytes) -> Iterator[None]:
    """Turn whatever a decoder raises into a ValueError that says what is wrong."""
    try:
        with _quiet:
            yield
    except Image.DecompressionBombError:
        raise _UnreadableError(f"it has more than {MAX_PIXELS // 10**6} million pixels") from None
    except UnidentifiedImageError:
        raise _UnreadableError("empty" if not content else "not a picture") from None
    except _UnreadableError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a broken file drives them to
        if is_array(content) and isinstance(error, ValueError):
            raise
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise _UnreadableError(f"corrupt: {reason}") from None


def _opened(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content), formats=_formats())
    _check(picture.size, MAX_PIXELS // max(_COSTLY.get(str(each), 1) for each in (picture.format, picture.mode)))
    return picture


@cache
def _formats() -> tuple[str, ...]:
    """Those of the formats that the installed Pillow knows."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


class _Shared(AbstractContextManager[None]):
    """A change of the whole process: the first thread that enters makes it, and the last that leaves takes it back."""

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
    """Pillow warns of what is a finding here, and of metadata that nobody reads; it also logs such things."""
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
    """The libtiff library writes to the file descriptor of stderr by itself."""
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


def _by_libtiff(picture: Image.Image) -> bool:
    return any(tile[0] == "libtiff" for tile in getattr(picture, "tile", ()))


def _bands(picture: Image.Image, channels: int) -> list[Image.Image]:
    mode = picture.mode
    if mode == "LAB":
        raise _UnreadableError("its colours are LAB: save it as RGB")
    if mode in ("La", "RGBa"):
        picture = picture.convert(mode.upper())
    if _tag(picture, _SAMPLE_FORMAT) == _SIGNED:
        raise _UnreadableError("its pixels are signed numbers, which have no fixed brightness: save 8 or 16 bits")
    if mode[0] in "IF":
        if channels not in (1, 3):
            raise _counted(1, channels)
        return [_floats(picture)] * channels
    if channels == 3:
        return [_rgb(picture)]
    transparent = _transparent(picture)
    if channels == 1:
        return [picture.convert("L") if mode in ("1", "L") and not transparent else _rgb(picture).convert("L")]
    if channels == 4 and transparent:
        return [picture.convert("RGBA")]
    if channels == 2 and mode == "LA":
        return [picture]
    if mode == "CMYK":
        raise _UnreadableError(f"its colours are CMYK, and the network takes {channels} channels: save them as .npy")
    raise _counted(1 if mode in ("1", "L") else 3 if mode == "P" else len(picture.getbands()), channels)


def _counted(count: int, channels: int) -> _UnreadableError:
    cure = "save its channels as .npy"
    return _UnreadableError(
        f"a picture of {count} channel{'s' * (count > 1)}, and the network takes {channels}: {cure}"
    )


def _tag(picture: Image.Image, number: int) -> int | None:
    """A tag of a TIFF image, the first of several values; None where it isn't there, or in other formats."""
    value = getattr(picture, "tag_v2", {}).get(number)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else None


def _floats(picture: Image.Image) -> Image.Image:
    """A grey image of more than 8 bits in mode F, with values in 0..1."""
    pixels = np.asarray(picture)
    if picture.mode == "F":
        values = pixels.astype(np.float32)
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise _UnreadableError("its floating-point pixels are not all from 0 to 1: save them as .npy")
    elif picture.mode == "I" and picture.format not in ("PNG", "PPM"):
        raise _UnreadableError("its pixels are numbers of 32 bits, which have no fixed brightness: save 8 or 16 bits")
    else:
        bits = _tag(picture, _BITS) or 16
        values = pixels.astype(np.float32)
        values /= np.float32(2**bits - 1)
    if _tag(picture, _PHOTOMETRIC) == _WHITE_IS_ZERO:
        values = 1 - values
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        values = np.where(pixels == clear, np.float32(1), values)
    return Image.fromarray(values)


def _transparent(picture: Image.Image) -> bool:
    return "A" in picture.getbands() or "transparency" in picture.info


def _rgb(picture: Image.Image) -> Image.Image:
    """An image of 8 bits in RGB, on white where it is transparent."""
    if not _transparent(picture):
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    found = Image.new("RGB", picture.size)
    rows = max(1, _STRIP // picture.width)
    # By strips: whole images in between would take several times the memory.
    for top in range(0, picture.height, rows):
        box = 0, top, picture.width, min(top + rows, picture.height)
        layered = picture.crop(box).convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        found.paste(Image.alpha_composite(white, layered).convert("RGB"), box)
    return found
