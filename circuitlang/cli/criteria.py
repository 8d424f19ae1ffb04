"""`circuitlang criteria`: the criteria, ablations, metrics, tests and transforms that specs can name."""

from __future__ import annotations

import click

from circuitlang.cli.console import exit_on_findings, print_hint, print_listing
from circuitlang.plugins.hypothesis_tests import TESTS
from circuitlang.plugins.protocols import ABLATIONS, CRITERIA, METRICS
from circuitlang.plugins.transforms import TRANSFORMS
from circuitlang.reporting.terminal.tables import extensions


@click.command()
def criteria() -> None:
    """List the criteria, ablations, metrics, tests and transforms."""
    with exit_on_findings():
        for registry in (CRITERIA, ABLATIONS, METRICS, TESTS, TRANSFORMS):
            print_listing(extensions(registry.kind, registry.declarations))
            click.echo()
        print_hint("`circuitlang explain NAME` tells more.")
