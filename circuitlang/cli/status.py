"""`circuitlang status`: how far a run is, from its folder alone."""

from __future__ import annotations

from pathlib import Path

import click

from circuitlang.cli import completion
from circuitlang.cli.console import echo, exit_on_findings
from circuitlang.cli.parameters import PATH
from circuitlang.cli.result_folder import result_folder


@click.command()
@click.argument("name", metavar="RUN", shell_complete=completion.results)
@click.option("--out", default="runs", show_default=True, type=PATH, help="Folder that has the results.")
def status(name: str, out: Path) -> None:
    """Show how far a RUN is, and who computes what of it.

    RUN is its name or its folder. It is read on any machine that sees the folder. The exit status is 1 if a circuit has
    failed.
    """
    with exit_on_findings():
        from circuitlang.reporting.text.run_status import status_lines
        from circuitlang.results.run_status import run_status

        there = run_status(result_folder(name, out))
        for line in status_lines(there):
            echo(line)
    if there.failed:
        raise click.exceptions.Exit(1)
