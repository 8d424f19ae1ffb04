"""`circuitlang compare`: finished circuits side by side."""

from __future__ import annotations

from pathlib import Path

import click

from circuitlang.base.diagnostics import CircuitError, Finding
from circuitlang.cli.console import exit_on_findings, stdout
from circuitlang.cli.parameters import PATH


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...", type=PATH)
@click.option("--out", type=PATH, metavar="FOLDER", help="Also write report and diagram to this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def compare(folders: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Measure what finished circuits have in common.

    Each FOLDER is that of a circuit, or of a run for all of its circuits. The circuits must be of one network and may
    be of several runs. The report has the overlap of their kernels, layer by layer and against chance, and the
    agreement of their responses to images that were held out from both.
    """
    with exit_on_findings():
        from circuitlang import api
        from circuitlang.reporting.terminal.comparison_report import render

        # A damaged circuit does not hide the others.
        problems: list[Finding] = []
        loaded = api.compare(folders, problems)
        comparison = loaded.comparison
        if out is not None:
            from circuitlang.results.outputs import ComparisonResult
            from circuitlang.results.writer import write_comparison

            result = ComparisonResult(comparison, loaded.circuits, folders=loaded.folders)
            comparison = write_comparison(result, out).comparison
        if as_json:
            import msgspec

            from circuitlang.reporting.terminal.console import json_text

            click.echo(json_text(msgspec.json.format(msgspec.json.encode(comparison), indent=2).decode()))
        else:
            stdout().print(render(comparison, out))
        if comparison.missing:
            from circuitlang.results.rendering import missing_formats

            problems += missing_formats(str(out), comparison.missing, "only this is made")
        if problems:
            raise CircuitError(problems)
