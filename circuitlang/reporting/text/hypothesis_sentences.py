"""The tests of a circuit in words, for the terminal and for pages."""

from __future__ import annotations

from typing import NamedTuple

from circuitlang.reporting.text.circuit_sentences import where
from circuitlang.results.types import Summary

# A p below this says no more than that it is small.
_LEAST = 0.0001


class Row(NamedTuple):
    """A test as a row of a table."""

    test: str
    statistic: str
    p: str
    verdict: str


def rows(summary: Summary) -> list[Row]:
    """Return a row for each test of a circuit."""
    return [
        Row(name, number(outcome.statistic), probability(outcome.p), outcome.verdict)
        for name, outcome in summary.tests.items()
    ]


def caption(summary: Summary) -> str:
    """Describe the columns of the table."""
    return f"the share that each is about, and its p, {where(summary)}"


def number(value: float | None) -> str:
    """Format a statistic; a dash for a test that was left out."""
    return "–" if value is None else f"{value:.2f}"


def probability(value: float | None) -> str:
    """Format a p; a dash for a test that was left out."""
    if value is None:
        return "–"
    return f"<{_LEAST:g}" if value < _LEAST else f"{value:.4f}"
