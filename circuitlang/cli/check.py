"""`circuitlang check`: the mistakes in specs and plans."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from circuitlang import pipeline
from circuitlang.cli import completion
from circuitlang.cli.console import FINDINGS, display, echo, exit_on_findings, print_findings
from circuitlang.cli.parameters import PATH, allow_code
from circuitlang.compiler.sources import STDIN, spec_files


@click.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...", type=PATH, shell_complete=completion.specs)
@click.option("--deep", is_flag=True, help="Also check the model, the weights and the images, as `run` does.")
@click.option(
    "--format",
    "style",
    default="full",
    show_default=True,
    type=click.Choice(["full", "concise", "json", "github", "sarif"]),
    help="Format of the findings.",
)
@click.option("--fix", is_flag=True, help="Correct the mistakes whose cure is certain enough, then report the others.")
@allow_code
def check(specs: tuple[Path, ...], deep: bool, style: str, fix: bool, allow_code: bool) -> None:
    """Report the mistakes in each SPEC without loading a model.

    A SPEC is a file, a folder for all *.circuit in it, or - for standard input. Names of layers are checked for models
    that were loaded before.
    """
    if fix and STDIN in specs:
        raise click.UsageError("--fix changes files, and standard input is none")
    with exit_on_findings():
        for path in spec_files(specs) if fix else ():
            _fix(path)
        reports = []
        for report in _reports(specs, deep, allow_code):
            reports.append(report)
            if style == "full":
                _print_report(report)
        if style != "full":
            from circuitlang.reporting.diagnostics import MACHINE

            findings = [finding for report in reports for finding in report.findings]
            click.echo(MACHINE[style](findings), nl=False)
    sys.exit(0 if all(report.sound for report in reports) else FINDINGS)


def _fix(path: Path) -> None:
    """Correct the mistakes of a file; one that can't be read is reported later."""
    from circuitlang.results.writer import write_file

    source, count = pipeline.fix_file(path)
    if count:
        cure = "make it writable, or correct a copy of it"
        write_file(path.resolve(), source.text.encode(), cure, path.stat().st_mode)
        click.echo(f"{path}: {count} mistake{'' if count == 1 else 's'} corrected", err=True)


def _reports(paths: tuple[Path, ...], deep: bool, allow_code: bool) -> Iterator[pipeline.CheckReport]:
    if not deep:
        yield from map(pipeline.check_file, spec_files(paths))
        return
    from circuitlang.engine.runtime.options import Options

    for path in spec_files(paths):
        with display() as shown:
            report = pipeline.check_file(path, Options(allow_code=allow_code, listener=shown.listener))
        yield report


def _print_report(report: pipeline.CheckReport) -> None:
    print_findings(report.findings, on_stdout=True)
    if report.sound:
        said = [f"{report.circuits} circuit{'' if report.circuits == 1 else 's'}"]
        said += [f"{report.edits} edit{'' if report.edits == 1 else 's'}"] if report.edits else []
        echo(f"{report.path}: {' and '.join(said)}, no mistakes")
