"""`circuitlang models`: the model sources and the names that are known in each."""

from __future__ import annotations

import click

from circuitlang.cli.console import exit_on_findings, print_hint, print_listing, stdout
from circuitlang.engine.models.catalog import names
from circuitlang.plugins.protocols import MODELS
from circuitlang.reporting.terminal.tables import columns, extensions


@click.command()
def models() -> None:
    """List the model sources and the names of known models."""
    with exit_on_findings():
        console = stdout()
        print_listing(extensions(MODELS.kind, MODELS.declarations))
        click.echo()
        console.print(columns(names(), console.is_terminal))
        print_hint("\n`circuitlang layers MODEL` lists what a target may name in one.")
