"""Streams of the command line: results on stdout, findings and progress on stderr, and the exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import click

from circuitlang.base.diagnostics import CircuitError, Finding
from circuitlang.base.printable import lines

# Rich takes a while to import and is needed only where something is laid out.
if TYPE_CHECKING:
    from circuitlang.reporting.terminal.console import Console
    from circuitlang.reporting.terminal.tables import Listing
    from circuitlang.results.run_listener import RunListener

# Exit codes. Click itself exits with 2 on a usage error; 70 is EX_SOFTWARE of sysexits.h.
FINDINGS = 1
INTERNAL = 70
INTERRUPTED = 130
# Styles of progress; `auto` is a line on a terminal and `plain` elsewhere.
STYLES = ("auto", "plain", "json", "none")


@contextmanager
def exit_on_findings() -> Iterator[None]:
    """Print the findings of a CircuitError on stderr and exit with 1; on an interrupt exit with 130.

    The message of a KeyboardInterrupt says what is kept.
    """
    try:
        yield
    except CircuitError as error:
        print_findings(error.findings)
        sys.exit(FINDINGS)
    except KeyboardInterrupt as interrupt:
        click.echo(f"interrupted: {interrupt}" if str(interrupt) else "interrupted", err=True)
        sys.exit(INTERRUPTED)


def stdout() -> Console:
    """Return a console on standard output; off a terminal, lines are as long as they need to be."""
    from circuitlang.reporting.terminal.console import Console

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.widen()
    return console


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


def print_findings(findings: Sequence[Finding], *, on_stdout: bool = False) -> None:
    """Print findings with the source lines that they are about, on stderr unless they are the result of a command."""
    if findings:
        from circuitlang.reporting.diagnostics import render

        console = stdout() if on_stdout else stderr()
        console.print(render(findings), soft_wrap=True, highlight=False)


class Display:
    """A display of progress, and the consoles to print to while it lasts: what they print moves above its line.

    Without such a line a console is made when it is first asked for: a run may have nothing to print.
    """

    def __init__(self, listener: RunListener, out: Console | None = None, errors: Console | None = None) -> None:
        self.listener = listener
        self._out, self._errors = out, errors

    @cached_property
    def stdout(self) -> Console:
        """Console on standard output."""
        return self._out or stdout()

    @cached_property
    def stderr(self) -> Console:
        """Console on standard error."""
        return self._errors or stderr()


@contextmanager
def display(style: str = "auto") -> Iterator[Display]:
    """Show progress inside the block: in a style of `STYLES`, or what suits the standard error stream."""
    if style == "auto":
        out, errors = stdout(), stderr()
        if errors.is_terminal and not errors.is_dumb_terminal:
            from circuitlang.reporting.progress.terminal import TerminalProgress

            # Both streams end at one terminal, whose lines a single console must order.
            errors = out if out.is_terminal else errors
            with TerminalProgress(errors) as line:
                yield Display(line, out, errors)
            return
    if style == "json":
        from circuitlang.reporting.progress.json_lines import JsonProgress

        yield Display(JsonProgress(click.echo))
    elif style == "none":
        from circuitlang.results.run_listener import SILENT

        yield Display(SILENT)
    else:
        from circuitlang.reporting.progress.plain import PlainProgress

        yield Display(PlainProgress(lambda line: click.echo(lines(line), err=True)))
