"""`circuitlang diff`: what differs in meaning between two specs, plans or runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from circuitlang.base.diagnostics import InputError
from circuitlang.cli.console import FINDINGS, exit_on_findings, stdout
from circuitlang.cli.parameters import PATH


@click.command()
@click.argument("before", metavar="A", type=PATH)
@click.argument("after", metavar="B", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
def diff(before: Path, after: Path, as_json: bool) -> None:
    """Show what differs in meaning between A and B.

    Each is a spec, a plan, or the folder of a run or circuit. For two runs the measurements, the kept kernels and the
    provenance are compared too. Exits with 1 if there is a difference.
    """
    with exit_on_findings():
        from circuitlang import pipeline
        from circuitlang.reporting.terminal.diff_report import plain, render

        comparison = pipeline.differ(before, after)
        if as_json:
            click.echo(json.dumps(plain(comparison), indent=2))
        else:
            console = stdout()
            console.print(render(comparison), soft_wrap=not console.is_terminal)
        if comparison.damaged:
            raise InputError(comparison.damaged)
    sys.exit(0 if comparison.same else FINDINGS)
