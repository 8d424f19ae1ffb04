"""Patterns that lead into an archive of images."""

from __future__ import annotations

from pathlib import Path

from circuitlang.base.diagnostics import Finding, InputError, did_you_mean, listing
from circuitlang.engine.images.folder_walk import entries, walk
from circuitlang.engine.images.parquet_files import ENDING as PARQUET
from circuitlang.engine.images.wildcards import is_wild

# The endings of archives' names.
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", PARQUET)


def inside_archive(pattern: str, archive: Path, inside: tuple[str, ...]) -> list[Path]:
    """Return the images of an archive that the rest of a pattern names, all of them if nothing is left of it.

    Raises InputError if there is none.
    """
    from circuitlang.engine.images.archives import unpacked

    root = unpacked(archive)
    paths = set(walk(root, inside or ("**", "*")))
    if ".." in inside or not paths:
        label = f"{archive.name} has no such image"
        folders = [name for name, folder in entries(root, "*") if folder]
        if inside and not is_wild(inside[-1]):
            cure = f"write {pattern}/* for its images"
        else:
            cure = did_you_mean(inside[0], folders, f"it has {listing(folders)}" if folders else "")
        raise InputError(Finding("E301", f"nothing matches '{pattern}'", None, label, cure))
    return sorted(paths, key=bytes)
