"""Spec and plan files: the files that paths name, and their text."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.base.source import LARGEST, Source, Span, decode, read

STDIN = Path("-")
# The ending of files that have the labels of the spec beside them.
LABELS = ".labels"


def spec_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files that paths name, each once: files as they are, folders as all `.circuit` files below them.

    Hidden files and folders are left out.
    """
    files: dict[Path, None] = {}
    for path in paths:
        below = path.rglob("*.circuit") if is_folder(path) else ()
        visible = [file for file in below if not any(part.startswith(".") for part in file.relative_to(path).parts)]
        # A folder without specs is kept, for `open_source` to reject.
        files.update(dict.fromkeys(sorted(visible, key=bytes) or [path]))
    return list(files)


def open_source(path: Path) -> Source:
    """Read a spec or plan file, or standard input for `-`. Raises InputError if it can't be read."""
    place = Span(Source(str(path), ""), 0, 0)
    try:
        return _read_stdin() if path == STDIN else read(path)
    except UnicodeDecodeError as error:
        message = f"{path} is not text: byte {error.start} is not UTF-8"
        raise InputError(Finding("E310", message, place)) from None
    except OSError as error:
        name = "standard input" if path == STDIN else str(path)
        cure = f"give a file in it, as {path / 'NAME.circuit'}" if is_folder(path) else ""
        raise InputError(Finding("E310", f"can't read {name}", place, error.strerror or str(error), cure)) from None


def open_included(path: Path) -> Source:
    """Read a spec that another one includes, or a file of labels.

    Only files named `.circuit` and `.labels` are read: findings quote lines, and a spec must not disclose those of
    other files. Raises InputError if the file can't be read or has another name.
    """
    if path.suffix in (".circuit", LABELS):
        return open_source(path)
    place, cure = Span(Source(str(path), ""), 0, 0), "included files end in .circuit"
    raise InputError(Finding("E310", f"{path} is not a spec", place, "", cure))


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; one that can't be looked up is none."""
    with suppress(OSError, ValueError):
        return path.is_dir()
    return False


def is_file(path: Path) -> bool:
    """Return whether a path is a file; one that can't be looked up is none."""
    with suppress(OSError, ValueError):
        return path.is_file()
    return False


def _read_stdin() -> Source:
    # It is None if it was closed before Python started.
    if sys.stdin is None:
        raise OSError(errno.EBADF, "it is closed")
    content = sys.stdin.buffer.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise OSError(errno.EFBIG, f"it is larger than {LARGEST / 1e6:,.0f} MB")
    return Source("<stdin>", decode(content))
