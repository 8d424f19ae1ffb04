"""Lists of what there is to write, for people as a table, for pipes a line to a row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rich.columns import Columns
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from circuitlang.plugins.registry import Declaration


@dataclass(frozen=True)
class Listing:
    """Rows of words below a header; columns of nothing but numbers stand to the right."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def render(self, terminal: bool) -> RenderableType:
        return self._table() if terminal else Text(self._lines())

    def _table(self) -> Table:
        table = Table(box=None, header_style="bold", padding=(0, 3, 0, 0))
        for word, right in zip(self.header, self._right, strict=True):
            table.add_column(word, justify="right" if right else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table

    def _lines(self) -> str:
        rows = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        aligned = [
            [
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(row, widths, self._right, strict=True)
            ]
            for row in rows
        ]
        return "\n".join("  ".join(row).rstrip() for row in aligned)

    @property
    def _right(self) -> list[bool]:
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(self.header)
        return [bool(column) and all(re.fullmatch(r"[\d,]+", cell) for cell in column) for column in columns]


def extensions(kind: str, declarations: Mapping[str, Declaration]) -> Listing:
    """List the extensions of one kind, with the first sentence and the parameters of each."""
    return Listing((kind, "parameters", "what it is"), [_row(each) for each in declarations.values()])


def columns(words: Sequence[str], terminal: bool) -> RenderableType:
    """Words side by side as a terminal has room, else one to a line."""
    return Columns(words, column_first=True, padding=(0, 3)) if terminal else Text("\n".join(words))


class LayerRow(Protocol):
    """A layer as a row of the table of layers; `inner` is the number of input channels of one output channel."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def out_channels(self) -> int: ...
    @property
    def in_channels_per_group(self) -> int: ...
    @property
    def size(self) -> tuple[int, int]: ...


def layers(found: Iterable[LayerRow]) -> Listing:
    """List the layers of a network, in execution order."""
    rows = [
        (
            layer.name,
            layer.path,
            layer.kind,
            f"{layer.out_channels:,}",
            f"{layer.out_channels * layer.in_channels_per_group:,}",
            "x".join(map(str, layer.size)),
        )
        for layer in found
    ]
    return Listing(("layer", "module", "kind", "channels", "kernels", "size"), rows)


def _row(about: Declaration) -> tuple[str, ...]:
    given = ", ".join(f"{each.name}={each.default}" for each in about.parameters)
    return about.name, given, re.split(r"(?<=\.)\s", about.summary)[0]
