"""Record of a run for other programs: JUnit XML, and a summary as JSON or Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from circuitlang.base.diagnostics import CircuitError, Finding
from circuitlang.results.outcomes import CircuitOutcome, EditStatus, SplitOutcome
from circuitlang.results.run_listener import RunListener

if TYPE_CHECKING:
    from circuitlang.engine.runtime.work_selection import WorkSelection
    from circuitlang.plan.compiled import CompiledPlan
    from circuitlang.reporting.ci.record import Record
    from circuitlang.results.edit import EditResult
    from circuitlang.results.types import Summary

# Findings about failed assertions, which a record lists as assertions instead of failures.
_FAILED_ASSERTIONS = ("E330", "E331")


class Recording(RunListener):
    """Results of a run so far.

    Attributes:
        name: Name of the run.
        failures: Findings about failures other than failed assertions.
    """

    def __init__(self) -> None:
        self.name = ""
        self.failures: tuple[Finding, ...] = ()
        self._started: tuple[CompiledPlan, list[str]] | None = None
        self._circuits: dict[str, tuple[Summary, float, bool]] = {}
        self._edits: dict[str, EditResult] = {}

    def start(self, compiled: CompiledPlan, work: WorkSelection) -> None:
        """Record the circuits that the run will compute. Raises SpecError if one is not in the plan."""
        self._started = compiled, work.of(compiled.plan)

    def finished(self, outcome: CircuitOutcome | SplitOutcome) -> None:
        """Record a finished circuit."""
        if isinstance(outcome, CircuitOutcome):
            summary = outcome.result.summary
            self._circuits[summary.plan.id] = summary, outcome.seconds, outcome.cached

    def edited(self, status: EditStatus) -> None:
        """Record a finished edit."""
        if status.result is not None:
            self._edits[status.name] = status.result

    def record(self) -> Record:
        """Return the record of the run so far."""
        from circuitlang.reporting.ci.record import Done, Record
        from circuitlang.results.assertions import assertions

        if self._started is None:
            return Record(self.name, failures=self.failures)
        compiled, chosen = self._started
        done = {name: Done(*outcome) for name, outcome in self._circuits.items()}
        summaries = {name: finished.summary for name, finished in done.items()}
        # A split is replaced by the circuits of its parts.
        parts = {name: [part for part, summary in summaries.items() if summary.asked_as == name] for name in chosen}
        circuits = tuple(part for name in chosen for part in parts[name] or [name])
        edits = {edit.name: self._edits.get(edit.name) for edit in compiled.plan.edited}
        finished = {name: result for name, result in edits.items() if result is not None}
        checked = tuple(
            assertion
            for assertion in assertions(compiled.plan, summaries, finished)
            if assertion.circuit in (*circuits, *edits)
        )
        spans = [compiled.origins.get(assertion.place) for assertion in checked]
        places = tuple(span.place if span else "" for span in spans)
        return Record(self.name, circuits, done, checked, places, self.failures, edits)


@contextmanager
def recorded(junit: Path | None, summary: Path | None) -> Iterator[Recording]:
    """Record the run inside and write the record to the files that are given, also if the run fails.

    Raises CircuitError with the findings of the run and of the writing.
    """
    recording, findings = Recording(), list[Finding]()
    try:
        yield recording
    except CircuitError as error:
        findings += error.findings
        recording.failures = tuple(finding for finding in findings if finding.code not in _FAILED_ASSERTIONS)
    try:
        _write(recording, junit, summary)
    except CircuitError as error:
        findings += error.findings
    if findings:
        raise CircuitError(findings)


def _write(recording: Recording, junit: Path | None, summary: Path | None) -> None:
    if junit is None and summary is None:
        return
    from circuitlang.reporting.ci.junit import junit as as_junit
    from circuitlang.reporting.ci.markdown import markdown
    from circuitlang.reporting.ci.run_summary import run_summary
    from circuitlang.results.writer import write_file

    record = recording.record()
    as_summary = markdown if summary is not None and summary.suffix == ".md" else run_summary
    for path, render in ((junit, as_junit), (summary, as_summary)):
        if path is not None:
            write_file(path, render(record), "give another place for it")
