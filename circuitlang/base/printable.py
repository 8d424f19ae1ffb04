"""Text as a terminal, a page or a log can show it: nothing in it acts, nothing in it hides.

Whatever leaves the program for people passes through here at the place where it leaves: the consoles, the writers of
text, the templates of pages, the elements of a diagram.
"""

from __future__ import annotations

import re
import unicodedata

_TAB = "    "
# Letters of a message that are shown.
_LONGEST = 2000
# Characters that a text of several lines may keep: printable ones and line breaks. Most texts have no others.
_PLAIN = re.compile(r"[\n -~]*")


def visible(text: str) -> str:
    """The text with tabs as spaces, and with a sign for each character that would not be seen."""
    # No character that is printable to Python is hidden, and most texts have no other.
    return text if text.isprintable() else "".join(map(_seen, text))


def one_line(text: str) -> str:
    """A message without the line breaks that a quoted name may have, and without the rest of one that never ends."""
    if "\n" in text:
        text = " ".join(filter(None, (line.strip() for line in text.split("\n"))))
    return visible(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")


def lines(text: str) -> str:
    """The text with its line breaks, otherwise as `visible`."""
    if _PLAIN.fullmatch(text):
        return text
    return "\n".join(map(visible, text.split("\n")))


def is_hidden(character: str) -> bool:
    """Return whether a character is invisible or acts: controls, and marks of direction and width."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _seen(character: str) -> str:
    if character == "\t":
        return _TAB
    if not is_hidden(character):
        return character
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else f"<U+{code:04X}>"
