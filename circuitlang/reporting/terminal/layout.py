"""Building blocks of reports in the terminal: sections, tables, provenance."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from circuitlang.base.diagnostics import listing
from circuitlang.reporting.terminal.console import UNLIMITED

# Columns of a box in output without an edge.
_BOX = 100


@dataclass(frozen=True)
class Claim:
    """The text that opens a report, in a box with a title."""

    text: Text
    title: str

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        # Output that is no terminal has no edge to extend to.
        width = _BOX if options.max_width >= UNLIMITED else None
        yield Panel(
            self.text,
            title=self.title,
            title_align="left",
            box=box.ROUNDED,
            border_style="dim",
            padding=(0, 1),
            width=width,
        )


def separated(parts: Sequence[RenderableType]) -> RenderableType:
    """Put parts below one another, with an empty line between two."""
    first, *others = parts
    return Group(first, *(line for part in others for line in (Text(), part)))


def section(title: str, caption: str, body: RenderableType) -> RenderableType:
    """Put a body below its title and a description on the same line."""
    return Group(Text.assemble((title, "bold"), ("  " + caption, "dim")), body)


def empty_table() -> Table:
    """Return an empty table with a line below its head."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False)


@dataclass(frozen=True)
class ResponsiveTable:
    """A table that does without columns where there is no room for all of them, rather than cut their numbers.

    `table` makes it without some of `spared`, of which the first go first; what is left out is said below it.
    """

    table: Callable[[Collection[str]], Table]
    spared: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number in range(len(self.spared) + 1):
            table = self.table(self.spared[:number])
            if Measurement.get(console, options.update(max_width=UNLIMITED), table).maximum <= options.max_width:
                break
        yield table
        if number:
            yield Text(f"{listing(self.spared[:number])}: in a wider terminal, and on the page", "dim")


def aligned(rows: Mapping[str, str]) -> Table:
    """Put texts below one another, each beside its label."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in rows.items():
        grid.add_row(label, Text(text))
    return grid


def origin(statement: str, says: Mapping[str, str], folder: Path | None) -> Table:
    """List the statement of a result, its provenance, and its files where they were written."""
    spec = {"spec": " ".join(statement.split())} if statement else {}
    grid = aligned({**spec, **says})
    if folder is not None:
        grid.add_row("files", Text(f"{folder}/", "bold"))
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        grid.add_row("", "  ".join(names))
    return grid
