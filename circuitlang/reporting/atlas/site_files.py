"""The folder of an atlas: new files take the place of old ones, and pages that an earlier atlas had go."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from circuitlang.base.atomic_files import write_atomically
from circuitlang.base.plain_files import read_plain
from circuitlang.results.ownership import is_atlas
from circuitlang.results.writer import output_errors

_MODE = 0o644


def write_site(folder: Path, files: Iterable[tuple[str, bytes]]) -> int:
    """Write the files of an atlas into a folder, and return their number of bytes.

    Raises OutputError, also where the folder has something that is no atlas.
    """
    total, written = 0, set()
    with output_errors(folder):
        _refuse(folder)
        for name, content in files:
            path = folder / name
            written.add(path)
            total += len(content)
            if not _has(path, content):
                write_atomically(path, content, mode=_MODE)
        for path in [*folder.glob("channels/*/*")]:
            if path not in written and path.is_file() and not path.is_symlink():
                path.unlink()
        for place in folder.glob("channels/*"):
            with suppress(OSError):
                place.rmdir()
    return total


def _refuse(folder: Path) -> None:
    """Raises OSError where the files of an atlas would come among those of others."""
    with suppress(FileNotFoundError):
        if not any(folder.iterdir()):
            return
        if is_atlas(folder):
            return
        raise FileExistsError(errno.EEXIST, "it has files that are of no atlas")


def _has(path: Path, content: bytes) -> bool:
    with suppress(OSError):
        return os.path.getsize(path) == len(content) and read_plain(path) == content  # noqa: PTH202
    return False
