"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

# The prefix of a file's name until the file is whole.
PARTIAL = ".partial-"
# The mode that tempfile gives a file.
_PRIVATE = 0o600


def write_atomically(path: Path, content: bytes, *, mode: int = _PRIVATE, durable: bool = False) -> None:
    """Write a file in one step, also where two processes write it at once. Makes its folder; raises OSError.

    A `durable` file is on the disk before it has its name, so that it is whole after a crash of the system as well.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=PARTIAL, dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _write(file, content, durable)
        if stat.S_IMODE(mode) != _PRIVATE:
            partial.chmod(stat.S_IMODE(mode))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_through(path: Path, content: bytes) -> None:
    """Write a file in place, and wait until it is on the disk. Raises OSError."""
    with path.open("wb") as file:
        _write(file, content, durable=True)


def _write(file: BinaryIO, content: bytes, durable: bool) -> None:
    file.write(content)
    if durable:
        file.flush()
        os.fsync(file.fileno())
