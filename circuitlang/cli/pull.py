"""`circuitlang pull`: results from a repository of the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

import click

from circuitlang.cli.console import echo, exit_on_findings
from circuitlang.cli.parameters import PATH


@click.command()
@click.argument("address", metavar="hf://USER/REPO[@REVISION]")
@click.argument("folder", type=PATH, required=False)
def pull(address: str, folder: Path | None) -> None:
    """Copy results from the Hugging Face Hub into a new FOLDER.

    REVISION is a branch, a tag or a commit; the commit is printed, by which the same files are had again. FOLDER is by
    default runs/REPO. It appears once all files are there and are as they were written. Nothing in them is run.

    \b
    circuitlang pull hf://you/dog-circuits
    circuitlang pull hf://you/dog-circuits@7f6f6ce9 dogs
    """
    with exit_on_findings():
        from circuitlang.api.sharing import pull

        done = pull(address, folder)
        echo(f"{done.folder.folder}: {done.folder}, {done.files:,} files, {done.size / 1e6:,.1f} MB")
        echo(f"{done.address}")
