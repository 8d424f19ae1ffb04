"""The report of a circuit as a run prints it: verdict, size, fidelity beside the baselines, and where to read on."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from functools import partial
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from circuitlang.reporting.terminal.circuit_report import claim, notes
from circuitlang.reporting.terminal.layout import ResponsiveTable, aligned
from circuitlang.reporting.text import circuit_sentences, concept_sentences
from circuitlang.results.types import Fidelity, Summary

# Metrics that a short report has; others only if the statement has a bound on them.
_METRICS = ("pearson", "error")
_DIAGRAMS = ("diagram.html", "diagram.svg")


def render(summary: Summary, folder: Path) -> RenderableType:
    """Render the short report of a circuit, whose files are in `folder`."""
    diagram = next((folder / name for name in _DIAGRAMS if (folder / name).is_file()), None)
    rows = {"kernels": circuit_sentences.counts(summary)}
    rows |= {f"on {name}": circuit_sentences.measured(fidelity) for name, fidelity in summary.also.items()}
    if probe := concept_sentences.row(summary):
        rows["probe"] = probe
    if diagram:
        rows["diagram"] = str(diagram)
    rows["more"] = f"circuitlang show --full {shlex.quote(str(folder))}"
    parts: list[RenderableType] = [claim(summary), *notes(summary), Text()]
    # The numbers of a constant feature mean nothing.
    if not summary.unheard:
        parts += [ResponsiveTable(partial(_table, summary), [*reversed(summary.baselines), "without"]), Text()]
    return Group(*parts, aligned(rows))


def _table(summary: Summary, without: Collection[str]) -> Table:
    """Return the table of fidelity: a row for each metric."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1), show_edge=False)
    table.add_column("fidelity", no_wrap=True)
    for title in ("held-out" if summary.test else "in-sample", "95%"):
        table.add_column(title, justify="right", no_wrap=True)
    others: dict[str, Fidelity] = {"contrast": summary.contrast} if summary.contrast else {}
    others |= {**summary.baselines, "without": summary.without}
    shown = {name: fidelity for name, fidelity in others.items() if name not in without}
    for title in shown:
        table.add_column(title, justify="right", style="dim", no_wrap=True)
    for name in _metrics(summary):
        value = Text(f"{summary.judged.metrics[name]:.3f}", "bold")
        interval = Text(circuit_sentences.interval(summary.judged.intervals.get(name)), "dim")
        table.add_row(name, value, interval, *(f"{fidelity.metrics[name]:.3f}" for fidelity in shown.values()))
    return table


def _metrics(summary: Summary) -> list[str]:
    names = (*_METRICS, *(bound.metric for bound in summary.plan.bounds))
    known = [name for name in dict.fromkeys(names) if name in summary.judged.metrics]
    return known or sorted(summary.judged.metrics)
