"""An edit of the network, for the terminal: what becomes of the targets, and of the classes."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from circuitlang.reporting.terminal.layout import Claim, ResponsiveTable, empty_table, origin, section, separated
from circuitlang.reporting.text import edit_sentences
from circuitlang.results.edit import ClassTable, EditResult

# The frequent changes of the top class that are listed.
_MOVES = 5


def render(result: EditResult, folder: Path | None = None) -> RenderableType:
    """Render the report of an edit; `folder` is where its files are, if they were written."""
    first, *rest = edit_sentences.claims(result)
    text = Text(first, "bold")
    for line in rest:
        text.append(f"\n{line}", "")
    parts: list[RenderableType] = [Claim(text, f"edit {result.plan.name}")]
    if result.responses:
        parts.append(_responses(result))
    if result.classes is not None:
        parts.append(_classes(result, result.classes))
    parts.append(origin(result.plan.statement, {"network": result.model}, folder))
    return separated(parts)


def _responses(result: EditResult) -> RenderableType:
    metrics = edit_sentences.metrics(result)

    def table(spared: Collection[str]) -> Table:
        rows = empty_table()
        rows.add_column("target")
        for name in ("before", "after", "change", "95% interval"):
            if name not in spared:
                rows.add_column(name, justify="right", no_wrap=True)
        for name in metrics:
            if name not in spared:
                rows.add_column(name, justify="right", no_wrap=True)
        for response in result.responses:
            cells = {
                "before": f"{response.before:.4g}",
                "after": f"{response.after:.4g}",
                "change": edit_sentences.change(response),
                "95% interval": edit_sentences.change_interval(response),
                **{name: f"{response.fidelity.metrics[name]:.3f}" for name in metrics},
            }
            rows.add_row(response.target, *(cell for name, cell in cells.items() if name not in spared))
        return rows

    spared = [name for name in reversed(metrics) if name not in ("pearson", "r2")]
    own = ResponsiveTable(table, [*spared, "95% interval"])
    note = edit_sentences.patching(result)
    body = Group(own, Text(note, "dim")) if note else own
    return section("targets", edit_sentences.caption(result), body)


def _classes(result: EditResult, classes: ClassTable) -> RenderableType:
    table = empty_table()
    table.add_column("class")
    for name in ("output", "edited", "probability", "edited", "top", "edited"):
        table.add_column(name, justify="right", no_wrap=True)
    for changed in classes.changed:
        outputs = (f"{value:.3f}" for value in changed.output)
        shares = (f"{value:.1%}" for value in changed.probability)
        table.add_row(edit_sentences.named(changed), *outputs, *shares, *(f"{count:,}" for count in changed.top))
    parts: list[RenderableType] = [table]
    for top in classes.moves[:_MOVES]:
        number = f"{top.images:,} image{'' if top.images == 1 else 's'}"
        parts.append(Text.assemble(("top class  ", "dim"), edit_sentences.move(top), ("  " + number, "dim")))
    return section("classes", edit_sentences.classes_caption(result), Group(*parts))
