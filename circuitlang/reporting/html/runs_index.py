"""The circuits of several runs side by side, as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from circuitlang.base.printable import lines
from circuitlang.plan.labels import Labels
from circuitlang.plan.model import Plan
from circuitlang.reporting.html.circuit_table import COLUMNS, STEP, ListedCircuit, circuit_table
from circuitlang.reporting.html.pages import render
from circuitlang.reporting.html.run_index import rows_of
from circuitlang.reporting.text import verdict_sentences
from circuitlang.results.split import Split
from circuitlang.results.types import Summary

# The mark of the page, by which others of its name are known.
MARK = '<meta name="generator" content="circuitlang index">'


@dataclass(frozen=True)
class ListedRun:
    """A run with its results.

    Attributes:
        place: Path of its folder from that of the page, with slashes; its name on the page.
        finished: Summaries of finished circuits by id.
        splits: Splits by id.
        thumbnails: Data URIs of thumbnails by circuit.
        comparisons: Number of comparisons.
        page: Whether the run has an index of its own.
    """

    place: str
    plan: Plan
    finished: Mapping[str, Summary]
    splits: Mapping[str, Split]
    thumbnails: Mapping[str, str]
    comparisons: int
    page: bool

    @property
    def address(self) -> str:
        """Its folder, as a link from the page."""
        return quote(self.place)

    @property
    def verdicts(self) -> list[tuple[str, int]]:
        """The verdicts of its circuits, the most frequent first."""
        return Counter(map(verdict_sentences.title, self.finished.values())).most_common()


def runs_index(name: str, runs: Sequence[ListedRun]) -> bytes:
    """Return the page of runs in the folder `name`: the runs, and one table of the circuits of all."""
    # A column that says the same of every circuit says nothing.
    titles = ["run", "model"] if len({run.plan.model.name for run in runs}) > 1 else ["run"]
    rows: list[ListedCircuit] = []
    for run in runs:
        labels, values = (run.plan.labels or Labels()).texts(), (run.place, run.plan.model.name)[: len(titles)]
        rows += [
            ListedCircuit(circuit, summary, labels, run.thumbnails.get(circuit.id, ""), run.address, values)
            for circuit, summary in rows_of(run.plan, run.finished, run.splits)
        ]
    summaries = [row.summary for row in rows if row.summary]
    metrics = {name: None for summary in summaries for name in summary.train.metrics}
    metric = "pearson" if "pearson" in metrics or not metrics else next(iter(metrics))
    circuits = [row.circuit for row in rows]
    differs = [word for word in COLUMNS if len({str(getattr(circuit, word)) for circuit in circuits}) > 1]
    return render(
        "runs.html",
        name=lines(name),
        runs=runs,
        table=circuit_table(rows, differs, metric, titles),
        step=STEP,
        counts=Counter(map(verdict_sentences.title, summaries)).most_common(),
        done=len(summaries),
        metric=metric,
        held_out=all(summary.test for summary in summaries),
    )
