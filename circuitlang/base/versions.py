"""Versions of installed packages, each looked up once, and the folders in which installers note packages."""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

# Endings of the folders that describe installed packages.
ENDINGS = (".dist-info", ".egg-info", ".egg")


@cache
def version(package: str) -> str:
    """Return the version of a package; empty if it is not installed."""
    noted = _noted_version(package, tuple(sys.path))
    if noted is not None:
        return noted
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed(package)
    except PackageNotFoundError:
        return ""


@cache
def package_folders(folder: str) -> tuple[str, ...] | None:
    """Return the names of the folders that describe packages in a folder of the path; None if it isn't a folder, such
    as an archive."""
    try:
        with os.scandir(folder or ".") as entries:
            return tuple(entry.name for entry in entries if entry.name.endswith(ENDINGS))
    except FileNotFoundError:
        return ()
    except OSError:
        return None


@cache
def _folders_by_package(folder: str) -> Mapping[str, Sequence[str]] | None:
    """Return `package_folders` by the normalised name of the package that they describe."""
    names = package_folders(folder)
    if names is None:
        return None
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        folders[_package(name)].append(name)
    return folders


def finds_packages(finder: object) -> bool:
    """Return whether a finder of modules other than Python's own finds packages in its own way."""
    return hasattr(finder, "find_distributions") and getattr(finder, "__name__", "") != "PathFinder"


def _noted_version(package: str, path: tuple[str, ...]) -> str | None:
    """Return the version that the first folder of the path with a package has for it, "" where none has it, and None
    where that isn't clear.

    It is what `importlib.metadata` would say, which takes ten times as long to import and to read.
    """
    if any(map(finds_packages, sys.meta_path)):
        return None
    for folder in path:
        names = _folders_by_package(folder)
        if names is None:
            return None
        own = names.get(_normal(package), ())
        if len(own) > 1 or (own and not own[0].endswith(".dist-info")):
            return None
        if own:
            return _version_in(Path(folder, own[0], "METADATA"))
    return ""


def _package(folder: str) -> str:
    """Return the normalised name of the package that a folder describes."""
    return _normal(folder[: -next(len(ending) for ending in ENDINGS if folder.endswith(ending))].split("-")[0])


def _normal(name: str) -> str:
    """Return the normalised name of a package."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _version_in(file: Path) -> str | None:
    with suppress(OSError), file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("Version:"):
                return line.removeprefix("Version:").strip()
            if not line.strip():
                break
    return None
