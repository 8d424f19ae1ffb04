"""`circuitlang layers`: the layers of a model, as targets name them."""

from __future__ import annotations

import click

from circuitlang import pipeline
from circuitlang.cli.console import exit_on_findings, print_findings, print_listing
from circuitlang.cli.parameters import allow_code
from circuitlang.reporting.terminal import tables


@click.command()
@click.argument("model")
@allow_code
def layers(model: str, allow_code: bool) -> None:
    """List the layers of a MODEL.

    It is written as in a spec: 'squeezenet1_0', 'alexnet(weights=none)'. Its weights are not needed.
    """
    with exit_on_findings():
        layers, notes = pipeline.list_layers(model, allow_code)
        print_findings(notes)
        print_listing(tables.layers(layers))
