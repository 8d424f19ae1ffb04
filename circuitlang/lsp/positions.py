"""Places in a text as editors count them: lines and UTF-16 code units from 0."""

from __future__ import annotations

from lsprotocol import types

from circuitlang.base.source import Source, Span


def position(source: Source, offset: int) -> types.Position:
    """Return the line and the column of a character."""
    line, column = source.position(offset)
    before = source.text[offset - column + 1 : offset] if offset <= len(source.text) else source.line(line)
    return types.Position(line - 1, units(before))


def offset(source: Source, place: types.Position) -> int:
    """Return the character at a place; past the end of a line its end, past the last line the end of the text.

    A place between the two halves of a surrogate pair is the character that they make.
    """
    start = source.start(place.line + 1)
    line = source.line(place.line + 1) if start < len(source.text) else ""
    if line.isascii():
        return start + min(max(place.character, 0), len(line))
    column = left = 0
    for letter in line:
        left += units(letter)
        if left > place.character:
            break
        column += 1
    return start + column


def span_range(span: Span) -> types.Range:
    """Return the range of a span."""
    return types.Range(position(span.source, span.start), position(span.source, span.end))


def units(text: str) -> int:
    """Return the length of a text in UTF-16 code units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
