"""The state of a run in one line: `circuit 3/18 · conv5_34-snip-0.1 · snip 4/12 · 2:10 left`."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from rich.cells import cell_len, set_cell_size

from circuitlang.base.diagnostics import CircuitError
from circuitlang.reporting.progress.remaining_time import RemainingTime
from circuitlang.results.run_listener import RunListener, RunStart

_SEPARATOR = " · "
# Names are not cut to fewer columns.
_SHORTEST_NAME = 8


class StatusLine(RunListener):
    """State of a run, in words.

    Attributes:
        done: Number of circuits and splits of the plan whose turn is over.
        total: Number of those that were selected.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.done = self.total = 0
        self._remaining = RemainingTime(clock)
        self._processes = 1
        self._running: list[str] = []
        self._step = ""

    def begun(self, run: RunStart) -> None:
        self.total, self._processes = len(run.circuits), run.processes
        self._step = ""
        self._remaining.begun(run)

    def step(self, label: str, done: int, total: int) -> None:
        self._step = f"{label} {done}/{total}" if total > 1 else label
        self._remaining.step(label, done, total)

    def circuit_begun(self, circuit: str) -> None:
        self._running.append(circuit)
        self._step = ""
        self._remaining.circuit_begun(circuit)

    def failed(self, error: CircuitError) -> None:
        self._remaining.failed(error)

    def circuit_ended(self, circuit: str) -> None:
        self.done += 1
        self._running = [name for name in self._running if name != circuit]
        self._step = ""
        self._remaining.circuit_ended(circuit)

    def remaining(self) -> str:
        """Return the remaining time, such as `2:10 left`; empty while it is unknown."""
        seconds = self._remaining.seconds()
        if seconds is None:
            return ""
        minutes, seconds = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"

    def text(self, width: int) -> str:
        """Return the line in at most `width` columns: without the step and with shorter names if there is no room."""
        names, step = ", ".join(self._running), self._step
        if not self._fits(width, names, step):
            step = ""
        if not self._fits(width, names, step):
            room = width - cell_len(self._joined("", step)) - len(_SEPARATOR)
            names = f"{set_cell_size(names, max(room, _SHORTEST_NAME) - 1).rstrip()}…"
        return set_cell_size(self._joined(names, step), width).rstrip()

    def _fits(self, width: int, names: str, step: str) -> bool:
        return cell_len(self._joined(names, step)) <= width

    def _joined(self, names: str, step: str) -> str:
        return _SEPARATOR.join(part for part in (self._position(), names, step, self.remaining()) if part)

    def _position(self) -> str:
        if not self.total:
            return ""
        if self._processes > 1:
            return f"{self.done}/{self.total} circuits"
        return f"circuit {min(self.done + 1, self.total)}/{self.total}"


class DrawnLine(StatusLine, ABC):
    """State of a run in a line that is drawn again whenever the state changes."""

    @abstractmethod
    def draw(self) -> None:
        """Show the line in place of the one before, unless that was a moment ago."""

    def begun(self, run: RunStart) -> None:
        super().begun(run)
        self.draw()

    def step(self, label: str, done: int, total: int) -> None:
        super().step(label, done, total)
        self.draw()

    def circuit_begun(self, circuit: str) -> None:
        super().circuit_begun(circuit)
        self.draw()
