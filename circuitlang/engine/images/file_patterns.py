"""Find the files of image sets. Nothing else turns patterns of the language into paths.

A pattern has three wildcards and no others: `*` and `?` stay within one name, `**` descends into folders. Brackets,
braces, `!` and `~` are letters. Files are told apart by where they lie and what they hold, never by how they are
written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

from circuitlang.base.diagnostics import Finding, InputError, did_you_mean, listing
from circuitlang.base.hub_address import is_on_hub
from circuitlang.base.source import resolved, unfit
from circuitlang.bundled.images import PATTERN as BUNDLED
from circuitlang.bundled.images import SETS, set_files
from circuitlang.engine.images.archive_patterns import ARCHIVES, inside_archive
from circuitlang.engine.images.folder_walk import is_folder, is_there, walk
from circuitlang.engine.images.list_files import ENDING as LIST
from circuitlang.engine.images.list_files import listed
from circuitlang.engine.images.wildcards import is_wild
from circuitlang.plan.model import MEMORY, Images
from circuitlang.plugins.progress import TrackProgress, no_progress

_RELATIVE = "paths are relative to the spec's folder"
# Words that other languages have for what this one doesn't.
_LETTERS = {
    "~": "'~' is a letter here: write the folder in full",
    "[": "brackets are letters here: the wildcards are *, ? and **",
    "{": "braces are letters here: list several patterns in brackets",
}


def find(images: Images, folder: Path, track: TrackProgress = no_progress) -> list[Path]:
    """Return the files of a set, by pattern in the order they are listed, bytewise sorted within each; each file once.

    Fetching files from the Hub is tracked. Raises InputError for a pattern that nothing matches, naming the part of it
    that isn't there, and for exceptions that take nothing away.
    """
    files: dict[Path, Path] = {}
    # A limit draws files on the Hub before they are fetched, unless contents have to be compared.
    later = images.limit is not None and not images.exclude and bool(images.addresses)
    for pattern in images.include:
        for place, path in _places(pattern, folder, None if later else track):
            files.setdefault(place, path)
    taken = {place for patterns in images.exceptions for place in _taken(files, patterns, folder, track)}
    paths = [path for place, path in files.items() if place not in taken]
    if not paths:
        raise InputError(Finding("E301", "no images are left", None, "'except' takes away all of them"))
    if images.limit is not None and images.limit < len(paths):
        chosen = sorted(Random(images.seed).sample(range(len(paths)), images.limit))
        paths = [paths[index] for index in chosen]
    if later:
        from circuitlang.engine.cache.hub_snapshots import fetch_places

        fetch_places(paths, track)
    return paths


def _places(pattern: str, folder: Path, track: TrackProgress | None) -> Iterator[tuple[Path, Path]]:
    """Yield each path of a pattern with the file that it leads to; a folder is resolved once for all files in it."""
    folders: dict[Path, Path] = {}
    for path in matches(pattern, folder, track):
        if is_on_hub(pattern):
            # In the Hub's cache, files of the same content are links to one file.
            yield path, path
            continue
        folder = folders.get(path.parent) or folders.setdefault(path.parent, resolved(path.parent))
        yield resolved(path) if path.is_symlink() or path.name == ".." else folder / path.name, path


def matches(pattern: str, folder: Path, track: TrackProgress | None = no_progress) -> list[Path]:
    """Return the files that a pattern names, bytewise sorted. Raises InputError if there is none.

    Images on the Hub are fetched, but for `track` None.

    `*` and `?` match no dot at the beginning of a name, `**` visits no hidden folder. Whatever is no folder is taken
    to be a file, so that a broken link is an image that can't be read, not one that is missing in silence.
    """
    if pattern.startswith(MEMORY):
        raise not_held(pattern)
    if pattern.startswith(BUNDLED):
        return _bundled(pattern)
    if is_on_hub(pattern):
        from circuitlang.engine.images.hub_patterns import matches_on_hub

        return matches_on_hub(pattern, track)
    if problem := unfit(pattern):
        raise InputError(Finding("E302", f"{pattern!a} can't be a path", None, problem))
    parts = tuple(part for part in pattern.split("/") if part not in ("", "."))
    start = Path("/") if pattern.startswith("/") else folder
    if (place := _file_of_files(start, parts)) is not None and not pattern.endswith("/"):
        if place.name.lower().endswith(LIST):
            return listed(place)
        return inside_archive(pattern, place, parts[len(place.relative_to(start).parts) :])
    paths = set() if pattern.endswith("/") or not parts else set(walk(start, parts))
    if not paths:
        raise InputError(_no_match(pattern, parts, start))
    return sorted(paths, key=bytes)


def _bundled(pattern: str) -> list[Path]:
    """Return the drawings of a bundled set. Raises InputError if there is none of that name."""
    name = pattern.removeprefix(BUNDLED)
    if name not in SETS:
        label, cure = f"there are {listing(SETS, limit=len(SETS))}", did_you_mean(name, SETS)
        raise InputError(Finding("E302", f"there are no bundled images '{name}'", None, label, cure))
    return set_files(name)


def not_held(pattern: str) -> InputError:
    """Return the error for a set of a plan whose images were objects of a Python program."""
    name = pattern.removeprefix(MEMORY)
    cure = f'run it from Python, as circuitlang.run("plan.yaml", images={{"{name}": ...}})'
    message = f"the images '{name}' are not in memory"
    return InputError(Finding("E316", message, None, "they were given by Python", cure))


def _file_of_files(start: Path, parts: tuple[str, ...]) -> Path | None:
    """Return the archive that a pattern names or leads into, or the list that it names; None for other patterns."""
    for count, part in enumerate(parts, 1):
        if is_wild(part):
            return None
        is_list = count == len(parts) and part.lower().endswith(LIST)
        path = start.joinpath(*parts[:count])
        if (is_list or part.lower().endswith(ARCHIVES)) and is_there(path) and not is_folder(path):
            return path
    return None


def _no_match(pattern: str, parts: tuple[str, ...], start: Path) -> Finding:
    """Return the finding that explains why a pattern names no file."""
    cure = next((cure for letter, cure in _LETTERS.items() if letter in pattern), "")
    wild = next((number for number, part in enumerate(parts) if is_wild(part)), len(parts))
    fixed = start.joinpath(*parts[:wild])
    if not is_there(fixed):
        there, missing = fixed, fixed
        while not is_there(there) and there != there.parent:
            there, missing = there.parent, there
        named = str(Path(*parts[:wild])) if start != Path("/") else str(fixed)
        label = f"there is no '{missing.name}' in {resolved(there)}"
        return Finding("E302", f"'{named}' does not exist", None, label, cure or _RELATIVE)
    if wild == len(parts):
        return Finding(
            "E301", f"'{pattern}' is a folder", None, "", f"write {pattern.rstrip('/') or '.'}/* for its images"
        )
    label = f"{resolved(fixed)} has no such file"
    if pattern.endswith("/"):
        label, cure = "it ends in '/', and folders are no images", f"write {pattern}* for the images in them"
    return Finding("E301", f"nothing matches '{pattern}'", None, label, cure)


def _taken(files: dict[Path, Path], patterns: list[str], folder: Path, track: TrackProgress) -> list[Path]:
    """Return the files of a set that patterns name, themselves or by a copy. Raises InputError if there is none."""
    named = {place for pattern in patterns for place, _ in _places(pattern, folder, track)}
    copies = _Copies(named)
    taken = [place for place in files if place in named or copies.has(place)]
    if not taken:
        label = f"{len(named):,} file{' is' if len(named) == 1 else 's are'} named, none of which is in the set"
        message = f"'except {listing(patterns)}' takes nothing away"
        raise InputError(Finding("E301", message, None, label, "mend the pattern, or leave it out"))
    return taken


class _Copies:
    """Files to find copies of. Only files of the same size are read."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._by_size: dict[int, list[Path]] = {}
        self._contents: dict[Path, str] = {}
        for path in paths:
            self._by_size.setdefault(_size(path), []).append(path)

    def has(self, path: Path) -> bool:
        """Return whether a file is a copy of one of them; an unreadable file is not."""
        others = self._by_size.get(_size(path), ())
        return any(self._content(path) == self._content(other) != "" for other in others)

    def _content(self, path: Path) -> str:
        if path not in self._contents:
            self._contents[path] = _digest(path)
        return self._contents[path]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _digest(path: Path) -> str:
    """Return a hash of an ordinary file; empty if it can't be read."""
    hashed = hashlib.sha256()
    if not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                hashed.update(piece)
    except OSError:
        return ""
    return hashed.hexdigest()
