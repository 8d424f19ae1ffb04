"""Image sets that a text file lists: a path to a line, relative to the file's folder."""

from __future__ import annotations

from pathlib import Path

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.base.source import read_bytes

ENDING = ".txt"
_LARGEST = 1 << 26


def listed(path: Path) -> list[Path]:
    """Return the files that a list names, in its order.

    Raises InputError for a list that can't be read or names a file that is not there.
    """
    files = []
    for number, words in lines(path):
        file = path.parent / words
        if "\0" in words or not _is_file(file):
            cure = "each line is a path relative to the list's folder"
            raise InputError(Finding("E302", f"line {number} of {path.name} names no file", None, "", cure))
        files.append(file)
    return files


def lines(path: Path) -> list[tuple[int, str]]:
    """Return the paths that a list has, with the numbers of their lines.

    Empty lines and those that begin with # are left out. Raises InputError for a list that can't be read or has none.
    No line is quoted: a spec must not disclose the text of other files.
    """
    try:
        content = read_bytes(path, _LARGEST).decode().splitlines()
    except (OSError, ValueError) as error:
        label = error.strerror if isinstance(error, OSError) and error.strerror else "it is no text in UTF-8"
        raise InputError(Finding("E303", f"{path.name} can't be read", None, label)) from None
    words = ((number, line.strip()) for number, line in enumerate(content, 1))
    entries = [(number, line) for number, line in words if line and not line.startswith("#")]
    if not entries:
        raise InputError(Finding("E301", f"{path.name} lists no files"))
    return entries


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
