"""`circuitlang atlas`: the circuits of a run as a static site, with a page for each channel."""

from __future__ import annotations

from pathlib import Path

import click

from circuitlang.base.diagnostics import CircuitError
from circuitlang.cli import completion
from circuitlang.cli.console import display, echo, exit_on_findings
from circuitlang.cli.parameters import PATH, allow_code
from circuitlang.cli.result_folder import result_folder


@click.command()
@click.argument("run", shell_complete=completion.results)
@click.option("--out", type=PATH, metavar="DIR", help="Folder for the site.  [default: atlas, in the run's folder]")
@click.option("--runs", default="runs", show_default=True, type=PATH, help="Folder that has the results.")
@allow_code
def atlas(run: str, out: Path | None, runs: Path, allow_code: bool) -> None:
    """Write a site about all channels of a RUN.

    Each channel has a page: its circuit, what feeds it, what it feeds, and channels like it. A map shows how well the
    channels of the network are preserved. The site works from a disk and from any web server. RUN is the name of a run
    or its folder, packed or not.
    """
    with exit_on_findings():
        from circuitlang.api.atlas import write_atlas
        from circuitlang.results.run_listener import tracker

        folder = result_folder(run, runs)
        with display() as shown:
            written = write_atlas(folder, out, allow_code, tracker(shown.listener))
        echo(f"{written.page}: {written.circuits:,} circuits, {written.size / 1e6:,.1f} MB")
        if written.findings:
            raise CircuitError(written.findings)
