"""Receipts of image files: their hashes, and whether they can be prepared for a network, without reading them again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from circuitlang.base.checksummed import BLANK
from circuitlang.base.versions import version
from circuitlang.engine.cache.receipts import FileState, file_state, read_receipt, settled, write_receipt
from circuitlang.engine.cache.tensor_cache import engine_version
from circuitlang.engine.images.hashed_images import HashedImages


class _File(msgspec.Struct, frozen=True, array_like=True):
    """A file, and the hash of its content or, if it can't be an image, what is wrong with it."""

    path: str
    state: FileState
    digest: str
    problem: str


class _Record(msgspec.Struct, frozen=True):
    files: list[_File]
    sha256: str = BLANK


def remember_images(
    paths: Sequence[Path], prepared: str, images: HashedImages, problems: Sequence[str], begin: int
) -> None:
    """Note what was read of the files of a set, beginning at a time.

    `prepared` says how images are prepared, `images` are the readable ones, and `problems` are those of the others, in
    the order of the paths.
    """
    digests = dict(zip(images.paths, images.contents, strict=True))
    others = iter(problems)
    files = []
    for path in paths:
        content = digests.get(path, "")
        problem = "" if content else next(others)
        state = file_state(path)
        if state is not None and settled(state, begin):
            files.append(_File(_name(path), state, content, problem))
    if files:
        write_receipt(_key(paths, prepared), _Record(files))


def known_images(paths: Sequence[Path], prepared: str, skip_unreadable: bool) -> tuple[HashedImages, list[str]] | None:
    """Return the images of a set and the problems of those that are left out, as `image_set.load` would.

    None where a file is not known, or has changed since, or where `load` would raise.
    """
    record = read_receipt(_key(paths, prepared), _Record)
    known = {file.path: file for file in record.files} if record else {}
    good: list[Path] = []
    digests: list[str] = []
    problems: list[str] = []
    for path in paths:
        file = known.get(_name(path))
        if file is None or file_state(path) != file.state:
            return None
        if file.problem:
            problems.append(file.problem)
        else:
            good.append(path)
            digests.append(file.digest)
    if not good or (problems and not skip_unreadable):
        return None
    return HashedImages(tuple(good), tuple(digests)), problems


def _key(paths: Sequence[Path], prepared: str) -> str:
    """Return the key of a set. Relative paths begin in the current folder."""
    places = map(_name, (Path.cwd(), *paths))
    return "\n".join(("images", version("pillow"), engine_version(), prepared, *places))


def _name(path: Path) -> str:
    """Return a path as text, whatever bytes are in it."""
    return os.fsencode(path).decode("latin-1")
