"""Progress on a terminal: one line at its bottom, below everything that is printed."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from circuitlang.base.diagnostics import CircuitError
from circuitlang.reporting.progress.status_line import DrawnLine

# Seconds between two updates of the line.
_PAUSE = 0.1
# The remaining time counts down this many times a second while nothing happens.
_TICKS = 1


class TerminalProgress(DrawnLine):
    """One line on a terminal, which is there inside a `with` block and leaves nothing behind.

    Text that is printed to the same console moves above it. The line is drawn at most ten times a second.

    Args:
        console: Console on the terminal.
        clock: Function that returns the time in seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._console, self._clock, self._drawn = console, clock, 0.0
        self._live = Live(self, console=console, refresh_per_second=_TICKS, transient=True)

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        # A line that fills the last column would wrap on some terminals.
        yield Text(self.text(options.max_width - 1), "dim", no_wrap=True, overflow="crop")

    def failed(self, error: CircuitError) -> None:
        super().failed(error)
        for finding in error.findings:
            self._console.print(Text(f"failed: {finding.message}", "red"))

    def ended(self) -> None:
        self._live.stop()

    def draw(self) -> None:
        if not self._live.is_started:
            self._live.start()
        elif self._clock() - self._drawn >= _PAUSE:
            self._drawn = self._clock()
            self._live.refresh()
