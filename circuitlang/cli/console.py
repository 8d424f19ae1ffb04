"""Streams of the command line: results on stdout, findings and progress on stderr, and the exit codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import click

from circuitlang.base.diagnostics import CircuitError, Finding
from circuitlang.base.printable import lines

# Rich takes a while to import and is needed only where something is laid out.
if TYPE_CHECKING:
    from rich.progress import Progress

    from circuitlang.plugins.protocols import TrackProgress
    from circuitlang.reporting.terminal.console import Console
    from circuitlang.reporting.terminal.tables import Listing

T = TypeVar("T")

# Exit codes. Click itself exits with 2 on a usage error; 70 is EX_SOFTWARE of sysexits.h.
FINDINGS = 1
INTERNAL = 70
INTERRUPTED = 130


@contextmanager
def exit_on_findings() -> Iterator[None]:
    """Print the findings of a CircuitError on stderr and exit with 1; on an interrupt exit with 130."""
    try:
        yield
    except CircuitError as error:
        print_findings(error.findings)
        sys.exit(FINDINGS)
    except KeyboardInterrupt:
        click.echo("interrupted; finished circuits are kept", err=True)
        sys.exit(INTERRUPTED)


def stdout() -> Console:
    """Return a console on standard output."""
    from circuitlang.reporting.terminal.console import Console

    return Console()


def stderr() -> Console:
    """Return a console on standard error."""
    from circuitlang.reporting.terminal.console import Console

    return Console(stderr=True)


def echo(text: str) -> None:
    """Print text on stdout, invisible characters escaped."""
    click.echo(lines(text))


def print_hint(text: str) -> None:
    """Print a suggestion for a person; a pipe does not get it."""
    console = stdout()
    if console.is_terminal:
        console.print(text)


def print_listing(listing: Listing) -> None:
    """Print a table on a terminal, aligned lines in a pipe."""
    console = stdout()
    console.print(listing.render(console.is_terminal), soft_wrap=not console.is_terminal)


def print_finding(finding: Finding) -> None:
    """Print one finding on stderr."""
    print_findings((finding,))


def print_findings(findings: Sequence[Finding], *, on_stdout: bool = False) -> None:
    """Print findings with the source lines that they are about, on stderr unless they are the result of a command."""
    if findings:
        from circuitlang.reporting.diagnostics import render

        console = stdout() if on_stdout else stderr()
        console.print(render(findings), soft_wrap=True, highlight=False)


@contextmanager
def progress_bar() -> Iterator[tuple[Progress, TrackProgress]]:
    """Show a progress bar on stderr if that is a terminal; yield the bar and the function that advances it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    # Markup is off: labels contain names from specs.
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = stderr()
    progress = Progress(
        *columns, console=console, transient=True, redirect_stdout=False, disable=not console.is_terminal
    )
    with progress:

        def track(items: Iterator[T], label: str, total: int, /) -> Iterator[T]:
            yield from progress.track(items, total=total, description=label)

        yield progress, track
