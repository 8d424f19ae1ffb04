"""`circuitlang run`: compute the circuits of a spec and report them as they finish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from circuitlang import pipeline
from circuitlang.base.diagnostics import CircuitError, Finding
from circuitlang.base.source import Source
from circuitlang.cli import completion
from circuitlang.cli.console import STYLES, display, echo, exit_on_findings, print_findings
from circuitlang.cli.parameters import (
    FILE,
    PATH,
    VisualisingCommand,
    allow_code,
    read_source,
    require_file,
    skip_unreadable,
    visualise,
)
from circuitlang.cli.recorder import recorded
from circuitlang.cli.worker_command import worker_command
from circuitlang.compiler.sources import spec_files
from circuitlang.plugins.placements import placement

if TYPE_CHECKING:
    from circuitlang.cli.run_output import RunReport
    from circuitlang.engine.runtime.lockfile import Lock
    from circuitlang.engine.runtime.options import Options
    from circuitlang.engine.runtime.work_selection import WorkSelection
    from circuitlang.plan.compiled import CompiledPlan
    from circuitlang.plugins.executors import Detached


@dataclass(frozen=True)
class Output:
    """Choice of the output of a run: a style of progress, and the detail `quiet`, `verbose` or the usual one."""

    progress: str
    detail: str = ""

    @property
    def style(self) -> str:
        return "none" if self.detail == "quiet" and self.progress == "auto" else self.progress

    @property
    def has_reports(self) -> bool:
        return self.progress != "json" and self.detail != "quiet"


@click.command(cls=VisualisingCommand)
@click.argument("specs", nargs=-1, metavar="[SPEC]...", type=PATH, shell_complete=completion.specs)
@click.option("-e", "text", metavar="TEXT", help="Run this text instead of a file; its paths are relative to here.")
@click.option("--out", default="runs", show_default=True, type=PATH, help="Folder for the results.")
@skip_unreadable
@click.option("--locked", is_flag=True, help="Fail if spec, weights or images differ from the lock file.")
@visualise
@click.option(
    "--render",
    type=click.Choice(["none", "diagram", "all"]),
    default="all",
    show_default=True,
    envvar="CIRCUITLANG_RENDER",
    help="Write numbers alone, also module, diagram and texts, or pages too.",
)
@click.option("--jobs", type=click.IntRange(1), help="Circuits computed in parallel by processes of this machine.")
@click.option(
    "--on", "on", default="local", show_default=True, metavar="NAME", help="Executor or profile: local, dask, slurm."
)
@click.option(
    "--workers", type=click.IntRange(1), metavar="N", help="Workers of the executor; locally the same as --jobs."
)
@click.option("--on-set", multiple=True, metavar="KEY=VALUE", help="Setting of the executor; repeatable.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="cpu, cuda, cuda:N or mps.")
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images per batch; chosen for the device.")
@click.option("--fast", is_flag=True, help="Score in TF32 on a GPU and report the difference to single precision.")
@click.option(
    "--only",
    multiple=True,
    metavar="ID",
    help="Compute only the circuit with this id; repeatable.",
    shell_complete=completion.circuits,
)
@click.option("--shard", default="1/1", metavar="I/N", help="Compute only every N-th circuit, starting with the I-th.")
@click.option("--junit", type=FILE, metavar="FILE", help="Write assertions and failures as JUnit XML, for CI.")
@click.option(
    "--summary", type=FILE, metavar="FILE", help="Write the same, with measurements, as JSON or Markdown (FILE.md)."
)
@click.option(
    "--progress",
    default="auto",
    show_default=True,
    type=click.Choice(STYLES),
    envvar="CIRCUITLANG_PROGRESS",
    help="Progress as a line on a terminal, as a log, or as JSON lines on stdout in place of the reports.",
)
@click.option("--packed", is_flag=True, help="Keep circuits as rows of circuits.parquet, not as folders.")
@click.option(
    "--shared", is_flag=True, help="Share the run with other processes that have the same command, on any machine."
)
@click.option("--force", is_flag=True, help="Compute finished circuits again.")
@click.option("-q", "--quiet", "detail", flag_value="quiet", help="Print findings alone.")
@click.option("-v", "--verbose", "detail", flag_value="verbose", help="Print full reports, of many circuits too.")
@allow_code
def run(
    specs: tuple[Path, ...],
    text: str | None,
    out: Path,
    skip_unreadable: bool,
    locked: bool,
    visualise: str | None,
    render: str,
    jobs: int | None,
    on: str,
    workers: int | None,
    on_set: tuple[str, ...],
    device: str,
    batch_size: int | None,
    fast: bool,
    only: tuple[str, ...],
    shard: str,
    junit: Path | None,
    summary: Path | None,
    progress: str,
    packed: bool,
    shared: bool,
    force: bool,
    detail: str | None,
    allow_code: bool,
) -> None:
    """Compute the circuits of a SPEC or plan.yaml.

    A folder stands for all *.circuit in it. Finished circuits are skipped. A run of many circuits prints one line for
    each instead of a short report; `circuitlang show --full` prints all there is to read.
    """
    files = _files(specs, text, single=bool(junit or summary))
    with exit_on_findings():
        place = placement(on, workers or jobs, on_set)
    if shared and (force or not place.is_here):
        raise click.UsageError("--shared is without --jobs, --on and --force: start the same command several times")

    def run_spec(spec: Path | None) -> None:
        with recorded(junit, summary) as recording:
            # The recording needs a name even if the source can't be read.
            recording.name = spec.stem if spec else "inline"
            source = read_source(spec, text)
            recording.name = pipeline.run_name(source)
            compiled = pipeline.compile_source(source)
            print_findings(compiled.warnings)
            lock = _read_lock(spec) if locked else None
            from circuitlang.engine.runtime.options import Options
            from circuitlang.engine.runtime.work_selection import WorkSelection

            command = worker_command(click.get_current_context(), spec, out)
            work = WorkSelection(only, shard, replace(place, command=command))
            recording.start(compiled, work)
            options = Options(
                skip_unreadable,
                allow_code,
                visualise,
                device,
                batch_size,
                fast,
                render,
                recording,
                force,
                packed,
                shared,
            )
            output = Output(progress, detail or "")
            _run(compiled, out / recording.name, options, lock, work, output)

    with exit_on_findings():
        _run_all(files, run_spec)


def _files(specs: tuple[Path, ...], text: str | None, single: bool) -> list[Path | None]:
    """Return the specs to run, None for text. Raises click.UsageError if several can't be run by one command."""
    if text is not None or not specs:
        # `read_source` rejects both, or neither.
        return [specs[0] if specs else None]
    files = spec_files(specs)
    if len(files) > 1 and single:
        raise click.UsageError("--junit and --summary are for a single SPEC")
    names: dict[str, Path] = {}
    for file in files:
        name = pipeline.run_name(Source(str(file), ""))
        if (other := names.setdefault(name, file)) != file:
            raise click.UsageError(f"{other} and {file} would have the same folder; give each another --out")
    return [*files]


