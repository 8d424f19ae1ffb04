"""Which files and folders were written by circuitlang, and may be replaced by it: told by what is in them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from circuitlang.base.plain_files import open_plain, read_beginning, read_plain
from circuitlang.plan.yaml import PLAN_HEADER
from circuitlang.results.manifest import SUMS, written

TAKEN = "something else has this name already"
# The beginning of pages, and the ending of those that have no generator.
_PAGE = b'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
_GENERATOR = _PAGE + b'<meta name="generator" content="circuitlang">\n'
_POLICY = _PAGE + b'<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
_FOOTER = b"Written by circuitlang."
# The first and the last bytes of a Parquet file, what marks one of packed circuits, and the bytes at its end that have
# the marker.
PARQUET, PACKED_MARKER, _TAIL = b"PAR1", b"circuitlang.circuits", 1 << 18
# A file that every atlas has, and its beginning.
_ATLAS, _NETWORK = "data/network.js", b"window.NETWORK = "
_FILES = {
    "circuit.json", "circuit.safetensors", "comparison.json", "diagram.html", "diagram.svg", "edit.json",
    "embedding.svg", "metrics.json", "module.pt2", "report.html", "report.txt", "split.json", SUMS,
}  # fmt: skip


class _Sweeps(msgspec.Struct, forbid_unknown_fields=True):
    """As much of `sweep.json` as tells it from other files of its name."""

    version: int
    sweeps: list[_Swept]


class _Swept(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    statement: str
    axis: str
    features: list[str]
    missing: int
    curves: list[msgspec.Raw]


def _is_page(content: bytes) -> bool:
    return content.startswith(_GENERATOR) or (content.startswith(_POLICY) and _FOOTER in content)


def _is_plan(content: bytes) -> bool:
    return content.startswith(PLAN_HEADER.encode())


def _is_sweeps(content: bytes) -> bool:
    with suppress(ValueError):
        msgspec.json.decode(content, type=_Sweeps)
        return True
    return False


def is_lock(content: bytes) -> bool:
    """Return whether a file was a lock file, which may be damaged since."""
    return content.startswith(b"# What a spec stood on when it was locked.")


def _is_summary(content: bytes) -> bool:
    return content.startswith(b'{\n  "plan": {\n    "id": "')


def _is_comparison(content: bytes) -> bool:
    return content.startswith(b'{\n  "identity": "') and b'\n  "model": "' in content[:200]


# Files that a run writes beside the folders of its circuits, and how each is recognised.
RUN_FILES: Mapping[str, Callable[[bytes], bool]] = {
    "plan.yaml": _is_plan,
    "index.html": _is_page,
    "sweep.json": _is_sweeps,
}
# The file that a packed run has in place of the folders of its circuits.
PACKED = "circuits.parquet"
# Any one of these shows that a folder is a circuit's, a split's, a comparison's or an edit's, where it has no hashes.
_MARKS: Mapping[str, Callable[[bytes], bool]] = {
    "circuit.json": _is_summary,
    "split.json": _is_summary,
    "comparison.json": _is_comparison,
    "edit.json": _is_comparison,
}


def made(name: str) -> bool:
    """Return whether a file of this name in a folder of circuitlang was written by it."""
    # A comparison has a diagram for each of its pairs.
    return name in _FILES or (name.startswith("diagram") and name.endswith(".svg"))


def is_atlas(folder: Path) -> bool:
    """Return whether a folder has an atlas."""
    with suppress(OSError):
        return read_beginning(folder / _ATLAS, len(_NETWORK)) == _NETWORK
    return False


def is_packed(path: Path) -> bool:
    """Return whether a file has packed circuits, or is the rest of such a file. Raises OSError."""
    with open_plain(path) as file:
        beginning = file.read(12)
        if len(beginning) < 12:
            # A crash of the system may leave as little.
            return PARQUET.startswith(beginning[:4])
        if not beginning.startswith(PARQUET):
            return False
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _TAIL))
        tail = file.read(_TAIL)
    # A file without an end was cut off.
    return not tail.endswith(PARQUET) or PACKED_MARKER in tail


def refuse_packed(path: Path) -> None:
    """Raises OSError where a file of packed circuits can't take its place, as one of others is there."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(path.lstat().st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not is_packed(path):
            raise FileExistsError(errno.EEXIST, "a file that circuitlang did not write has this name")


def refuse_file(path: Path, known: Callable[[bytes], bool]) -> None:
    """Raises OSError where a file can't take its place, as one is there that isn't `known` by its content as ours."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(path.lstat().st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not _is(known, path):
            raise FileExistsError(errno.EEXIST, "a file that circuitlang did not write has this name")


def refuse_folder(folder: Path) -> None:
    """Raises OSError where something else than a circuit's, a split's or a comparison's folder has the name."""
    if os.path.lexists(folder) and not _is_ours(folder):
        raise FileExistsError(errno.EEXIST, TAKEN)


def _is_ours(folder: Path) -> bool:
    if folder.is_symlink():
        return False
    try:
        empty = not any(folder.iterdir())
    except NotADirectoryError:
        return False
    except FileNotFoundError:
        # Another run is putting its own there.
        return True
    return empty or bool(written(folder)) or any(_is(_MARKS[name], folder / name) for name in _MARKS)


def _is(known: Callable[[bytes], bool], path: Path) -> bool:
    with suppress(OSError):
        return known(read_plain(path))
    return False
