"""Reasons of errors that a user's own code raised, with the line that raised them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from traceback import extract_tb

_HERE = Path(__file__).parents[1]


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, and the line of the user's own code that raised it."""
    frames = [frame for frame in extract_tb(error.__traceback__) if not _is_foreign(Path(frame.filename))]
    first = _first_line(error)
    if not frames or not frames[-1].line:
        return first
    return f"{first} (line {frames[-1].lineno} of {Path(frames[-1].filename).name}: `{frames[-1].line}`)"


def _is_foreign(file: Path) -> bool:
    """Return whether a file is not the user's own, but a package's or none."""
    return file.name.startswith("<") or "site-packages" in file.parts or _HERE in file.parents


def _first_line(error: BaseException) -> str:
    return next(iter(_lines(error)), type(error).__name__)


def _lines(error: BaseException) -> Iterator[str]:
    return filter(None, map(str.strip, str(error).split("\n")))
