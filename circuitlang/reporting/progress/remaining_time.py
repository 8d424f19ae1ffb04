"""Remaining time of a run: the forecast of its work, corrected by the time that its circuits take."""

from __future__ import annotations

import time
from collections.abc import Callable

from circuitlang.base.diagnostics import CircuitError
from circuitlang.results.run_listener import ExpectedWork, RunListener, RunStart

# The remaining time is unknown until the first circuit has taken this many seconds and done this share of its work.
_WARM_UP, _SHARE = 2.0, 0.05
# A circuit that is not finished is never taken to be nearer to its end than this.
_NEARLY = 0.98


class RemainingTime(RunListener):
    """Estimate of the remaining time of a run.

    The time of a circuit is the forecast of its work divided by a speed: that of the circuits that were computed, or
    at first that of the batches done for the first. A long step that goes on longer than this corrects it.

    Args:
        clock: Function that returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._work: dict[str, ExpectedWork] = {}
        self._processes = 1
        self._failed = False
        # Circuits that were begun, and the time of their beginning.
        self._running: dict[str, float] = {}
        # Operations of computed circuits, and the time they took.
        self._operations, self._seconds = 0.0, 0.0
        # Batches done of the only running circuit.
        self._batches = 0
        # The beginning of its current step, and the done and all of its items.
        self._step: tuple[float, int, int] | None = None

    def begun(self, run: RunStart) -> None:
        self._work, self._processes = dict(run.work), run.processes

    def step(self, label: str, done: int, total: int) -> None:  # noqa: ARG002
        self._batches += done > 0
        self._step = (self._clock() if self._step is None or not done else self._step[0], done, total)

    def circuit_begun(self, circuit: str) -> None:
        self._running[circuit] = self._clock()
        self._batches, self._step = 0, None

    def failed(self, error: CircuitError) -> None:  # noqa: ARG002
        # It did only part of its work.
        self._failed = True

    def circuit_ended(self, circuit: str) -> None:
        seconds = self._clock() - self._running.pop(circuit, self._clock())
        work = self._work.pop(circuit, None)
        if work and not self._failed:
            self._operations += work.operations
            self._seconds += seconds
        self._step, self._failed = None, False

    def seconds(self) -> float | None:
        """Return the remaining time, or None while it is unknown."""
        speed = self._speed()
        if not speed or not self._work:
            return None
        now, left = self._clock(), 0.0
        for circuit, work in self._work.items():
            expected = work.operations / speed
            if circuit in self._running:
                rest = expected - (now - self._running[circuit])
                left += max(rest, expected * (1 - _NEARLY), self._rest_of_step(now))
            else:
                left += expected
        return left / max(1, min(self._processes, len(self._work)))

    def _speed(self) -> float | None:
        """Return the operations a second."""
        if self._seconds:
            return self._operations / self._seconds
        if len(self._running) != 1:
            return None
        ((circuit, begun),) = self._running.items()
        work, seconds = self._work.get(circuit), self._clock() - begun
        if work is None or not work.batches or seconds < _WARM_UP:
            return None
        share = min(self._batches / work.batches, _NEARLY)
        return work.operations * share / seconds if share >= _SHARE else None

    def _rest_of_step(self, now: float) -> float:
        if self._step is None or not self._step[1]:
            return 0.0
        begun, done, total = self._step
        return (now - begun) * (total - done) / done
