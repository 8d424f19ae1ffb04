"""`circuitlang index`: a page about the circuits of several runs."""

from __future__ import annotations

from pathlib import Path

import click

from circuitlang.cli import completion
from circuitlang.cli.console import echo, exit_on_findings
from circuitlang.cli.parameters import PATH


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...", shell_complete=completion.results)
@click.option("--out", default="runs", show_default=True, type=PATH, help="Folder that has the runs and gets the page.")
def index(runs: tuple[str, ...], out: Path) -> None:
    """Write a page with the circuits of several runs.

    RUN is the name of a run, or its folder; by default all runs in the folder. The page is `index.html`; its path is
    printed.
    """
    with exit_on_findings():
        from circuitlang.cli.result_folder import result_folder
        from circuitlang.reporting.runs_overview import write_overview

        folders = [result_folder(name, out) for name in dict.fromkeys(runs)]
        echo(str(write_overview(folders, out)))
