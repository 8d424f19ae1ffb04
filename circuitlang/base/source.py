"""Texts and positions in them, which every error refers to."""

from __future__ import annotations

import errno
import os
import re
import stat
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

# Bytes of the largest text that is read, and of the largest that circuitlang writes itself: a plan of as many circuits
# as a file may ask for.
LARGEST = 16 << 20
_WRITTEN = 64 << 20
_LINE_BREAK = re.compile("\n")
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class Source:
    """A text and the name a user knows it by; `folder` is what its relative paths are relative to."""

    name: str
    text: str = field(repr=False)
    folder: Path = field(default_factory=Path)

    @property
    def stem(self) -> str:
        """The name without folder and ending: what a run of this source is called, `inline` where it is no file."""
        return "inline" if self.name.startswith("<") else Path(self.name).stem.lstrip(".") or "inline"

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of a character, both from 1; an offset past the end is the end."""
        starts, offset = self._line_starts, min(offset, len(self.text))
        line = bisect_right(starts, offset)
        return line, offset - starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of line `number` (from 1) without its line break."""
        starts = self._line_starts
        end = starts[number] - 1 if number < len(starts) else len(self.text)
        return self.text[starts[number - 1] : end].rstrip("\r\n")

    def start(self, number: int) -> int:
        """Return the offset at which line `number` (from 1) begins; past the last line, that of the end."""
        return self._line_starts[number - 1] if number <= len(self._line_starts) else len(self.text)

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in _LINE_BREAK.finditer(self.text))]


class Span(NamedTuple):
    """Characters `start` to `end` (exclusive) of a source."""

    source: Source
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    @property
    def place(self) -> str:
        """`name:line:column`, as editors understand it."""
        line, column = self.source.position(self.start)
        return f"{self.source.name}:{line}:{column}"

    def to(self, other: Span) -> Span:
        """From the start of this span to the end of `other`."""
        return Span(self.source, self.start, max(self.end, other.end))


def read(path: Path) -> Source:
    """The source in a file. Raises OSError or UnicodeDecodeError as `read_bytes` and `decode` do.

    A link is followed to a file of the same ending only: findings quote lines, and a stranger's link must not choose
    whose.
    """
    ending = resolved(path).suffix
    if path.suffix != ending and path.is_symlink():
        raise OSError(errno.EINVAL, f"it is a link to a file that ends in {ending!r}, not in {path.suffix!r}")
    largest = _WRITTEN if path.suffix in (".yaml", ".yml", ".lock") else LARGEST
    return Source(str(path), decode(read_bytes(path, largest)), path.parent)


def read_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """The content of an ordinary file of at most `largest` bytes.

    Raises OSError, whose `strerror` says what is wrong, for everything else: pipes and devices may block or never end.
    """
    try:
        _ordinary(path.stat())
        # The file may have been replaced since: what is opened is looked at again, and opening never waits.
        with open(path, "rb", opener=_without_waiting) as file:
            _ordinary(os.fstat(file.fileno()))
            content = file.read(largest + 1)
    except ValueError as error:
        raise OSError(errno.EINVAL, _unfit(error)) from None
    if len(content) > largest:
        raise OSError(errno.EFBIG, f"it is larger than {largest / 1e6:,.0f} MB")
    return content


def _ordinary(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a file")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _unfit(error: ValueError) -> str:
    """Why a text can't be a path."""
    if isinstance(error, UnicodeEncodeError):
        return f"this locale's encoding, {error.encoding}, has no {error.object[error.start]!a}: set LC_ALL=C.UTF-8"
    return "a path can't contain the character U+0000"


def unfit(text: str) -> str:
    """Why a text can't be a path; empty where it can."""
    try:
        os.lstat(text)
    except ValueError as error:
        return _unfit(error)
    except OSError:
        pass
    return ""


def resolved(path: Path) -> Path:
    """The path without links and without `..`, as far as it exists; itself where it can't be one. Never raises."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError):
        return path


def decode(content: bytes) -> str:
    """UTF-8 as text: a byte order mark is dropped, lines end in a newline whatever they ended in."""
    return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
