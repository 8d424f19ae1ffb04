"""`circuitlang layers`: the layers and blocks of a model, as targets name them."""

from __future__ import annotations

import click

from circuitlang import pipeline
from circuitlang.cli import completion
from circuitlang.cli.console import exit_on_findings, print_findings, print_listing
from circuitlang.cli.parameters import allow_code
from circuitlang.reporting.terminal import tables


@click.command()
@click.argument("model", shell_complete=completion.models)
@allow_code
def layers(model: str, allow_code: bool) -> None:
    """List what a target may name in a MODEL.

    It is written as in a spec: 'squeezenet1_0', 'alexnet(weights=none)'. Its weights are not needed. Each module has
    its number of channels and the size of a map; layers have kernels besides. A target keeps the module's output, which
    is before or after an activation.
    """
    with exit_on_findings():
        layers, notes = pipeline.list_layers(model, allow_code)
        print_findings(notes)
        print_listing(tables.layers(layers))
