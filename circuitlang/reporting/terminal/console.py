"""Output to terminals and text files. No character from a file acts there, and none hides."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from rich.console import Console as RichConsole
from rich.console import ConsoleDimensions, ConsoleOptions, RenderableType
from rich.segment import Segment

from circuitlang.base.printable import is_hidden, lines

# Columns of output that has no edge: lines are not cut, and no column is left out.
UNLIMITED = 10_000
# Columns of a report in a file.
_WIDTH = 100


class Console(RichConsole):
    """A console that shows what is in a text; colours and cursor movements are its own alone."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, **options)

    def widen(self) -> None:
        """Take away the right edge, so that no line is cut."""
        # Rich ignores a width without a height where the kind of terminal is unknown.
        self.size = ConsoleDimensions(UNLIMITED, self.height)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Return the segments of a renderable, with control characters made visible."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else lines(segment.text)
            # Parts of parts come here again and again, and most have nothing to be made visible.
            yield segment if text is segment.text else Segment(text, segment.style)


def as_text(renderable: RenderableType) -> bytes:
    """Render for a text file."""
    file = io.StringIO()
    Console(file=file, width=_WIDTH, color_system=None, force_terminal=False).print(renderable)
    # Not `splitlines`, for which more than line feeds end a line.
    printed = (line.rstrip() for line in file.getvalue().removesuffix("\n").split("\n"))
    return ("\n".join(printed) + "\n").encode(errors="backslashreplace")


def json_text(text: str) -> str:
    """JSON that says the same, with what can't be seen written by its number."""
    return "".join(
        _escaped(character) if character != "\n" and is_hidden(character) else character for character in text
    )


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