def _run_all(files: Sequence[Path | None], run_spec: Callable[[Path | None], None]) -> None:
    """Run one spec after another; one that fails does not stop the others. Raises CircuitError about all of them."""
    findings: list[Finding] = []
    for file in files:
        try:
            run_spec(file)
        except CircuitError as error:
            findings += error.findings
    if findings:
        raise CircuitError(findings)


def _read_lock(spec: Path | None) -> Lock:
    """Read the lock file of a spec and warn if versions of packages differ from it."""
    from circuitlang.engine.runtime.lockfile import findings, outdated, read_lock, versions

    lock = read_lock(require_file(spec))
    print_findings(findings(outdated(lock.versions, versions()), {}))
    return lock


def _run(
    compiled: CompiledPlan,
    folder: Path,
    options: Options,
    lock: Lock | None,
    work: WorkSelection,
    output: Output,
) -> None:
    """Run a plan and print its results. Raises CircuitError about failed circuits and failed assertions."""
    from circuitlang.cli.run_output import NotePrinter, RunReport
    from circuitlang.plugins.executors import DetachedError
    from circuitlang.results.run_listener import Listeners

    failures: tuple[Finding, ...] = ()
    detached: Detached | None = None
    with display(output.style) as shown:
        report = RunReport(shown.stdout if output.has_reports else None, compiled, in_full=output.detail == "verbose")
        listener = Listeners(shown.listener, NotePrinter(shown), options.listener, report)
        try:
            pipeline.run_compiled(compiled, folder, replace(options, listener=listener), lock, work)
        except CircuitError as error:
            failures = error.findings
        except DetachedError as error:
            detached = error.detached
        except KeyboardInterrupt:
            raise KeyboardInterrupt(report.interrupted()) from None
    if detached is not None:
        _say_detached(detached, folder)
        return
    report.print_end(folder)
    _raise_failures(compiled, report, failures)


def _say_detached(detached: Detached, folder: Path) -> None:
    """Say how to look after a run that goes on elsewhere."""
    echo(f"submitted {detached.what}")
    echo(f"look  circuitlang status {folder}")
    echo(f"stop  {detached.stop}")
    echo(f"logs  {detached.logs}")


def _raise_failures(compiled: CompiledPlan, report: RunReport, failures: tuple[Finding, ...]) -> None:
    """Raise CircuitError if circuits failed, or if bounds or expectations were not met."""
    from circuitlang.results.assertions import failed_assertions

    by_id = {summary.plan.id: summary for summary in report.summaries}
    failed = tuple(failed_assertions(compiled.plan, by_id, compiled.origins, report.edits))
    if failures or failed:
        raise CircuitError((*failures, *failed))
