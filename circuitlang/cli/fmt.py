"""`circuitlang fmt`: specs in the one style."""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path

import click

from circuitlang.base.diagnostics import CircuitError
from circuitlang.base.printable import lines
from circuitlang.cli import completion
from circuitlang.cli.console import FINDINGS, echo, exit_on_findings, print_findings, stdout
from circuitlang.cli.parameters import PATH
from circuitlang.compiler.formatter import format_source
from circuitlang.compiler.sources import STDIN, open_source, spec_files


@click.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...", type=PATH, shell_complete=completion.specs)
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit with 1 if a file would change.")
@click.option("--diff", "show_diff", is_flag=True, help="Write nothing; print what would change.")
def fmt(specs: tuple[Path, ...], only_check: bool, show_diff: bool) -> None:
    """Format each SPEC without changing its meaning.

    A SPEC is a file, a folder for all *.circuit in it, or - for standard input, which is printed. A file with syntax
    errors is not changed.
    """
    failed = changed = False
    with exit_on_findings():
        for path in spec_files(specs):
            try:
                changed |= _format(path, only_check, show_diff)
            except CircuitError as error:
                print_findings(error.findings)
                failed = True
    sys.exit(FINDINGS if failed or (only_check and changed) else 0)


def _format(path: Path, only_check: bool, show_diff: bool) -> bool:
    """Format a file, or print how it would change; return whether it changes."""
    source = open_source(path)
    formatted = format_source(source).encode()
    # The source has lost its carriage returns and its byte order mark; the file has not.
    original = source.text.encode() if path == STDIN else path.read_bytes()
    changed = formatted != original
    if show_diff:
        print_diff(source.name, original.decode(), formatted.decode())
    elif only_check:
        if changed:
            echo(f"would format {source.name}")
    elif path == STDIN:
        # A program gets the exact bytes, a terminal the text with invisible characters escaped.
        click.echo(lines(formatted.decode()) if sys.stdout.isatty() else formatted, nl=False)
    elif changed:
        _rewrite(path.resolve(), formatted)
        echo(f"formatted {path}")
    return changed


def _rewrite(path: Path, content: bytes) -> None:
    """Replace the content of a file and keep its permissions."""
    from circuitlang.results.writer import write_file

    write_file(path, content, "make it writable, or format a copy of it", path.stat().st_mode)


def print_diff(name: str, before: str, after: str) -> None:
    """Print a unified diff, coloured on a terminal."""
    # Not `splitlines`, for which more than line feeds end a line.
    old, new = (re.findall(r"[^\n]*\n|[^\n]+", text) for text in (before, after))
    changes = difflib.unified_diff(old, new, name, name)
    ended = (line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in changes)
    console = stdout()
    if not console.is_terminal:
        click.echo("".join(ended), nl=False)
        return
    from rich.text import Text

    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in ended:
        console.print(Text(line, style=colours.get(line[0], "")), end="", soft_wrap=True)
