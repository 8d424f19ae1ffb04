"""Terminal output of a run: results as they finish, then the overview of all circuits and the comparisons.

Reports are imported when one is printed, which `--quiet` does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from circuitlang.base.diagnostics import Finding, listing
from circuitlang.results.outcomes import CircuitOutcome, ComparisonStatus, EditStatus, SplitOutcome
from circuitlang.results.ownership import PACKED
from circuitlang.results.packed.files import is_packed_run
from circuitlang.results.run_listener import RunListener, RunStart
from circuitlang.results.sweep_grouping import sweeps

if TYPE_CHECKING:
    from circuitlang.cli.console import Display
    from circuitlang.plan.compiled import CompiledPlan
    from circuitlang.plan.model import Circuit
    from circuitlang.reporting.terminal.console import Console
    from circuitlang.results.edit import EditResult
    from circuitlang.results.types import Result, Summary

# The detail in which circuits are printed.
Detail = Literal["full", "short", "line"]
# A run of more circuits prints one line for each instead of its report.
REPORTS_AT_MOST = 12
_FINISHED_BEFORE = "finished before, and nothing has changed since"


class NotePrinter(RunListener):
    """Printer of the findings about a run that goes on."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def noted(self, finding: Finding) -> None:
        from circuitlang.reporting.diagnostics import render

        self._display.stderr.print(render([finding]), soft_wrap=True, highlight=False)


class RunReport(RunListener):
    """Report of a run on standard output, which grows as circuits finish and ends with the overview.

    Args:
        console: Console to print to; None if the report is left out.
        compiled: Plan of the run.
        in_full: Print the full report of every circuit, even if there are many.
    """

    def __init__(self, console: Console | None, compiled: CompiledPlan, in_full: bool = False) -> None:
        self._console, self._compiled = console, compiled
        self._detail = detail_of(len(compiled.plan.circuits), in_full)
        self._circuits: dict[str, list[Summary]] = {}
        self._comparisons: list[ComparisonStatus] = []
        self._edits: list[EditStatus] = []
        self._total: int | None = None
        # Circuits and splits of the plan that are not finished.
        self._open: set[str] = set()

    @property
    def summaries(self) -> list[Summary]:
        """The finished circuits, in the order of the plan."""
        return [summary for circuit in self._compiled.plan.circuits for summary in self._circuits.get(circuit.id, ())]

    def begun(self, run: RunStart) -> None:
        self._total, self._open = len(run.circuits), set(run.circuits)

    def finished(self, outcome: CircuitOutcome | SplitOutcome) -> None:
        if isinstance(outcome, CircuitOutcome):
            summary = outcome.result.summary
            self._circuits.setdefault(summary.asked_as, []).append(summary)
            self._open.discard(summary.plan.id)
        else:
            self._open.discard(outcome.result.split.plan.id)
        if self._console and isinstance(outcome, SplitOutcome):
            print_split(self._console, outcome)
        elif self._console and isinstance(outcome, CircuitOutcome):
            print_circuit(self._console, outcome, self._detail)

    def compared(self, status: ComparisonStatus) -> None:
        self._comparisons.append(status)

    def edited(self, status: EditStatus) -> None:
        self._edits.append(status)

    @property
    def edits(self) -> dict[str, EditResult]:
        """The edits that are finished, by name."""
        return {status.name: status.result for status in self._edits if status.result}

    def interrupted(self) -> str:
        """Say how many circuits are finished after an interrupt, and how to go on."""
        if self._total is None:
            return "nothing was computed yet"
        finished = self._total - len(self._open)
        return f"{finished} of {self._total} circuits are finished; the same command continues"

    def print_end(self, folder: Path) -> None:
        """Print the overview and the comparisons."""
        if self._console is None:
            return
        summaries = self.summaries
        if len(summaries) > 1:
            print_overview(self._console, self._compiled.plan.circuits, summaries)
            place = (
                f"packed in {folder / PACKED}" if is_packed_run(folder) else f"side by side in {folder / 'index.html'}"
            )
            self._console.print(place, soft_wrap=True, markup=False)
        print_comparisons(self._console, self._comparisons)
        print_edits(self._console, self._edits)


def detail_of(circuits: int, in_full: bool) -> Detail:
    """Return the detail in which so many circuits are printed."""
    return "full" if in_full else "short" if circuits <= REPORTS_AT_MOST else "line"


def print_circuit(console: Console, outcome: CircuitOutcome, detail: Detail) -> None:
    """Print the report of a finished circuit, or one line about it."""
    from circuitlang.reporting.terminal import circuit_report

    if detail == "line":
        console.print(circuit_report.brief(outcome.result.summary, outcome.cached))
    else:
        print_report(console, outcome.result, outcome.folder, detail)
    if outcome.damage:
        console.print(f"made again: {listing(outcome.damage)}", style="dim", soft_wrap=True, markup=False)
    if detail != "line":
        _end_report(console, outcome.cached)


def print_report(console: Console, result: Result, folder: Path, detail: Literal["full", "short"]) -> None:
    """Print the full or the short report of a circuit."""
    from circuitlang.reporting.terminal import circuit_report, short_report

    if detail == "full":
        console.print(circuit_report.render(result, folder))
    else:
        console.print(short_report.render(result.summary, folder))


def print_split(console: Console, outcome: SplitOutcome) -> None:
    """Print the report of a finished split."""
    from circuitlang.reporting.terminal import split_report

    console.print(split_report.render(outcome.result.split, outcome.folder))
    _end_report(console, outcome.cached)


def _end_report(console: Console, cached: bool) -> None:
    if cached:
        console.print(_FINISHED_BEFORE, style="dim")
    console.print()


def print_overview(console: Console, circuits: list[Circuit], summaries: list[Summary]) -> None:
    """Print one line for each circuit, of many sorted by fidelity, and the sweeps."""
    from circuitlang.reporting.terminal import circuit_report
    from circuitlang.reporting.terminal.sweep_report import sweep_report

    if len(summaries) > REPORTS_AT_MOST:
        console.print()
        summaries = sorted(summaries, key=_fidelity, reverse=True)
    console.print(circuit_report.overview(summaries))
    for sweep in sweeps(circuits, {summary.plan.id: summary for summary in summaries}):
        console.print(sweep_report(sweep))
        console.print()


def _fidelity(summary: Summary) -> float:
    value = summary.judged.metrics.get("pearson", 0.0)
    # A value that isn't a number has no order.
    return -math.inf if math.isnan(value) else value


def print_comparisons(console: Console, statuses: Sequence[ComparisonStatus]) -> None:
    """Print the comparisons that are finished, and the circuits that the others wait for."""
    from circuitlang.reporting.terminal import comparison_report

    for status in statuses:
        if status.comparison:
            console.print()
            console.print(comparison_report.render(status.comparison, status.folder))
        elif status.missing:
            text = f"compare {listing(status.circuits)} waits for {listing(status.missing)}"
            console.print(f"\n{text}", style="yellow", soft_wrap=True, markup=False)


def print_edits(console: Console, statuses: Sequence[EditStatus]) -> None:
    """Print the edits that are finished, and the circuits that the others wait for."""
    from circuitlang.reporting.terminal import edit_report

    for status in statuses:
        if status.result:
            console.print()
            console.print(edit_report.render(status.result, status.folder))
            if status.cached:
                console.print(_FINISHED_BEFORE, style="dim")
        elif status.missing:
            text = f"edit {status.name} waits for {status.missing}"
            console.print(f"\n{text}", style="yellow", soft_wrap=True, markup=False)
