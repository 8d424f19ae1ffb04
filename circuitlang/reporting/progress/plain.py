"""Progress as a log: one line for each circuit, when its turn is over."""

from __future__ import annotations

import time
from collections.abc import Callable

from circuitlang.base.diagnostics import CircuitError
from circuitlang.reporting.progress.status_line import StatusLine
from circuitlang.results.outcomes import CircuitOutcome, SplitOutcome


class PlainProgress(StatusLine):
    """Lines such as `circuit 3/18 · conv5_34-snip-0.1 · 12 s · 2:10 left`.

    Args:
        write: Function that prints a line.
        clock: Function that returns the time in seconds.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._write, self._clock = write, clock
        self._begun: dict[str, float] = {}
        # The outcome of circuits that were not computed.
        self._word = ""

    def circuit_begun(self, circuit: str) -> None:
        super().circuit_begun(circuit)
        self._begun[circuit] = self._clock()
        self._word = ""

    def finished(self, outcome: CircuitOutcome | SplitOutcome) -> None:
        self._word = "finished before" if outcome.cached else ""

    def failed(self, error: CircuitError) -> None:
        super().failed(error)
        self._word = "failed"

    def circuit_ended(self, circuit: str) -> None:
        super().circuit_ended(circuit)
        seconds = self._clock() - self._begun.pop(circuit)
        parts = f"circuit {self.done}/{self.total}", circuit, self._word or f"{seconds:.0f} s", self.remaining()
        self._write(" · ".join(part for part in parts if part))
        self._word = ""
