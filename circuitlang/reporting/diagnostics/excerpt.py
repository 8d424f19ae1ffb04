"""The lines a span is about, and where below them to put the carets."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len

from circuitlang.base.printable import visible
from circuitlang.base.source import Span

# Longer lines are cut around the span, a span of more lines in its middle.
_LONGEST = 100
_BEFORE = 40
_LINES = 4


@dataclass(frozen=True)
class Row:
    """A line as it is shown, with `carets` cells underlined from cell `indent` on."""

    number: int
    text: str
    indent: int
    carets: int


def excerpt(span: Span) -> list[Row | None]:
    """Return the lines of a span, None for lines that are left out; nothing for an empty text."""
    if not span.source.text:
        return []
    rows: list[Row | None] = list(_rows(span))
    return rows if len(rows) <= _LINES else [*rows[:2], None, *rows[-1:]]


def _rows(span: Span) -> Iterator[Row]:
    source = span.source
    end = max(span.start, span.start + len(span.text.rstrip("\n")))
    (first, start), (last, stop) = source.position(span.start), source.position(end)
    for number in range(first, last + 1):
        line = source.line(number)
        left = start - 1 if number == first else len(line) - len(line.lstrip())
        right = stop - 1 if number == last else len(line.rstrip())
        yield _row(number, line, left, right, first == last)


def _row(number: int, line: str, start: int, end: int, alone: bool) -> Row:
    """Return a line whose characters from `start` to `end` are marked."""
    # A mark stands on the letter before it.
    while 0 < start < len(line) and unicodedata.category(line[start]) in ("Mn", "Me"):
        start -= 1
    line, start, end = _shortened(line, start, end)
    shown, meant = visible(line), visible(line[start:end])
    return Row(number, shown, cell_len(visible(line[:start])), max(cell_len(meant), int(alone)))


def _shortened(line: str, start: int, end: int) -> tuple[str, int, int]:
    if len(line) <= _LONGEST:
        return line, start, end
    first = max(0, min(start - _BEFORE, len(line) - _LONGEST))
    part = line[first : first + _LONGEST]
    head, tail = "…" if first else "", "…" if first + _LONGEST < len(line) else ""
    shift = len(head) - first
    return f"{head}{part}{tail}", start + shift, min(end + shift, len(head) + len(part))
