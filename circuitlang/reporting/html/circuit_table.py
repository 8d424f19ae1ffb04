"""The table of a run's circuits. Its first rows are HTML; the others of a long table are data, from which the page
makes rows as they are asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

import msgspec

from circuitlang.base.printable import lines
from circuitlang.plan.clauses import PRESERVE
from circuitlang.plan.model import Circuit
from circuitlang.plugins.protocols import METRICS
from circuitlang.reporting.diagram.svg import FORBIDDEN
from circuitlang.reporting.text import circuit_sentences, verdict_sentences
from circuitlang.reporting.text.extension_calls import without_defaults
from circuitlang.results.labelling import target_label
from circuitlang.results.types import Summary

# Rows that are shown at first, and more at a time.
STEP = 200
# The values with a column of their own if circuits differ in them.
COLUMNS = ("target", *(clause.name for clause in PRESERVE.values() if clause.column))
Format = Literal["words", "count", "percent", "fixed"]
Value = str | float | None


@dataclass(frozen=True)
class Column:
    """A column: its title, the format of its values, the order that a first click sorts by, and its style."""

    title: str
    format: Format
    descending: bool = True
    style: str = ""

    @property
    def cell(self) -> str:
        """The style of its cells."""
        return "words" if self.format == "words" else f"n {self.style}".strip()

    def text(self, value: Value) -> str:
        """Return a value as it is shown."""
        if value is None or isinstance(value, str):
            return "–" if value is None else value
        return {"count": f"{value:,}", "percent": f"{value:.1%}"}.get(self.format, f"{value:.3f}")


@dataclass(frozen=True)
class ListedCircuit:
    """A circuit of the table.

    Attributes:
        summary: Its summary, None if it is not finished.
        labels: The labels of channels.
        thumbnail: Data URI of its thumbnail.
        run: The folder of its run as a link from the page; empty where the page is in it.
        values: Values that stand before those of the circuit.
    """

    circuit: Circuit
    summary: Summary | None
    labels: Mapping[tuple[str, int], str]
    thumbnail: str = ""
    run: str = ""
    values: Sequence[str] = ()


@dataclass(frozen=True)
class Row:
    """A circuit: values by column, links to its pages, and what stands beside its name. `diagram` is the file of the
    drawing, empty where there is none, and `run` the folder of its run, empty where the page is in it."""

    id: str
    values: Sequence[Value]
    report: bool = False
    diagram: str = ""
    called: str = ""
    remark: str = ""
    thumbnail: str = ""
    run: str = ""

    @property
    def folder(self) -> str:
        """Its folder as a link."""
        return f"{self.run}/{quote(self.id, safe='')}" if self.run else quote(self.id, safe="")


@dataclass(frozen=True)
class CircuitTable:
    """The columns beside that of names, and the rows in the order of the plan."""

    columns: Sequence[Column]
    rows: Sequence[Row]

    @property
    def first(self) -> Sequence[Row]:
        """The rows that are HTML."""
        return self.rows[:STEP]

    @property
    def data(self) -> str:
        """The other rows as JSON that no name in it can end; empty where there are none."""
        if len(self.rows) <= STEP:
            return ""
        rows = [
            [row.id, row.values, int(row.report), row.diagram, row.called, row.remark, row.thumbnail, row.run]
            for row in self.rows[STEP:]
        ]
        text = FORBIDDEN.sub("\ufffd", msgspec.json.encode(rows).decode())
        return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def circuit_table(
    rows: Sequence[ListedCircuit], differs: Sequence[str], metric: str, titles: Sequence[str] = ()
) -> CircuitTable:
    """Return the table of circuits, finished or not.

    Args:
        rows: The circuits in order.
        differs: The fields of circuits that have a column.
        metric: The metric that stands out.
        titles: The columns of the values that stand before those of the circuits.
    """
    names = list(dict.fromkeys(name for row in rows if row.summary for name in row.summary.train.metrics))
    lower = {name for name in names if name in METRICS.declarations and "lower" in METRICS.declarations[name].options}
    columns = [Column("verdict", "words", False), *(Column(word, "words", False) for word in (*titles, *differs))]
    columns += [Column("kept", "count"), Column("share", "percent")]
    columns += [Column(name, "fixed", name not in lower, "main" if name == metric else "") for name in names]
    columns += [Column("random", "fixed", style="quiet"), Column("necessity", "fixed", style="quiet")]
    table = []
    for listed in rows:
        circuit, summary = listed.circuit, listed.summary
        words: list[Value] = [lines(value) for value in listed.values]
        words += [lines(str(without_defaults(getattr(circuit, word)))) for word in differs]
        if summary is None:
            table.append(Row(circuit.id, ["not finished", *words, *([None] * (4 + len(names)))], run=listed.run))
            continue
        values = [verdict_sentences.title(summary), *words, *_numbers(summary, names, metric)]
        diagram = next((file for name, file in _DIAGRAMS.items() if summary.has(name)), "")
        remark, called = circuit_sentences.circumstances(summary), target_label(summary, listed.labels)
        report = summary.has("page")
        table.append(Row(circuit.id, values, report, diagram, called, remark, listed.thumbnail, listed.run))
    return CircuitTable(columns, table)


_DIAGRAMS = {"diagram_html": "diagram.html", "diagram": "diagram.svg"}


def _numbers(summary: Summary, names: Sequence[str], metric: str) -> list[Value]:
    random = summary.baselines["random"].metrics.get(metric) if "random" in summary.baselines else None
    # A feature that is constant has no fidelity to sort by.
    metrics = [None if summary.unheard else summary.judged.metrics.get(name) for name in names]
    share = summary.kept / summary.relevant if summary.relevant else 0.0
    return [summary.kept, *(_short(value) for value in (share, *metrics, random, summary.without.metrics["error"]))]


def _short(value: float | None) -> float | None:
    """Return a number as `metrics.json` has it; None for what is no number."""
    return None if value is None or not math.isfinite(value) else round(value, 6)
