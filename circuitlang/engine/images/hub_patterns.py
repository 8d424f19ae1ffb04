"""Patterns of images on the Hugging Face Hub: the same wildcards, archives and lists as on a disk.

A pattern is compared with the names that the repository has at a commit; the files that match are fetched, and no
others.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path

from circuitlang.base.diagnostics import Finding, InputError, did_you_mean, listing
from circuitlang.base.hub_address import HubAddress, HubFile, hub_file
from circuitlang.base.hub_client import snapshot_place
from circuitlang.engine.cache.hub_listings import Listing
from circuitlang.engine.cache.hub_snapshots import commit_of, files_at, local_files, no_such_file
from circuitlang.engine.images.archive_patterns import ARCHIVES, inside_archive
from circuitlang.engine.images.list_files import ENDING, lines
from circuitlang.engine.images.wildcards import is_wild, leads_to
from circuitlang.plugins.progress import TrackProgress, no_progress


def matches_on_hub(pattern: str, track: TrackProgress | None) -> list[Path]:
    """Return the files that a pattern names, in the Hub's cache, bytewise sorted. Raises InputError for none.

    Without `track` images are not fetched, and those of no archive are not there yet.
    """
    asked = hub_file(pattern)
    file = asked.at(commit_of(asked)[0])
    there = files_at(file.address, file.path)
    for count in range(1, len(file.parts) + 1):
        beginning, rest = "/".join(file.parts[:count]), file.parts[count:]
        if beginning in there.sizes:
            return _of_file(pattern, HubFile(file.address, beginning), rest, there, track)
    names = [name for name in there.sizes if leads_to(file.parts, name.split("/"))]
    if not names:
        raise InputError(_no_match(file, there))
    return _images(file.address, sorted(names, key=str.encode), track)


def _images(address: HubAddress, names: Sequence[str], track: TrackProgress | None) -> list[Path]:
    if track is None:
        return [snapshot_place(HubFile(address, name)) for name in names]
    return local_files(address, names, track)


def _of_file(
    pattern: str, file: HubFile, inside: Sequence[str], there: Listing, track: TrackProgress | None
) -> list[Path]:
    """Return the images of a file of a repository: itself, those in an archive, or those of a list."""
    lower = file.path.lower()
    if inside and not lower.endswith(ARCHIVES):
        label, cure = f"{file.path} is a file, and no archive", f"archives end in {listing(ARCHIVES, 'or')}"
        raise InputError(Finding("E387", f"nothing matches '{pattern}'", None, label, cure))
    (place,) = local_files(file.address, [file.path], track or no_progress)
    if lower.endswith(ARCHIVES):
        return inside_archive(pattern, place, tuple(inside))
    return _listed(file, place, there, track) if lower.endswith(ENDING) else [place]


def _listed(file: HubFile, place: Path, there: Listing, track: TrackProgress | None) -> list[Path]:
    """Return the files that a list of a repository names, which are of the same repository."""
    names = []
    for number, line in lines(place):
        name = posixpath.normpath(posixpath.join(posixpath.dirname(file.path), line))
        if name not in there.sizes:
            cure = "each line is a path relative to the list's folder, of a file of the same repository"
            raise InputError(Finding("E387", f"line {number} of {file} names no file", None, "", cure))
        names.append(name)
    return _images(file.address, list(dict.fromkeys(names)), track)


def _no_match(file: HubFile, there: Listing) -> Finding:
    """Return the finding that explains why a pattern names no file of a repository."""
    wild = next((number for number, part in enumerate(file.parts) if is_wild(part)), None)
    if wild is None:
        return no_such_file(file, there)
    repository, at = file.address.at(None), f"at commit {(file.address.revision or '')[:12]}"
    for count in range(1, wild + 1):
        folder, above = "/".join(file.parts[:count]), "/".join(file.parts[: count - 1])
        beside = _folders(there, above)
        if file.parts[count - 1] not in beside:
            label = f"{at} it has {listing(sorted(beside))}" if beside else f"{at} it has no folder there"
            cure = did_you_mean(file.parts[count - 1], beside)
            return Finding("E387", f"{repository} has no folder '{folder}'", None, label, cure)
    return Finding("E387", f"nothing matches '{repository}/{file.path}'", None, f"{at} it has no such file")


def _folders(there: Listing, above: str) -> set[str]:
    """Return the names of the folders in a folder of a repository."""
    beginning = f"{above}/" if above else ""
    inner = (name.removeprefix(beginning) for name in there.sizes if name.startswith(beginning))
    return {name.partition("/")[0] for name in inner if "/" in name}
