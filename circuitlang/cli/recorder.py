"""A run, as it goes → the files that tell other programs what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from circuitlang.base.diagnostics import CircuitError, Finding

if TYPE_CHECKING:
    from circuitlang.engine.runtime.runner import CircuitOutcome, WorkSelection
    from circuitlang.pipeline import Compiled
    from circuitlang.reporting.ci.record import Done, Record

# Findings about promises, which a record tells as promises.
_OF_PROMISES = ("E330", "E331")


class Recording:
    """What became of a run so far; `failed` is what went wrong."""

    def __init__(self) -> None:
        self.name = ""
        self.failed: tuple[Finding, ...] = ()
        self._begun: tuple[Compiled, list[str]] | None = None
        self._done: dict[str, Done] = {}

    def begin(self, compiled: Compiled, work: WorkSelection) -> None:
        """What the run is to do. Raises SpecError where that is not in the plan."""
        self._begun = compiled, work.of(compiled.plan)

    def add(self, outcome: CircuitOutcome) -> None:
        """A finished circuit."""
        from circuitlang.reporting.ci.record import Done

        found = outcome.result.summary
        self._done[found.plan.id] = Done(found, outcome.seconds, outcome.cached)

    def record(self) -> Record:
        """All of it."""
        from circuitlang.reporting.ci.record import Record
        from circuitlang.results.assertions import assertions

        if self._begun is None:
            return Record(self.name, failures=self.failed)
        compiled, chosen = self._begun
        found = {name: done.summary for name, done in self._done.items()}
        # For a split stand the circuits of its parts.
        parts = {name: [each for each, summary in found.items() if summary.asked_as == name] for name in chosen}
        circuits = tuple(each for name in chosen for each in parts[name] or [name])
        promised = tuple(each for each in assertions(compiled.plan, found) if each.circuit in circuits)
        spans = [compiled.origins.get(each.place) for each in promised]
        places = tuple(span.place if span else "" for span in spans)
        return Record(self.name, circuits, self._done, promised, places, self.failed)


@contextmanager
def recorded(junit: Path | None, summary: Path | None) -> Iterator[Recording]:
    """Write what becomes of a run, at its end and also where it fails, for CI services and for scripts.

    Raises what the run raised, with what is wrong with the files.
    """
    recording, findings = Recording(), list[Finding]()
    try:
        yield recording
    except CircuitError as error:
        findings += error.findings
        recording.failed = tuple(finding for finding in findings if finding.code not in _OF_PROMISES)
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
    from circuitlang.reporting.ci.run_summary import run_summary
    from circuitlang.results.writer import write_file

    record = recording.record()
    for path, as_bytes in ((junit, as_junit), (summary, run_summary)):
        if path is not None:
            write_file(path, as_bytes(record), "give another place for it")
