"""Events of a run and the interface of those that receive them: progress displays, reports, logs and records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from circuitlang.base.diagnostics import CircuitError, Finding
from circuitlang.plugins.progress import TrackProgress
from circuitlang.results.outcomes import CircuitOutcome, ComparisonStatus, EditStatus, SplitOutcome

T = TypeVar("T")


@dataclass(frozen=True)
class ExpectedWork:
    """Forecast of the work for a circuit: floating-point operations, and batches of images that are passed through."""

    operations: float = 0.0
    batches: float = 0.0


@dataclass(frozen=True)
class RunStart:
    """The work that a run begins with.

    Attributes:
        folder: Folder of the run.
        circuits: Ids of the circuits and splits that were selected, in the order of the plan.
        work: Forecast of the work for each circuit, by id; circuits that are finished already are missing.
        processes: Number of circuits that are computed at the same time.
    """

    folder: Path
    circuits: tuple[str, ...]
    work: Mapping[str, ExpectedWork] = field(default_factory=dict)
    processes: int = 1


class RunListener:
    """Receiver of the events of a run. Every method does nothing until a subclass overrides it.

    The events come in this order, all in the process and the thread that started the run: `noted` and `step` of the
    preparation, `begun`, the events of each circuit, `compared`, `edited`, `ended`. A circuit has `circuit_begun`, its
    steps, `finished` or `failed`, and `circuit_ended`; a split has several of the third. Circuits overlap if there are
    several processes, and have no steps then. An exception of a listener ends the run.
    """

    def noted(self, finding: Finding) -> None:
        """A finding about a run that goes on, such as a warning about the model's file."""

    def step(self, label: str, done: int, total: int) -> None:
        """A step of the work, and how many of its items are done; called with 0 first and after every item."""

    def begun(self, run: RunStart) -> None:
        """The plan is sound, and its first circuit comes next."""

    def circuit_begun(self, circuit: str) -> None:
        """A circuit or split of the plan is begun, which may turn out to be finished."""

    def finished(self, outcome: CircuitOutcome | SplitOutcome) -> None:
        """A circuit or split is finished, and its files are written."""

    def failed(self, error: CircuitError) -> None:
        """A circuit or split can't be computed, or can't be written. The run goes on, except after an OutputError."""

    def circuit_ended(self, circuit: str) -> None:
        """All events of a circuit or split of the plan have been sent."""

    def settled(self) -> None:
        """Other processes will look for the circuits that are finished: they must be on disk when this returns."""

    def compared(self, status: ComparisonStatus) -> None:
        """A comparison is finished, waits for circuits, or has failed."""

    def edited(self, status: EditStatus) -> None:
        """An edit is finished, waits for its circuit, or has failed."""

    def ended(self) -> None:
        """All work is done. Not sent after an interrupt, or if the run can't go on."""


SILENT = RunListener()


class Listeners(RunListener):
    """Several listeners, which receive each event in their order."""

    def __init__(self, *listeners: RunListener) -> None:
        self._listeners = listeners

    def noted(self, finding: Finding) -> None:
        for listener in self._listeners:
            listener.noted(finding)

    def step(self, label: str, done: int, total: int) -> None:
        for listener in self._listeners:
            listener.step(label, done, total)

    def begun(self, run: RunStart) -> None:
        for listener in self._listeners:
            listener.begun(run)

    def circuit_begun(self, circuit: str) -> None:
        for listener in self._listeners:
            listener.circuit_begun(circuit)

    def finished(self, outcome: CircuitOutcome | SplitOutcome) -> None:
        for listener in self._listeners:
            listener.finished(outcome)

    def failed(self, error: CircuitError) -> None:
        for listener in self._listeners:
            listener.failed(error)

    def circuit_ended(self, circuit: str) -> None:
        for listener in self._listeners:
            listener.circuit_ended(circuit)

    def settled(self) -> None:
        for listener in self._listeners:
            listener.settled()

    def compared(self, status: ComparisonStatus) -> None:
        for listener in self._listeners:
            listener.compared(status)

    def edited(self, status: EditStatus) -> None:
        for listener in self._listeners:
            listener.edited(status)

    def ended(self) -> None:
        for listener in self._listeners:
            listener.ended()


class OutcomeList(RunListener):
    """The outcomes and the notes of a run, as lists."""

    def __init__(self) -> None:
        self.outcomes: list[CircuitOutcome | SplitOutcome] = []
        self.comparisons: list[ComparisonStatus] = []
        self.edits: list[EditStatus] = []
        self.notes: list[Finding] = []

    def noted(self, finding: Finding) -> None:
        self.notes.append(finding)

    def finished(self, outcome: CircuitOutcome | SplitOutcome) -> None:
        self.outcomes.append(outcome)

    def compared(self, status: ComparisonStatus) -> None:
        self.comparisons.append(status)

    def edited(self, status: EditStatus) -> None:
        self.edits.append(status)


def tracker(listener: RunListener) -> TrackProgress:
    """Return a function that passes items on unchanged and sends a listener a `step` for each."""

    def track(items: Iterator[T], label: str, total: int, /) -> Iterator[T]:
        listener.step(label, 0, total)
        for done, item in enumerate(items, 1):
            yield item
            listener.step(label, done, total)

    return track
