"""Text as it is within Markdown."""

from __future__ import annotations

import html
import re


def escaped(text: str) -> str:
    """Return text of a line that Markdown shows as it is."""
    plain = html.escape("".join(character if character.isprintable() else " " for character in text), quote=False)
    return re.sub(r"([\\`*_\[\]|~#$])", r"\\\1", plain)
