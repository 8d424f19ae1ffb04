"""Files of the Hugging Face Hub on this machine: found in the Hub's cache or fetched into it, and verified.

The files of a commit have hashes that the Hub tells in its listing. A file is compared with its hash when it is first
used, and again when its state has changed since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path

import msgspec

from circuitlang.base.checksummed import BLANK
from circuitlang.base.diagnostics import Finding, InputError, did_you_mean
from circuitlang.base.diagnostics import listing as enumerated
from circuitlang.base.hub_address import SCHEME, HubAddress, HubFile
from circuitlang.base.hub_client import cached, fetch, hide_progress_bars, hub_commit, snapshot_file
from circuitlang.engine.cache.hub_listings import Listing, known_listing, last_commit, listing, remember_commit
from circuitlang.engine.cache.receipts import FileState, file_state, now, read_receipt, settled, write_receipt
from circuitlang.plugins.progress import TrackProgress, no_progress

_PIECE = 1 << 20
_THREADS = 8
_SHA256 = 64
# Names that are looked at for the one that was meant.
_NEAR = 2000
# Codes of findings that a connection, and nothing else, would cure.
_OFFLINE = "E381"


class _Verified(msgspec.Struct, frozen=True):
    """The files of a commit that had their hashes, and their states."""

    files: dict[str, FileState]
    sha256: str = BLANK


def commit_of(file: HubFile) -> tuple[str, Finding | None]:
    """Return the commit of a file's repository, and a warning if it is the last one that was seen.

    A commit needs no connection; a branch or a tag is looked up. Without a connection it is the commit of the last
    time. Raises InputError.
    """
    address = file.address
    if address.revision is not None and address.is_pinned:
        return address.revision, None
    try:
        commit = hub_commit(address).revision or ""
    except InputError as error:
        last = last_commit(address)
        if error.findings[0].code != _OFFLINE:
            raise
        if not last:
            raise InputError(_not_here(address, error.findings[0], f"missing: {file.path}")) from None
        label = f"used as it was last seen, at {last[:12]}"
        cure = "`circuitlang lock` pins it, and a commit in the address does"
        return last, Finding("W388", f"{address} can't be looked up", None, label, cure)
    remember_commit(address, commit)
    return commit, None


def files_at(address: HubAddress, wanted: str) -> Listing:
    """Return the files of a repository at a commit. Raises InputError, which says what was wanted."""
    try:
        return listing(address)
    except InputError as error:
        if error.findings[0].code != _OFFLINE:
            raise
        raise InputError(_not_here(address, error.findings[0], f"missing: {wanted}")) from None


def local_files(address: HubAddress, names: Sequence[str], track: TrackProgress = no_progress) -> list[Path]:
    """Return the places of files of a repository at a commit, in the order of their names.

    Those that aren't in the Hub's cache are fetched. Raises InputError.
    """
    places = {name: place for name in names if (place := cached(address, name))}
    missing = [name for name in names if name not in places]
    if missing:
        hide_progress_bars()
        with ThreadPoolExecutor(_THREADS) as pool:
            try:
                fetched = pool.map(partial(fetch, address), missing)
                fetched = track(fetched, f"fetching {address.at(None)}", len(missing))
                places.update(zip(missing, fetched, strict=True))
            except InputError as error:
                pool.shutdown(cancel_futures=True)
                left = [name for name in missing if cached(address, name) is None]
                finding = error.findings[0]
                if finding.code != _OFFLINE or not left:
                    raise
                raise InputError(_not_here(address, finding, f"missing: {enumerated(left, limit=4)}")) from None
    _verify(address, places)
    return [places[name] for name in names]


def fetch_places(places: Iterable[Path], track: TrackProgress) -> None:
    """Fetch the files that have places in the Hub's cache; other places are left alone. Raises InputError."""
    names: dict[HubAddress, list[str]] = {}
    for file in filter(None, map(snapshot_file, places)):
        names.setdefault(file.address, []).append(file.path)
    for address, paths in names.items():
        local_files(address, paths, track)


def no_such_file(file: HubFile, there: Listing) -> Finding:
    """Return the finding for a file that a repository does not have at a commit."""
    message = f"{file.address.at(None)} has no file '{file.path}'"
    at = f"at commit {(file.address.revision or '')[:12]}"
    if any(name.startswith(f"{file.path}/") for name in there.sizes):
        return Finding("E387", message, None, f"{at} this is a folder", f"write {file.path}/* for the files in it")
    folder, _, last = file.path.rpartition("/")
    near = (name for name in there.sizes if name.rpartition("/")[0] == folder or name.rpartition("/")[2] == last)
    names = sorted(islice(near, _NEAR))
    has = f"{at} it has {enumerated(names, limit=6)}" if names else f"{at} it has no file of this name"
    return Finding("E387", message, None, has, did_you_mean(file.path, names))


def _not_here(address: HubAddress, finding: Finding, missing: str) -> Finding:
    """Return the finding for files that are not on this machine and can't be fetched."""
    cure = "with a connection, `circuitlang lock SPEC` fetches all; HF_HOME names the cache that has them"
    reason = finding.label if finding.message.startswith(SCHEME) else finding.message
    return Finding("E388", f"{address} is not on this machine", None, f"{missing}; {reason}", cure)


def _verify(address: HubAddress, places: dict[str, Path]) -> None:
    """Compare files with their hashes. Raises InputError, and removes files that differ from the Hub's cache."""
    known = known_listing(address)
    if known is None:
        return
    key, begin = f"verified {address}", now()
    receipt = read_receipt(key, _Verified)
    earlier = receipt.files if receipt else {}
    states = {name: file_state(place) for name, place in places.items()}
    due = [name for name, state in states.items() if state is None or earlier.get(name) != state]
    with ThreadPoolExecutor(_THREADS) as pool:
        sound = pool.map(lambda name: _is_sound(places[name], known.sizes.get(name), known.hashes.get(name, "")), due)
        damaged = [name for name, is_sound in zip(due, sound, strict=True) if not is_sound]
    for name in damaged:
        for place in (places[name].resolve(), places[name]):
            with suppress(OSError):
                place.unlink()
    if damaged:
        label = f"what came is not what the Hub has: {enumerated(damaged, limit=4)}"
        cure = "it was removed from the cache; run again to fetch it anew"
        raise InputError(Finding("E389", f"files of {address} are damaged", None, label, cure))
    if due:
        new = {name: state for name in due if (state := file_state(places[name])) and settled(state, begin)}
        write_receipt(key, _Verified({**earlier, **new}))


def _is_sound(path: Path, size: int | None, expected: str) -> bool:
    """Return whether a file has the size and the hash that the Hub tells of it."""
    hashed = hashlib.sha256() if len(expected) == _SHA256 else hashlib.sha1(f"blob {size}\0".encode())
    read = 0
    for piece in _pieces(path):
        hashed.update(piece)
        read += len(piece)
    return read == size and hashed.hexdigest() == expected


def _pieces(path: Path) -> Iterator[bytes]:
    with suppress(OSError), path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
