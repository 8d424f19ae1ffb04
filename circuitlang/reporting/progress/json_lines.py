"""Progress for programs: every event as a JSON object on a line of its own.

The key `event` has the name of a method of `RunListener`. There are at most ten steps a second, and none with several
processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from circuitlang.base.diagnostics import CircuitError, Finding
from circuitlang.reporting.diagnostics.json import plain
from circuitlang.reporting.terminal.console import json_text
from circuitlang.results.outcomes import CircuitOutcome, ComparisonStatus, EditStatus, SplitOutcome
from circuitlang.results.run_listener import RunListener, RunStart

# Seconds between two steps.
_PAUSE = 0.1


class JsonProgress(RunListener):
    """Events of a run as JSON lines.

    Args:
        write: Function that prints a line.
        clock: Function that returns the time in seconds.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._latest = float("-inf")

    def noted(self, finding: Finding) -> None:
        self._send("noted", **plain(finding))

    def step(self, label: str, done: int, total: int) -> None:
        if self._clock() - self._latest >= _PAUSE:
            self._latest = self._clock()
            self._send("step", label=label, done=done, total=total)

    def begun(self, run: RunStart) -> None:
        self._send("begun", folder=str(run.folder), circuits=run.circuits, processes=run.processes)

    def circuit_begun(self, circuit: str) -> None:
        self._send("circuit_begun", circuit=circuit)

    def finished(self, outcome: CircuitOutcome | SplitOutcome) -> None:
        folder, cached = str(outcome.folder), outcome.cached
        if isinstance(outcome, SplitOutcome):
            parts = [part.id for part in outcome.result.split.kinds]
            self._send("finished", split=outcome.result.split.plan.id, folder=folder, cached=cached, circuits=parts)
        else:
            summary = outcome.result.summary
            seconds, metrics = round(outcome.seconds, 3), summary.flat()
            self._send(
                "finished", circuit=summary.plan.id, folder=folder, cached=cached, seconds=seconds, metrics=metrics
            )

    def failed(self, error: CircuitError) -> None:
        self._send("failed", findings=[plain(finding) for finding in error.findings])

    def circuit_ended(self, circuit: str) -> None:
        self._send("circuit_ended", circuit=circuit)

    def edited(self, status: EditStatus) -> None:
        state = "finished" if status.result else "waiting" if status.missing else "failed"
        self._send("edited", name=status.name, folder=str(status.folder), state=state, missing=status.missing)

    def compared(self, status: ComparisonStatus) -> None:
        state = "finished" if status.comparison else "waiting" if status.missing else "failed"
        self._send("compared", circuits=status.circuits, folder=str(status.folder), state=state, missing=status.missing)

    def ended(self) -> None:
        self._send("ended")

    def _send(self, event: str, **values: object) -> None:
        self._write(json_text(msgspec.json.encode({"event": event, **values}).decode()))
