"""What reports in the terminal are made of: sections, tables, and where something came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def section(title: str, caption: str, body: RenderableType) -> RenderableType:
    """A body below its title and, on the same line, what it is."""
    return Group(Text.assemble((title, "bold"), ("  " + caption, "dim")), body)


def empty_table() -> Table:
    """An empty table with a line below its head."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False)


def origin(statement: str, says: Mapping[str, str], folder: Path | None) -> Table:
    """The words that asked for a result, where it came from, and its files where they were written."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    if statement:
        grid.add_row("spec", Text(" ".join(statement.split())))
    for word, told in says.items():
        grid.add_row(word, told)
    if folder is not None:
        grid.add_row("files", Text(f"{folder}/", "bold"))
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        grid.add_row("", "  ".join(names))
    return grid
