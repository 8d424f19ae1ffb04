"""Terminal output of a run: results as they finish, then the overview of all circuits and the comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from circuitlang.base.diagnostics import listing
from circuitlang.reporting.terminal import circuit_report, comparison_report, split_report
from circuitlang.reporting.terminal.sweep_report import sweep_report
from circuitlang.results.sweep_grouping import sweeps

if TYPE_CHECKING:
    from circuitlang.engine.runtime.comparisons import ComparisonStatus
    from circuitlang.engine.runtime.runner import CircuitOutcome, SplitOutcome
    from circuitlang.plan.model import Circuit
    from circuitlang.reporting.terminal.console import Console
    from circuitlang.results.types import Summary

# A run of more circuits prints one line for each instead of its report.
REPORTS_AT_MOST = 12
_FINISHED_BEFORE = "finished before, and nothing has changed since"


def print_circuit(console: Console, outcome: CircuitOutcome, in_full: bool) -> None:
    """Print the report of a finished circuit, or one line about it."""
    if in_full:
        console.print(circuit_report.render(outcome.result, outcome.folder))
    else:
        console.print(circuit_report.brief(outcome.result.summary, outcome.cached))
    if outcome.damage:
        console.print(f"made again: {listing(outcome.damage)}", style="dim", soft_wrap=True, markup=False)
    if in_full:
        _end_report(console, outcome.cached)


def print_split(console: Console, outcome: SplitOutcome) -> None:
    """Print the report of a finished split."""
    console.print(split_report.render(outcome.result.split, outcome.folder))
    _end_report(console, outcome.cached)


def _end_report(console: Console, cached: bool) -> None:
    if cached:
        console.print(_FINISHED_BEFORE, style="dim")
    console.print()


def print_overview(console: Console, circuits: list[Circuit], summaries: list[Summary]) -> None:
    """Print one line for each circuit, and the sweeps.

    In a run of many circuits the members of a sweep get no line of their own.
    """
    swept = sweeps(circuits, {summary.plan.id: summary for summary in summaries})
    if len(summaries) > REPORTS_AT_MOST:
        console.print()
        members = {circuit.plan.id for sweep in swept for circuit in sweep.circuits}
        summaries = [summary for summary in summaries if summary.plan.id not in members]
    if summaries:
        console.print(circuit_report.overview(summaries))
    for sweep in swept:
        console.print(sweep_report(sweep))
        console.print()


def print_comparisons(console: Console, statuses: Sequence[ComparisonStatus]) -> None:
    """Print the comparisons that are finished, and the circuits that the others wait for."""
    for status in statuses:
        if status.comparison:
            console.print()
            console.print(comparison_report.render(status.comparison, status.folder))
        elif status.missing:
            text = f"compare {listing(status.circuits)} waits for {listing(status.missing)}"
            console.print(f"\n{text}", style="yellow", soft_wrap=True, markup=False)
