"""Receipts: what was read from files that have not changed since, so that it need not be read again.

A receipt never stands for a hash: it says that a file of this state had this content. The state is the file's device,
inode, size, and the times of its last modification and of the last change of its inode. Like git's index, it is not
trusted where the file was changed within `SETTLING` of the reading: within the resolution of the clock, another change
may have left the same times.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from circuitlang.base.atomic_files import write_atomically
from circuitlang.base.cache_folder import cache_folder
from circuitlang.base.checksummed import read_sealed, seal
from circuitlang.plan.model import digest

# Nanoseconds: file systems of the coarsest clocks count in steps of two seconds.
SETTLING = 2_000_000_000
# Files of receipts; more than these are removed, the oldest first.
MOST = 1000

S = TypeVar("S", bound=msgspec.Struct)


class FileState(msgspec.Struct, frozen=True, array_like=True):
    """The state of a file, times in nanoseconds."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


def file_state(path: Path) -> FileState | None:
    """Return the state of a file, of the one that a link leads to; None where none is there."""
    with suppress(OSError, ValueError):
        status = path.stat()
        return FileState(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return None


def now() -> int:
    """Return the time to pass to `settled`, taken before files are read."""
    return time.time_ns()


def settled(state: FileState, begin: int) -> bool:
    """Return whether a file of this state, looked at after it was read, is as it was when reading began."""
    return max(state.modified, state.changed) + SETTLING < begin


def folder() -> Path:
    """Return the folder of receipts."""
    return cache_folder() / "receipts"


def read_receipt(key: str, kind: type[S]) -> S | None:
    """Return the receipt of a key, unless there is none or it is damaged."""
    return read_sealed(_path(key), key, kind)


def write_receipt(key: str, receipt: msgspec.Struct) -> None:
    """Store a receipt, which has a field `sha256` that is blank; where nothing can be written, nothing is stored."""
    path, content = _path(key), seal(msgspec.json.encode(receipt), key)
    with suppress(OSError):
        if path.is_file() and path.read_bytes() == content:
            return
        write_atomically(path, content)
        _shrink()


def clear() -> None:
    """Remove all receipts. Raises OSError."""
    for path in _receipts():
        path.unlink(missing_ok=True)


def _receipts() -> list[Path]:
    """Return the files of receipts; none if their folder can't be listed."""
    paths: list[Path] = []
    with suppress(OSError):
        paths += folder().glob("*.json")
    return paths


def _shrink() -> None:
    paths = _receipts()
    if len(paths) > MOST:
        for path in sorted(paths, key=lambda path: path.stat().st_mtime)[: len(paths) - MOST]:
            path.unlink(missing_ok=True)


def _path(key: str) -> Path:
    return folder() / f"{digest(key.encode())[:32]}.json"
