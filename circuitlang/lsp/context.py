"""The statement before the cursor, as far as it is written: typing leaves it broken most of the time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from circuitlang.compiler.parser import STATEMENTS

_BEGINNING = re.compile(rf"^[ \t]*(?:{'|'.join(STATEMENTS)})\b", re.MULTILINE)
_SCAN = re.compile(r'(?P<string>"[^"\n]*"?)|(?P<comment>#[^\n]*)|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<end>[\n;])')


@dataclass(frozen=True)
class Context:
    """The statement before the cursor, as far as it is written.

    Attributes:
        head: The statement up to the cursor, on one line.
        string: The content so far of a string that the cursor is in, else None.
        comment: Position in a comment.
    """

    head: str
    string: str | None = None
    comment: bool = False

    def token(self, pattern: str) -> str:
        """Return the letters right before the cursor that match a set of characters."""
        match = re.search(f"{pattern}*$", self.head)
        return match[0] if match else ""


def context(text: str, offset: int) -> Context:
    """Return the context of a position in a text."""
    start = max((match.start() for match in _BEGINNING.finditer(text, 0, offset)), default=0)
    opened, string, comment = 0, None, False
    for match in _SCAN.finditer(text, start, offset):
        last = match.end() == offset
        if match["string"] and last and (len(match[0]) < 2 or match[0][-1] != '"'):
            string = match[0][1:]
        comment = match["comment"] is not None and last
        opened = max(opened + (match["open"] is not None) - (match["close"] is not None), 0)
        if match["end"] and not opened:
            start = match.end()
    head = re.sub(r'("[^"\n]*"?)|#[^\n]*|\n', lambda match: match[1] or " ", text[start:offset]).lstrip()
    return Context(head, string, comment)
