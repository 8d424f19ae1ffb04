"""`circuitlang diff`: what differs in meaning between two specs, plans or runs."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path

import click
import msgspec

from circuitlang.base.diagnostics import CircuitError, Finding, InputError
from circuitlang.base.plain_files import is_there
from circuitlang.cli import completion
from circuitlang.cli.console import FINDINGS, exit_on_findings, stdout
from circuitlang.cli.git_diff import git_diff
from circuitlang.cli.parameters import PATH
from circuitlang.compiler.sources import is_folder, open_source
from circuitlang.pipeline import compile_source
from circuitlang.plan.diff import Side
from circuitlang.plan.model import Images, Origins, Plan
from circuitlang.reporting.terminal.diff_report import Comparison, DiffInput, compare, plain, render
from circuitlang.results.reader import read_summary


@click.command()
@click.argument("paths", nargs=-1, metavar="A B", type=PATH, shell_complete=completion.specs)
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
@click.option("--git", "by_git", is_flag=True, help="Take the arguments that git gives to an external diff driver.")
def diff(paths: tuple[Path, ...], as_json: bool, by_git: bool) -> None:
    """Show what differs in meaning between A and B.

    Each is a spec, a plan, or the folder of a run or circuit. For two runs the measurements, the kept kernels and the
    provenance are compared too. Exits with 1 if there is a difference.
    """
    if by_git:
        with exit_on_findings():
            git_diff(paths)
        return
    if len(paths) != 2:
        raise click.UsageError("give A and B")
    before, after = paths
    with exit_on_findings():
        comparison = diff_paths(before, after)
        if as_json:
            click.echo(json.dumps(plain(comparison), indent=2))
        else:
            console = stdout()
            console.print(render(comparison), soft_wrap=not console.is_terminal)
        if comparison.damaged:
            raise InputError(comparison.damaged)
    sys.exit(0 if comparison.same else FINDINGS)


def diff_paths(before: Path, after: Path) -> Comparison:
    """Compare two specs, plans, or folders of runs or circuits.

    Raises CircuitError with the findings about both.
    """
    sides, findings = [], list[Finding]()
    for path in (before, after):
        try:
            sides.append(_read(path))
        except CircuitError as error:
            findings += error.findings
    if findings:
        raise InputError(findings)
    return compare(*sides)


def _read(path: Path) -> DiffInput:
    if is_there(path / "plan.yaml"):
        compiled = compile_source(open_source(path / "plan.yaml"))
        folders = {circuit.id: path / circuit.id for circuit in compiled.plan.circuits}
        return DiffInput(Side(compiled.plan, compiled.origins, compiled.folder), folders)
    if is_folder(path):
        return _read_circuit(path)
    compiled = compile_source(open_source(path))
    return DiffInput(Side(compiled.plan, compiled.origins, compiled.folder))


def _read_circuit(folder: Path) -> DiffInput:
    """Read a circuit's folder as a plan of one circuit, its image sets from the plan of its run if that is there."""
    summary = read_summary(folder)
    circuit = summary.plan
    images = {name: Images([]) for name in circuit.used_sets}
    origins: Origins = {}
    base = folder
    with suppress(CircuitError):
        run = compile_source(open_source(folder.parent / "plan.yaml"))
        # The circuit of a part has another id than its split has in the plan.
        requested = msgspec.structs.replace(circuit, id=summary.asked_as)
        if any(circuit == requested for circuit in run.plan.circuits):
            images, origins, base = run.plan.images, run.origins, run.folder
    plan = Plan(model=summary.model, images=images, circuits=[circuit])
    return DiffInput(Side(plan, origins, base), {circuit.id: folder})
