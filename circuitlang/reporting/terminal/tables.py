"""Lists of what there is to write, for people as a table, for pipes a line to a row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

# Lists of models and layers need none of what reads results.
if TYPE_CHECKING:
    from circuitlang.plan.layers import NamedModule
    from circuitlang.plugins.registry import Declaration
    from circuitlang.results.run_folders import RunFolder


@dataclass(frozen=True)
class Listing:
    """Rows of words below a header; columns of nothing but numbers stand to the right, except the first."""

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
        columns = list(zip(*self.rows, strict=True)) if self.rows else [()] * len(self.header)
        numbers = [any(column) and all(re.fullmatch(r"[\d,]*", cell) for cell in column) for column in columns]
        return [False, *numbers[1:]]


def runs(folders: Iterable[RunFolder]) -> Listing:
    """List runs, with the circuits of their plans."""
    rows = [(run.folder.name, f"{run.finished:,}", f"{run.circuits:,}", str(run.folder)) for run in folders]
    return Listing(("run", "finished", "circuits", "folder"), rows)


def extensions(kind: str, declarations: Mapping[str, Declaration]) -> Listing:
    """List the extensions of one kind, with the first sentence and the parameters of each."""
    return Listing((kind, "parameters", "what it is"), [_row(declaration) for declaration in declarations.values()])


def columns(words: Sequence[str], terminal: bool) -> RenderableType:
    """Words side by side as a terminal has room, else one to a line."""
    return Columns(words, column_first=True, padding=(0, 3)) if terminal else Text("\n".join(words))


def layers(modules: Iterable[NamedModule]) -> Listing:
    """List the modules of a network, indented by their depth, with the outputs and kernels of each."""
    rows = [
        (
            "  " * module.path.count(".") + module.path,
            module.kind,
            module.layer,
            f"{module.shape[0]:,}" if module.shape else "",
            "x".join(map(str, module.shape[1:])),
            f"{module.kernels:,}" if module.kernels else "",
            "x".join(map(str, module.size)),
            f"no target: {module.refused}" if module.refused else module.stage,
        )
        for module in modules
    ]
    header = ("module", "class", "layer", "channels", "map", "kernels", "size", "activation")
    return Listing(header, rows)


def _row(about: Declaration) -> tuple[str, ...]:
    parameters = ", ".join(f"{parameter.name}={parameter.default}" for parameter in about.parameters)
    return about.name, parameters, re.split(r"(?<=\.)\s", about.summary)[0]
