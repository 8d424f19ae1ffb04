"""Progress of a run that was started from Python: in a notebook, on a terminal, or as a log."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from circuitlang.reporting.progress.notebook import NotebookProgress, notebook_line
from circuitlang.reporting.progress.plain import PlainProgress
from circuitlang.reporting.progress.terminal import TerminalProgress
from circuitlang.reporting.terminal.console import Console
from circuitlang.results.run_listener import SILENT, RunListener


@contextmanager
def shown(progress: bool | RunListener) -> Iterator[RunListener]:
    """Provide the listener that shows the progress of a run inside the block.

    Args:
        progress: A listener, False for none, or True for the one that suits the place.
    """
    if isinstance(progress, RunListener):
        yield progress
    elif not progress:
        yield SILENT
    elif show := notebook_line():
        yield NotebookProgress(show)
    else:
        console = Console(stderr=True)
        if console.is_terminal and not console.is_dumb_terminal:
            with TerminalProgress(console) as line:
                yield line
        else:
            yield PlainProgress(lambda line: print(line, file=sys.stderr))  # noqa: T201
