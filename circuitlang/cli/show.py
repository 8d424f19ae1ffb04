"""`circuitlang show`: the reports of finished results, read from their folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import click

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.cli import completion
from circuitlang.cli.console import exit_on_findings, print_listing, stdout
from circuitlang.cli.parameters import PATH
from circuitlang.cli.result_folder import made_folder, result_folder

T = TypeVar("T")


@click.command()
@click.argument("name", required=False, shell_complete=completion.results)
@click.argument("circuit", required=False)
@click.option("--full", is_flag=True, help="Print full reports: all metrics, layers, strongest kernels, origin, files.")
@click.option("--out", default="runs", show_default=True, type=PATH, help="Folder that has the results.")
def show(name: str | None, circuit: str | None, full: bool, out: Path) -> None:
    """Print the report of a result.

    NAME is that of a circuit, split, comparison, edit or run, or its folder. CIRCUIT is one in a run, by its name or
    its target. A folder of runs is listed; without NAME it is the one of --out.
    """
    with exit_on_findings():
        from circuitlang.cli.run_output import detail_of, print_overview, print_report
        from circuitlang.reporting.terminal import comparison_report, edit_report, split_report, tables
        from circuitlang.results.comparison_folders import comparisons, read_comparison
        from circuitlang.results.edits import edits, read_edit
        from circuitlang.results.reader import circuits, read, read_split, splits
        from circuitlang.results.run_folders import run_folders

        if name is None and not run_folders(out):
            cure = "`circuitlang run SPEC` makes results; --out names another folder"
            raise InputError(Finding("E312", f"there are no runs in {out}", None, "", cure))
        folder = out if name is None else result_folder(name, out, circuit)
        if _show_packed(folder, full):
            return
        folder = made_folder(folder)
        if runs := run_folders(folder):
            print_listing(tables.runs(runs))
            return
        console = stdout()
        split_folders, comparison_folders, edit_folders = splits(folder), comparisons(folder), edits(folder)
        # The folder of a single split, comparison or edit holds no circuit, and neither need a run of edits.
        only_other = split_folders or comparison_folders == [folder] or edit_folders
        circuit_folders = circuits(folder) or ([] if only_other else [folder])
        # A damaged circuit does not hide the others.
        damaged: list[Finding] = []
        results = _read_all(read, circuit_folders, damaged)
        if (detail := detail_of(len(results), full)) != "line":
            for result, place in results:
                print_report(console, result, place, detail)
                console.print()
        for split, place in _read_all(read_split, split_folders, damaged):
            console.print(split_report.render(split, place))
            console.print()
        if len(results) > 1:
            summaries = [result.summary for result, _ in results]
            print_overview(console, [summary.plan for summary in summaries], summaries)
        for comparison, place in _read_all(read_comparison, comparison_folders, damaged):
            console.print(comparison_report.render(comparison, place))
        for edit, place in _read_all(read_edit, edit_folders, damaged):
            console.print()
            console.print(edit_report.render(edit, place))
        if damaged:
            raise InputError(damaged)


def _show_packed(place: Path, full: bool) -> bool:
    """Print a packed run, or a circuit of one; return whether there is one there."""
    from circuitlang.cli.run_output import print_overview
    from circuitlang.reporting.terminal import short_report
    from circuitlang.results.packed.circuits import PackedCircuits
    from circuitlang.results.packed.files import is_packed_run
    from circuitlang.results.run_folders import is_packed_circuit

    if is_packed_run(place):
        there = PackedCircuits.read(place)
        summaries = [there.summary(name) for name in there.places]
        print_overview(stdout(), [summary.plan for summary in summaries], summaries)
        if there.damaged:
            cure = "run its spec again: what is damaged is made anew"
            raise InputError(Finding("E312", f"{place} is damaged", None, problem, cure) for problem in there.damaged)
        return True
    if full or place.is_dir() or not is_packed_circuit(place):
        return False
    stdout().print(short_report.render(PackedCircuits.read(place.parent).summary(place.name), place))
    return True


def _read_all(read: Callable[[Path], T], folders: Iterable[Path], damaged: list[Finding]) -> list[tuple[T, Path]]:
    """Return the results that can be read, each with its folder; add findings about the others to `damaged`."""
    results = []
    for folder in folders:
        try:
            results.append((read(folder), folder))
        except InputError as error:
            damaged += error.findings
    return results
