"""`circuitlang models`: the model sources and the names that are known in each."""

from __future__ import annotations

import click

from circuitlang.cli.console import exit_on_findings, print_hint, print_listing, stdout
from circuitlang.engine.models.catalog import known_models
from circuitlang.plugins.protocols import MODELS
from circuitlang.reporting.terminal.tables import columns, extensions


@click.command()
def models() -> None:
    """List the model sources and the names of known models."""
    with exit_on_findings():
        console = stdout()
        print_listing(extensions(MODELS.kind, MODELS.declarations))
        click.echo()
        known = known_models()
        mark = "*" if console.is_terminal else "  attention"
        words = [f"{model.name}{mark}" if model.attention else model.name for model in known]
        console.print(columns(words, console.is_terminal))
        print_hint("\nMarked models have attention: not all that leads to a target in them is a kernel.")
        print_hint("`circuitlang layers MODEL` lists what a target may name in one.")
