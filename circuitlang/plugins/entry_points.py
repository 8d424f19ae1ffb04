"""Entry points by which other packages extend the program."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from circuitlang.base.versions import finds_packages, package_folders

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

# The beginning of the name of every group, as files of entry points have it.
_GROUPS = b"[circuitlang."


def entry_points(path: tuple[str, ...], group: str) -> Iterable[EntryPoint]:
    """Return the entry points of a group in the packages on a path."""
    return _all(path).select(group=group) if _any_extension(path) else ()


class _Points(Protocol):
    """Entry points, whatever class Python has for them."""

    def select(self, *, group: str) -> Iterable[EntryPoint]: ...


@cache
def _all(_path: tuple[str, ...]) -> _Points:
    """Return all entry points of the packages on a path; all registries need them, and looking takes long."""
    from importlib import metadata

    return metadata.entry_points()


@cache
def _any_extension(path: tuple[str, ...]) -> bool:
    """Return whether any package may extend the program, by the texts of their files: most often none does, and
    reading all entry points takes longer than most commands."""
    return any(map(_has_extension, path)) or any(map(finds_packages, sys.meta_path))


def _has_extension(folder: str) -> bool:
    names = package_folders(folder)
    if names is None:  # an archive, which `importlib.metadata` can read
        return True
    for name in names:
        inner = ("EGG-INFO",) if name.endswith(".egg") else ()
        with suppress(OSError):
            if _GROUPS in Path(folder, name, *inner, "entry_points.txt").read_bytes():
                return True
    return False
