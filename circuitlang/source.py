"""Where a piece of text came from: the ground every error stands on."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple


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
        starts = [*self._line_starts, len(self.text) + 1]
        return self.text[starts[number - 1] : starts[number] - 1].rstrip("\r\n")

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(i + 1 for i, character in enumerate(self.text) if character == "\n")]


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
    """The source in a file. Raises OSError or UnicodeDecodeError as `Path.read_bytes` and `decode` do."""
    return Source(str(path), decode(path.read_bytes()), path.parent)


def decode(content: bytes) -> str:
    """UTF-8 as text: a byte order mark is dropped, lines end in a newline whatever they ended in."""
    return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
