"""The files below a folder that the parts of a pattern name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.images.wildcards import is_like, is_wild


def walk(start: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files below a folder that the parts of a pattern name.

    A folder is visited once for each part, whatever links lead to it, so that no links make a walk long or endless.
    """
    seen: set[tuple[int, int, int]] = set()
    waiting = [(start, 0)]
    while waiting:
        place, index = waiting.pop()
        part, last = parts[index], index + 1 == len(parts)
        if not is_wild(part):
            # A name is taken as it is, so that `..` is the folder above even where a link leads in.
            if not last:
                waiting.append((place / part, index + 1))
            elif not is_folder(place / part) and is_there(place / part):
                yield place / part
            continue
        visit = (*_identity(place), index)
        if visit in seen:
            continue
        seen.add(visit)
        if part == "**" and not last:
            waiting.append((place, index + 1))
        inside = entries(place, "*" if part == "**" else part)
        # The last that waits is the first that is visited.
        for name in reversed([name for name, folder in inside if folder and (part == "**" or not last)]):
            waiting.append((place / name, index if part == "**" else index + 1))
        if last:
            yield from (place / name for name, folder in inside if not folder)


def entries(folder: Path, part: str) -> list[tuple[str, bool]]:
    """Return the entries of a folder that match a part of a pattern, sorted, and whether each is a folder."""
    if not is_folder(folder):
        return []
    try:
        with os.scandir(folder) as scanned:
            inner = [(entry.name, _leads_on(entry)) for entry in scanned if is_like(entry.name, part)]
    except OSError as error:
        raise InputError(Finding("E302", f"can't look into {folder}", None, error.strerror or "")) from None
    return sorted(inner, key=lambda entry: os.fsencode(entry[0]))


def _leads_on(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _identity(folder: Path) -> tuple[int, int]:
    """Return the device and inode of a folder: the same whatever path leads to it."""
    try:
        status = folder.stat()
        return status.st_dev, status.st_ino
    except OSError:
        return 0, 0


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder."""
    return os.path.isdir(path)  # noqa: PTH112 - false where Path.is_dir raises, as for names that are too long


def is_there(path: Path) -> bool:
    """Return whether there is anything at a path."""
    return os.path.exists(path)  # noqa: PTH110 - as above
