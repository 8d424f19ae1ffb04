"""`circuitlang export`: a finished circuit in the format of another program."""

from __future__ import annotations

from pathlib import Path

import click

from circuitlang.cli.console import echo, exit_on_findings
from circuitlang.cli.parameters import PATH


@click.command()
@click.argument("circuit", type=PATH)
@click.argument("file", type=PATH)
def export(circuit: Path, file: Path) -> None:
    """Export a finished CIRCUIT to a FILE.

    CIRCUIT is the folder of the circuit. The ending of FILE chooses the format.

    \b
    circuitlang export runs/dogs/snout snout.onnx      its module, for other runtimes
    circuitlang export runs/dogs/snout snout.graphml   its graph; .json too
    circuitlang export runs/dogs/snout snout.pdf       its diagram; .png, .svg, .html too
    """
    with exit_on_findings():
        from circuitlang.api import load

        load(circuit).export(file)
        echo(f"wrote {file}")
