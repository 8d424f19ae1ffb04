"""Progress in a notebook: one line below the cell, which is updated in place."""

from __future__ import annotations

import time
from collections.abc import Callable

from circuitlang.reporting.progress.status_line import DrawnLine

# Seconds between two updates, each of which is a message to the browser.
_PAUSE = 0.25
_WIDTH = 100


class NotebookProgress(DrawnLine):
    """One line that a notebook shows.

    Args:
        show: Function that shows a line in place of the one before.
        clock: Function that returns the time in seconds.
    """

    def __init__(self, show: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._show, self._clock, self._shown = show, clock, float("-inf")

    def ended(self) -> None:
        self._show(f"{self.done} of {self.total} circuits")

    def draw(self) -> None:
        if self._clock() - self._shown >= _PAUSE:
            self._shown = self._clock()
            self._show(self.text(_WIDTH))


def notebook_line() -> Callable[[str], None] | None:
    """Return a function that shows a line below the current cell; None outside a notebook."""
    import sys

    # A process that runs in a notebook has imported IPython.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if ipython is None or shell is None or not hasattr(shell, "kernel"):
        return None
    handle = ipython.display.display({"text/plain": ""}, raw=True, display_id=True)
    return lambda line: handle.update({"text/plain": line}, raw=True)
