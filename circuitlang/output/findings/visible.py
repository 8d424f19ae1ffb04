"""Text as a terminal can show it: nothing in it acts, nothing in it hides."""

from __future__ import annotations

import re
import unicodedata

_TAB = "    "


def visible(text: str) -> str:
    """The text with tabs as spaces, and with a sign for each character that would not be seen."""
    return "".join(map(_seen, text))


def one_line(text: str) -> str:
    """A message without the line breaks that a quoted name may have."""
    return visible(re.sub(r"\s*\n\s*", " ", text))


def _seen(character: str) -> str:
    if character == "\t":
        return _TAB
    match unicodedata.category(character):
        case "Cc" if ord(character) < 0x20:
            return chr(0x2400 + ord(character))
        # Controls, marks of direction and width, and bytes that are not UTF-8.
        case "Cc" | "Cf" | "Cs" | "Zl" | "Zp":
            return f"<U+{ord(character):04X}>"
    return character
