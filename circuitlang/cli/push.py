"""`circuitlang push`: finished results into a repository of the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

import click

from circuitlang.cli import completion
from circuitlang.cli.console import echo, exit_on_findings
from circuitlang.cli.parameters import PATH
from circuitlang.cli.result_folder import result_folder


@click.command()
@click.argument("run", shell_complete=completion.results)
@click.argument("address", metavar="hf://USER/REPO")
@click.option("--licence", "--license", "licence", default="", metavar="ID", help="Licence, as mit or cc-by-4.0.")
@click.option("--private", is_flag=True, help="Make a repository that only you see, if it has to be made.")
@click.option("--message", default="", metavar="TEXT", help="Message of the commit.")
@click.option("--out", default="runs", show_default=True, type=PATH, help="Folder that has the results.")
def push(run: str, address: str, licence: str, private: bool, message: str, out: Path) -> None:
    """Put a finished RUN into a repository of the Hugging Face Hub.

    RUN is the name of a run or a circuit, or the folder of one, packed or not, or of an atlas. Its files are verified
    first. The repository gets a page with the claims, their fidelity and provenance. It is made if it isn't there;
    files that it has beside these stay. The commit is printed, by which `circuitlang pull` gets the same again.

    \b
    circuitlang push dogs hf://you/dog-circuits --licence mit
    circuitlang push atlases/resnet18 hf://datasets/you/resnet18-atlas
    """
    with exit_on_findings():
        from circuitlang.api.sharing import push
        from circuitlang.base.hub_client import hub_page

        done = push(result_folder(run, out), address, licence, private, message)
        echo(f"{done.address}: {done.folder}, {done.files:,} files, {done.size / 1e6:,.1f} MB")
        echo(hub_page(done.address))
