"""Files of the cache of scores and responses: their folders, their size, and which are removed. No torch needed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from circuitlang.base.atomic_files import PARTIAL
from circuitlang.base.cache_folder import cache_folder
from circuitlang.base.diagnostics import Finding, OutputError
from circuitlang.engine.cache import receipts

ENDING = ".safetensors"


def folder() -> Path:
    """Return the folder of scores."""
    return cache_folder() / "scores"


def responses_folder() -> Path:
    return folder().with_name("responses")


def held() -> tuple[int, int]:
    """Return the number of files in the cache and their size in bytes."""
    sizes = [size for _, size, _ in _files()]
    return len(sizes), sum(sizes)


def clear() -> None:
    """Remove all files. Raises OutputError if that fails."""
    try:
        shrink(0)
        receipts.clear()
        for path in _cached_files(f"{PARTIAL}*"):
            path.unlink(missing_ok=True)
    except OSError as error:
        message, cure = f"can't clear the cache in {folder().parent}", "make it writable, or remove it by hand"
        raise OutputError(Finding("E390", message, None, error.strerror or str(error), cure)) from None


def _cached_files(pattern: str) -> list[Path]:
    """Return the files of scores and of responses that match a pattern; none if the cache can't be listed."""
    paths: list[Path] = []
    for parent in (folder(), responses_folder()):
        with suppress(OSError):
            paths += parent.glob(f"*/{pattern}")
    return paths


def _files() -> list[tuple[float, int, Path]]:
    """Return the time of last use, the size in bytes and the path of each file."""
    files = []
    for path in _cached_files(f"*{ENDING}"):
        # Another process may have removed it.
        with suppress(OSError):
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    return files


def shrink(limit: int) -> None:
    """Remove the least recently used files until no more than `limit` bytes are left."""
    files = sorted(_files())
    total = sum(size for _, size, _ in files)
    for _, size, path in files:
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()
        total -= size
