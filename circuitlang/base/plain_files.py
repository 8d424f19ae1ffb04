"""Files of a folder that somebody else may have filled: ordinary ones only, no links, no devices, none without end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

# More than any file that is read whole may hold, in bytes.
MOST = 1 << 31


def read_plain(path: Path, most: int = MOST) -> bytes:
    """The content of an ordinary file. Raises OSError, also for a link, a device, and a file of more bytes."""
    return _read(path, most, whole=True)


def read_beginning(path: Path, count: int) -> bytes:
    """Return the first bytes of an ordinary file. Raises OSError, also for a link and a device."""
    return _read(path, count, whole=False)


def open_plain(path: Path) -> BinaryIO:
    """Open an ordinary file to read parts of it. Raises OSError, also for a link and a device."""
    descriptor = _open(path)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not an ordinary file")
    return os.fdopen(descriptor, "rb")


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error)) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link, which is not followed") from None
        raise


def _read(path: Path, most: int, whole: bool) -> bytes:
    descriptor = _open(path)
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "it is not an ordinary file")
        if whole and about.st_size > most:
            raise OSError(errno.EFBIG, f"it has more than {most:,} bytes")
        file = os.fdopen(descriptor, "rb", closefd=False)
        return file.read(most)
    finally:
        os.close(descriptor)


def is_there(path: Path) -> bool:
    """Return whether a path exists; False for a text that can't be a path."""
    try:
        return os.path.lexists(path)
    except ValueError:
        return False


def inside(folder: Path, pattern: str) -> list[Path]:
    """Yield the paths in a folder that match a pattern; none where it is no folder, or can't be listed."""
    try:
        return list(folder.glob(pattern))
    except (OSError, ValueError):
        return []
