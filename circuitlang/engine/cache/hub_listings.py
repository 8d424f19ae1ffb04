"""Files of repositories of the Hugging Face Hub at a commit, and the commits that branches were last seen at.

A commit never changes, so that its files are listed once. Listings lie in the user's cache folder, sealed with their
hashes; a listing that is lost is fetched again.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from circuitlang.base.atomic_files import write_atomically
from circuitlang.base.cache_folder import cache_folder
from circuitlang.base.checksummed import BLANK, read_sealed, seal
from circuitlang.base.diagnostics import InputError
from circuitlang.base.hub_address import HubAddress, HubFile, hub_file
from circuitlang.plan.model import digest


class Listing(msgspec.Struct, frozen=True):
    """The files of a commit: bytes and hashes by path, as in `HubFiles`. All paths are made of plain names."""

    sizes: dict[str, int]
    hashes: dict[str, str]
    sha256: str = BLANK


class _Seen(msgspec.Struct, frozen=True):
    commit: str
    sha256: str = BLANK


def known_listing(address: HubAddress) -> Listing | None:
    """Return the files of a repository at a commit, if they were listed before."""
    key = f"listing {address}"
    return read_sealed(_path(key), key, Listing)


def listing(address: HubAddress) -> Listing:
    """Return the files of a repository at a commit. Raises InputError."""
    known = known_listing(address)
    if known is not None:
        return known
    from circuitlang.base.hub_client import hub_files

    there = hub_files(address)
    sizes = {path: size for path, size in there.sizes.items() if _is_plain(HubFile(address, path))}
    content = Listing(sizes, {path: there.hashes[path] for path in sizes})
    _write(f"listing {address}", content)
    return content


def remember_commit(address: HubAddress, commit: str) -> None:
    """Note the commit that a revision was seen at."""
    _write(f"commit {address}", _Seen(commit))


def last_commit(address: HubAddress) -> str:
    """Return the commit that a revision was last seen at; empty if it was never seen."""
    key = f"commit {address}"
    seen = read_sealed(_path(key), key, _Seen)
    return seen.commit if seen and address.at(seen.commit).is_pinned else ""


def _is_plain(file: HubFile) -> bool:
    try:
        return hub_file(str(file)) == file
    except InputError:
        return False


def _write(key: str, content: Listing | _Seen) -> None:
    """Store something; where nothing can be written, nothing is stored."""
    with suppress(OSError):
        write_atomically(_path(key), seal(msgspec.json.encode(content), key))


def _path(key: str) -> Path:
    return cache_folder() / "hub" / f"{digest(key.encode())[:32]}.json"
