"""Read images of any number of channels from NumPy's `.npy` files, without running anything."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

_MAGIC = b"\x93NUMPY"
_LONGEST = 1 << 32


def is_array(content: bytes) -> bool:
    """Return whether the content is that of a `.npy` file, whatever its name."""
    return content.startswith(_MAGIC)


def array_shape(content: bytes, channels: int) -> tuple[int, int, int]:
    """Return rows, columns and channels by the header, for a network of so many channels, 0 for any.

    Raises ValueError.
    """
    shape = _header(content)[0]
    axis = _channel_axis(shape, channels)
    if axis is None:
        return shape[0], shape[1], 1
    return (shape[0], shape[1], shape[2]) if axis == 2 else (shape[1], shape[2], shape[0])


def read_array(content: bytes, channels: int) -> NDArray[Any]:
    """Return the array as [rows, columns, channels]: uint8, or float32 with whole numbers scaled to 0..1.

    It has the network's number of channels, or one where the network takes three. Raises ValueError for any other shape
    and for types of number that have no fixed range.
    """
    shape, fortran, dtype, start = _header(content)
    size = math.prod(shape)
    if len(content) - start < size * dtype.itemsize:
        raise ValueError(f"cut off: {len(content) - start:,} of {size * dtype.itemsize:,} bytes are there")
    flat = np.frombuffer(content, dtype, size, start)
    values = flat.reshape(shape, order="F" if fortran else "C")
    axis = _channel_axis(shape, channels)
    return _scaled(values[..., None] if axis is None else np.moveaxis(values, axis, 2))


def _header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    file = io.BytesIO(content)
    try:
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
        shape, fortran, dtype = read(file)
    except Exception as error:  # the header is written in Python's syntax, and what parses it raises many things
        raise ValueError(f"corrupt: its header can't be read ({type(error).__name__})") from None
    if any(not 0 <= length < _LONGEST for length in shape) or len(shape) > 8:
        raise ValueError("corrupt: its header names a shape that no array has")
    _check_type(dtype)
    return shape, fortran, dtype, file.tell()


def _check_type(dtype: np.dtype[Any]) -> None:
    if dtype.hasobject:
        raise ValueError("it holds Python objects, and loading them would run code")
    if dtype.fields or dtype.subdtype or dtype.kind not in "biuf":
        raise ValueError("it holds no numbers: save uint8, uint16 or floats")
    if dtype.kind in "iu" and dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise ValueError(f"its numbers are {dtype.name}, which have no fixed brightness: save uint8, uint16 or floats")
    if dtype.kind == "f" and dtype.itemsize > 8:
        raise ValueError(f"its numbers are {dtype.name}: save float32")


def _channel_axis(shape: tuple[int, ...], channels: int) -> int | None:
    """Return the axis of the channels, 0 or 2; None if there is only one. Raises ValueError if it is ambiguous."""
    wanted = {channels, 1} if channels == 3 else {channels}
    array = f"an array of {' x '.join(map(str, shape)) or 'a single number'}"
    takes = f"the network takes {channels} channel{'s' if channels > 1 else ''}"
    if 0 in shape:
        raise ValueError("it has no pixels")
    if len(shape) not in (2, 3):
        raise ValueError(f"{array}, not of rows x columns or rows x columns x channels")
    if len(shape) == 2 and wanted & {0, 1}:
        return None
    if channels == 0:
        return 2
    first, last = len(shape) == 3 and shape[0] in wanted, len(shape) == 3 and shape[2] in wanted
    if first and last:
        raise ValueError(f"{array}: its channels may come first or last")
    if not first and not last:
        raise ValueError(f"{array}, and {takes}")
    return 2 if last else 0


def _scaled(values: NDArray[Any]) -> NDArray[Any]:
    match values.dtype.kind, values.dtype.itemsize:
        case "b", _:
            return values.astype(np.uint8) * np.uint8(255)
        case "u", 1:
            return values
        case "u", _:
            scaled = values.astype(np.float32)
            scaled /= np.float32(65535)
            return scaled
    with np.errstate(over="ignore"):
        floats = values.astype(np.float32)
    if not np.isfinite(floats).all():
        raise ValueError("some of its values are infinite or not numbers")
    return floats
