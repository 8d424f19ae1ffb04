"""`circuitlang plan`: the work of a run and its cost, before anything is computed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from circuitlang.cli import completion
from circuitlang.cli.console import display, exit_on_findings, print_findings, stdout
from circuitlang.cli.parameters import PATH, VisualisingCommand, allow_code, read_source, visualise

if TYPE_CHECKING:
    from circuitlang.plan.compiled import CompiledPlan
    from circuitlang.results.forecast import Forecast


@click.command(cls=VisualisingCommand)
@click.argument("spec", required=False, type=PATH, shell_complete=completion.specs)
@click.option("-e", "text", metavar="TEXT", help="Plan this text instead of a file.")
@click.option("--out", default="runs", show_default=True, type=PATH, help="Folder that has the results.")
@click.option("--yaml", "style", flag_value="yaml", help="Print the plan itself, which `run` takes like a spec.")
@click.option("--json", "style", flag_value="json", help="Print the forecast as JSON.")
@click.option("--schema", "style", flag_value="schema", help="Print the JSON Schema of the YAML; no SPEC is needed.")
@click.option("-o", "output", type=PATH, help="Write the plan's YAML to this file.")
@click.option("--fast", is_flag=True, help="Forecast `run --fast`.")
@click.option("--packed", is_flag=True, help="Forecast `run --packed`.")
@visualise
@allow_code
def plan(
    spec: Path | None,
    text: str | None,
    out: Path,
    style: str | None,
    output: Path | None,
    fast: bool,
    packed: bool,
    visualise: str | None,
    allow_code: bool,
) -> None:
    """Show what a SPEC would compute, what is finished, and the cost."""
    if output is not None and style not in (None, "yaml"):
        raise click.UsageError("-o writes YAML")
    with exit_on_findings():
        if style == "schema":
            from circuitlang.plan.schema import FILE

            click.echo(FILE.read_text(encoding="utf-8"), nl=False)
            return
        from circuitlang import pipeline

        source = read_source(spec, text)
        compiled = pipeline.compile_source(source)
        print_findings(compiled.warnings)
        if output is not None or style == "yaml":
            _write_yaml(compiled, output)
            return
        from circuitlang.engine.runtime.options import Options

        with display() as shown:
            options = Options(
                allow_code=allow_code, visualise=visualise, fast=fast, listener=shown.listener, packed=packed
            )
            forecast = pipeline.forecast(compiled, out / pipeline.run_name(source), options)
        _print_forecast(forecast, as_json=style == "json")


def _print_forecast(forecast: Forecast, as_json: bool) -> None:
    from circuitlang.reporting.terminal import plan_report
    from circuitlang.reporting.terminal.console import json_text

    if as_json:
        click.echo(json_text(plan_report.as_json(forecast)), nl=False)
        return
    console = stdout()
    if not console.is_terminal:
        # A tree can't be soft-wrapped; its lines stay whole, whatever COLUMNS says.
        console.widen()
    console.print(plan_report.draw(forecast))


def _write_yaml(compiled: CompiledPlan, output: Path | None) -> None:
    """Write the plan to a file or stdout, with its base relative to the place where it will be read."""
    import msgspec

    from circuitlang.plan.yaml import write_plan

    base = os.path.relpath(compiled.folder, output.parent if output else ".")
    yaml = write_plan(msgspec.structs.replace(compiled.plan, base=base))
    if output is None:
        click.echo(yaml, nl=False)
    else:
        from circuitlang.results.writer import write_file

        write_file(output, yaml.encode(), "give another place for it")
