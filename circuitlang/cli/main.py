"""The command line: arguments and exit codes. Everything it does is a call of the pipeline.

Nothing heavy is imported before a command needs it. Exit codes: 0 fine, 1 findings, 2 usage, 70 an error of circuitlang
itself, 130 interrupted.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from circuitlang.base.diagnostics import CircuitError, Finding, InputError
from circuitlang.base.printable import lines
from circuitlang.base.source import Source, unfit
from circuitlang.cli.process_setup import boundary

if TYPE_CHECKING:
    from rich.progress import Progress

    from circuitlang.engine.runtime.comparisons import ComparisonStatus
    from circuitlang.engine.runtime.lockfile import Lock
    from circuitlang.engine.runtime.runner import CircuitOutcome, SplitOutcome
    from circuitlang.pipeline import CheckReport, Compiled
    from circuitlang.plan.model import Circuit
    from circuitlang.plugins.protocols import TrackProgress
    from circuitlang.reporting.terminal.console import Console
    from circuitlang.reporting.terminal.tables import Listing
    from circuitlang.results.types import Summary

T = TypeVar("T")


class _Path(click.Path):
    """A path, or a usage error that says why a text can't be one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and (problem := unfit(value)):
            self.fail(problem, param, ctx)
        return super().convert(value, param, ctx)


_FILE = _Path(path_type=Path, dir_okay=False)
# Of more circuits than these a run prints what is claimed, not all of it.
_MANY = 12
_allow_code = click.option("--allow-code", is_flag=True, help="Run the Python file that a model statement names.")


class _Program(click.Group):
    """The commands, and around each of them the boundary."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        with boundary():
            return super().main(*arguments, **options)


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="circuitlang")
def main() -> None:
    """Feature-preserving circuits in CNNs: say what must be preserved, get the circuit.

    \b
    circuitlang run -e 'preserve conv5:34 on images/dogs/* sparsity<=0.1'
    """
    signal.signal(signal.SIGTERM, _terminated)


@main.command()
@click.argument("spec", required=False, type=_Path(path_type=Path))
@click.option("-e", "text", metavar="TEXT", help="Run this text instead of a file; its paths are relative to here.")
@click.option("--out", default="runs", show_default=True, type=_Path(path_type=Path), help="Where results go.")
@click.option("--skip-unreadable", is_flag=True, help="Go on without pictures that can't be read.")
@click.option("--locked", is_flag=True, help="Refuse whatever is not as `circuitlang lock` found it.")
@click.option("--visualise", is_flag=True, help="Draw what excites each channel of a circuit, not the feature's alone.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Circuits computed at a time.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="cpu, cuda, cuda:N or mps.")
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Pictures at a time; as suits the device.")
@click.option("--fast", is_flag=True, help="Score in TF32 on a GPU, and say how far that is from single precision.")
@click.option("--only", multiple=True, metavar="ID", help="Only the circuit of this id; may be given again.")
@click.option("--shard", default="1/1", metavar="I/N", help="Only every N-th circuit, from the I-th on.")
@click.option("--junit", type=_FILE, metavar="FILE", help="Write what holds and what doesn't as JUnit XML, for CI.")
@click.option("--summary", type=_FILE, metavar="FILE", help="Write the same, and every number, as JSON.")
@_allow_code
def run(
    spec: Path | None,
    text: str | None,
    out: Path,
    skip_unreadable: bool,
    locked: bool,
    visualise: bool,
    jobs: int,
    device: str,
    batch_size: int | None,
    fast: bool,
    only: tuple[str, ...],
    shard: str,
    junit: Path | None,
    summary: Path | None,
    allow_code: bool,
) -> None:
    """Find the circuits a SPEC (or a plan.yaml) asks for; finished ones are not done again."""
    from circuitlang.cli.recorder import recorded

    with _findings(), recorded(junit, summary) as recording:
        recording.name = spec.stem if spec else "inline"
        source = _source(spec, text)
        from circuitlang import pipeline

        recording.name = pipeline.run_name(source)
        compiled = pipeline.compile_source(source)
        _say(compiled.warnings)
        lock = _lock(spec) if locked else None
        from circuitlang.engine.runtime.comparisons import ComparisonStatus
        from circuitlang.engine.runtime.jobs import Options
        from circuitlang.engine.runtime.runner import SplitOutcome, WorkSelection

        console, folder = _stdout(), out / pipeline.run_name(source)
        found: dict[str, list[Summary]] = {}
        failed: tuple[Finding, ...] = ()
        work, compared = WorkSelection(only, shard, jobs), list[ComparisonStatus]()
        recording.begin(compiled, work)
        with _progress() as (progress, track):
            options = Options(skip_unreadable, allow_code, visualise, device, batch_size, fast, track, _note)
            with closing(pipeline.run_compiled(compiled, folder, options, lock, work, compared.append)) as outcomes:
                try:
                    for outcome in outcomes:
                        progress.stop()
                        _report(console, outcome, whole=len(compiled.plan.circuits) <= _MANY)
                        if not isinstance(outcome, SplitOutcome):
                            found.setdefault(outcome.result.summary.asked_as, []).append(outcome.result.summary)
                            recording.add(outcome)
                        progress.start()
                except CircuitError as error:
                    failed = error.findings
        summaries = [each for circuit in compiled.plan.circuits for each in found.get(circuit.id, ())]
        if len(summaries) > 1:
            _side_by_side(console, compiled.plan.circuits, summaries)
            console.print(f"side by side in {folder / 'index.html'}", soft_wrap=True, markup=False)
        _compared(compared)
        _promises(compiled, summaries, failed)


@main.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...", type=_Path(path_type=Path))
@click.option("--deep", is_flag=True, help="Look at the model, the weights and the pictures too, as `run` would.")
@click.option(
    "--format",
    "style",
    default="full",
    show_default=True,
    type=click.Choice(["full", "concise", "json", "github", "sarif"]),
    help="How findings are written.",
)
@_allow_code
def check(specs: tuple[Path, ...], deep: bool, style: str, allow_code: bool) -> None:
    """Name every mistake in each SPEC, without loading a model.

    A SPEC is a file, a folder for all *.circuit in it, or - for standard input. The layers of models that were looked
    at before are known.
    """
    with _findings():
        verdicts = []
        for verdict in _verdicts(specs, deep, allow_code):
            verdicts.append(verdict)
            if style == "full":
                _print_verdict(verdict)
        if style != "full":
            from circuitlang.reporting.diagnostics import MACHINE

            found = [finding for verdict in verdicts for finding in verdict.findings]
            click.echo(MACHINE[style](found), nl=False)
    sys.exit(0 if all(verdict.sound for verdict in verdicts) else 1)


@main.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...", type=_Path(path_type=Path))
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit with 1 if a file would change.")
@click.option("--diff", "show_diff", is_flag=True, help="Write nothing; print what would change.")
def fmt(specs: tuple[Path, ...], only_check: bool, show_diff: bool) -> None:
    """Lay out each SPEC in the one style; nothing it says changes.

    A SPEC is a file, a folder for all *.circuit in it, or - for standard input, which is printed. A file with syntax
    mistakes is left as it is.
    """
    from circuitlang import pipeline

    failed = changed = False
    with _findings():
        for path in pipeline.specs(specs):
            try:
                changed |= _format(path, only_check, show_diff)
            except CircuitError as error:
                _say(error.findings)
                failed = True
    sys.exit(1 if failed or (only_check and changed) else 0)


def _format(path: Path, only_check: bool, show_diff: bool) -> bool:
    """Format a file, or say how it would change; returns whether it does."""
    from circuitlang.compiler.formatter import format_source
    from circuitlang.pipeline import STDIN, open_source

    source = open_source(path)
    formatted = format_source(source).encode()
    # The source has lost its carriage returns and its byte order mark; the file has not.
    written = source.text.encode() if path == STDIN else path.read_bytes()
    changed = formatted != written
    if show_diff:
        _print_diff(source.name, written.decode(), formatted.decode())
    elif only_check:
        if changed:
            _echo(f"would format {source.name}")
    elif path == STDIN:
        # A program gets what was written to the letter, a terminal what can be seen of it.
        click.echo(lines(formatted.decode()) if sys.stdout.isatty() else formatted, nl=False)
    elif changed:
        _rewrite(path.resolve(), formatted)
        _echo(f"formatted {path}")
    return changed


def _rewrite(path: Path, content: bytes) -> None:
    """New content for a file that keeps its permissions."""
    from circuitlang.results.writer import write_file

    mode = path.stat().st_mode
    write_file(path, content, "make it writable, or format a copy of it")
    path.chmod(mode)


def _print_diff(name: str, before: str, after: str) -> None:
    """A unified diff, coloured on a terminal."""
    import difflib

    old, new = (re.findall(r"[^\n]*\n|[^\n]+", text) for text in (before, after))
    changes = difflib.unified_diff(old, new, name, name)
    ended = (line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in changes)
    console = _stdout()
    if not console.is_terminal:
        click.echo("".join(ended), nl=False)
        return
    from rich.text import Text

    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in ended:
        console.print(Text(line, style=colours.get(line[0], "")), end="", soft_wrap=True)


@main.command()
@click.argument("word", metavar="CODE|NAME")
def explain(word: str) -> None:
    """Tell more about a finding's CODE or a NAME.

    The name is that of a criterion, an ablation, a metric, a model source or an output format.
    """
    with _findings():
        from circuitlang.cli.explain import explain, render

        console = _stdout()
        console.print(render(explain(word), console.is_terminal), soft_wrap=not console.is_terminal)


@main.command()
def criteria() -> None:
    """List the criteria, ablations and metrics there are to write."""
    from circuitlang.plugins.protocols import ABLATIONS, CRITERIA, METRICS
    from circuitlang.reporting.terminal.tables import extensions

    with _findings():
        for registry in (CRITERIA, ABLATIONS, METRICS):
            _list(extensions(registry.kind, registry.declarations))
            click.echo()
        _hint("`circuitlang explain NAME` tells more.")


@main.command()
def models() -> None:
    """List where models come from, and those whose names are known."""
    from circuitlang.engine.models.catalog import names
    from circuitlang.plugins.protocols import MODELS
    from circuitlang.reporting.terminal.tables import columns, extensions

    with _findings():
        console = _stdout()
        _list(extensions(MODELS.kind, MODELS.declarations))
        click.echo()
        console.print(columns(names(), console.is_terminal))
        _hint("\n`circuitlang layers MODEL` lists what a target may name in one.")


@main.command()
@click.argument("model")
@_allow_code
def layers(model: str, allow_code: bool) -> None:
    """List the layers of a MODEL.

    It is written as in a spec: 'squeezenet1_0', 'alexnet(weights=none)'. Its weights are not needed.
    """
    from circuitlang import pipeline
    from circuitlang.reporting.terminal import tables

    with _findings():
        layers, notes = pipeline.list_layers(model, allow_code)
        _say(tuple(notes))
        _list(tables.layers(layers))


@main.command()
@click.argument("spec", required=False, type=_Path(path_type=Path))
@click.option("-e", "text", metavar="TEXT", help="Plan this text instead of a file.")
@click.option("--out", default="runs", show_default=True, type=_Path(path_type=Path), help="Where results are.")
@click.option("--yaml", "style", flag_value="yaml", help="Print the plan itself, which `run` takes like a spec.")
@click.option("--json", "style", flag_value="json", help="Print the numbers for a program.")
@click.option("--schema", "style", flag_value="schema", help="Print the JSON Schema of the YAML; no SPEC is needed.")
@click.option("-o", "output", type=_Path(path_type=Path), help="Write the plan's YAML to this file.")
@click.option("--fast", is_flag=True, help="Of what `run --fast` would do.")
@_allow_code
def plan(
    spec: Path | None,
    text: str | None,
    out: Path,
    style: str | None,
    output: Path | None,
    fast: bool,
    allow_code: bool,
) -> None:
    """Print what a SPEC would do, what is finished already, and what it would cost."""
    if output is not None and style not in (None, "yaml"):
        raise click.UsageError("-o writes YAML")
    with _findings():
        from circuitlang import pipeline

        if style == "schema":
            from circuitlang.plan.schema import FILE

            click.echo(FILE.read_text(encoding="utf-8"), nl=False)
            return
        source = _source(spec, text)
        compiled = pipeline.compile_source(source)
        _say(compiled.warnings)
        if output is not None or style == "yaml":
            _yaml(compiled, output)
            return
        from circuitlang.engine.runtime.jobs import Options
        from circuitlang.reporting.terminal.console import json_text
        from circuitlang.reporting.terminal.plan_report import as_json, draw

        with _progress() as (_, track):
            options = Options(allow_code=allow_code, fast=fast, track=track)
            found = pipeline.forecast(compiled, out / pipeline.run_name(source), options)
        if style == "json":
            click.echo(json_text(as_json(found)), nl=False)
        else:
            console = _stdout()
            # A tree can't be soft-wrapped; in a pipe its lines stay whole.
            console.width = console.width if console.is_terminal else 10_000
            console.print(draw(found))


def _yaml(compiled: Compiled, output: Path | None) -> None:
    """The plan, on stdout or in a file; its base is relative to where it will be read from."""
    import os

    import msgspec

    from circuitlang.plan.model import write_plan

    base = os.path.relpath(compiled.folder, output.parent if output else ".")
    yaml = write_plan(msgspec.structs.replace(compiled.plan, base=base))
    if output is None:
        click.echo(yaml, nl=False)
    else:
        from circuitlang.results.writer import write_file

        write_file(output, yaml.encode(), "give another place for it")


@main.command()
@click.argument("folder", type=_Path(path_type=Path))
def show(folder: Path) -> None:
    """Print the report of a finished circuit, split or comparison, or of all of a run, from its FOLDER."""
    with _findings():
        from circuitlang.reporting.terminal import split_report
        from circuitlang.reporting.terminal.circuit_report import render
        from circuitlang.reporting.terminal.comparison_report import render as compared
        from circuitlang.results.comparison_folders import comparisons, read_comparison
        from circuitlang.results.reader import circuits, read, read_split, splits

        console, split, beside = _stdout(), splits(folder), comparisons(folder)
        # The folder of a split or a comparison alone holds no circuit.
        places = circuits(folder) or ([] if split or beside == [folder] else [folder])
        # A damaged circuit does not hide the others.
        damaged: list[Finding] = []
        results = _readable(read, places, damaged)
        for result, place in results:
            if len(results) <= _MANY:
                console.print(render(result, place))
                console.print()
        for parted, place in _readable(read_split, split, damaged):
            console.print(split_report.render(parted, place))
            console.print()
        if len(results) > 1:
            plans = [result.summary.plan for result, _ in results]
            _side_by_side(console, plans, [result.summary for result, _ in results])
        for comparison, place in _readable(read_comparison, beside, damaged):
            console.print(compared(comparison, place))
        if damaged:
            raise InputError(damaged)


def _readable(read: Callable[[Path], T], places: Iterable[Path], damaged: list[Finding]) -> list[tuple[T, Path]]:
    """Read what can be read, with its folder, and add the findings about the rest."""
    found = []
    for place in places:
        try:
            found.append((read(place), place))
        except InputError as error:
            damaged += error.findings
    return found


@main.command()
@click.argument("circuit", type=_Path(path_type=Path))
@click.argument("file", type=_Path(path_type=Path))
def export(circuit: Path, file: Path) -> None:
    """Write a finished CIRCUIT, named by its folder, to a FILE of the kind that its ending says.

    \b
    circuitlang export runs/dogs/snout snout.onnx      its module, for other runtimes
    circuitlang export runs/dogs/snout snout.graphml   its graph; .json too
    circuitlang export runs/dogs/snout snout.pdf       its diagram; .png, .svg, .html too
    """
    with _findings():
        from circuitlang.api import load

        load(circuit).export(file)
        _echo(f"wrote {file}")


@main.command()
@click.argument("before", metavar="A", type=_Path(path_type=Path))
@click.argument("after", metavar="B", type=_Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the same as data.")
def diff(before: Path, after: Path, as_json: bool) -> None:
    """Tell what differs in meaning between A and B, each a spec, a plan, or the folder of a run or circuit.

    Of two runs also the measurements, the kept kernels, and what they came from. Exits with 1 where they differ.
    """
    with _findings():
        from circuitlang import pipeline
        from circuitlang.reporting.terminal.diff_report import plain, render

        comparison = pipeline.differ(before, after)
        if as_json:
            import json

            click.echo(json.dumps(plain(comparison), indent=2))
        else:
            console = _stdout()
            console.print(render(comparison), soft_wrap=not console.is_terminal)
    sys.exit(0 if comparison.same else 1)


@main.command()
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...", type=_Path(path_type=Path))
@click.option("--out", type=_Path(path_type=Path), metavar="FOLDER", help="Write report and diagram there too.")
@click.option("--json", "as_json", is_flag=True, help="Print the same as data.")
def compare(folders: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Tell how much finished circuits share, each named by its FOLDER, or all of a run by that of the run.

    They may be of several runs, but of one network. Shared are kernels, layer by layer and against chance; and what
    circuits answer to pictures that were held out from both.
    """
    with _findings():
        from circuitlang import pipeline
        from circuitlang.reporting.terminal.comparison_report import render

        comparison, results = pipeline.compare(folders)
        if out is not None:
            from circuitlang.results.outputs import ComparisonResult
            from circuitlang.results.writer import write_comparison

            comparison = write_comparison(ComparisonResult(comparison, results), out).comparison
        if as_json:
            import msgspec

            from circuitlang.reporting.terminal.console import json_text

            click.echo(json_text(msgspec.json.format(msgspec.json.encode(comparison), indent=2).decode()))
        else:
            _stdout().print(render(comparison, out))
        if comparison.missing:
            from circuitlang.results.rendering import missing_formats

            raise CircuitError(missing_formats(str(out), comparison.missing, "only this is made"))


@main.command()
@click.argument("spec", type=_Path(path_type=Path))
@click.option("--skip-unreadable", is_flag=True, help="Go on without pictures that can't be read.")
@_allow_code
def lock(spec: Path, skip_unreadable: bool, allow_code: bool) -> None:
    """Write down beside a SPEC what it stands on, by content: its meaning, the weights, every picture.

    `circuitlang run SPEC --locked` refuses anything else.
    """
    _lockable(spec)
    with _findings():
        from circuitlang import pipeline
        from circuitlang.engine.runtime.jobs import Options
        from circuitlang.engine.runtime.lockfile import drifted, outdated

        with _progress() as (_, track):
            options = Options(skip_unreadable=skip_unreadable, allow_code=allow_code, track=track, note=_note)
            path, before, now = pipeline.lock(_source(spec, None), options)
        pictures = sum(map(len, now.images.values()))
        weights = now.model.name or now.model.weights[:12]
        _echo(f"{path}: {pictures} picture{'' if pictures == 1 else 's'}, weights {weights}")
        for drift in [*drifted(before, now), *outdated(before.versions, now.versions)] if before else []:
            _echo(f"  {drift.message}" + (f": {drift.label}" if drift.label else ""))


def _lock(spec: Path | None) -> Lock:
    """The lock of a spec; that packages have other versions now is a warning."""
    from circuitlang.engine.runtime.lockfile import findings, outdated, read_lock, versions

    found = read_lock(_lockable(spec))
    _say(tuple(findings(outdated(found.versions, versions()), {})))
    return found


def _lockable(spec: Path | None) -> Path:
    if spec is None or str(spec) == "-":
        raise click.UsageError("only a file can be locked")
    return spec


@main.command()
@click.option("--clear", is_flag=True, help="Remove it; the layers of models stay known.")
def cache(clear: bool) -> None:
    """Tell how much is kept of scores and responses.

    What is there is not computed again.
    CIRCUITLANG_CACHE names another folder for it.
    """
    with _findings():
        from circuitlang.engine.cache import tensor_cache as kept

        number, size = kept.held()
        if clear:
            kept.clear()
        said = f"{number:,} file{'' if number == 1 else 's'} of scores and responses, {size / 1e6:,.1f} MB"
        _echo(f"{'removed ' if clear else ''}{said} in {kept.folder().parent}")


def _compared(standings: list[ComparisonStatus]) -> None:
    """What was compared, and what waits for which circuits."""
    from circuitlang.base.diagnostics import listing
    from circuitlang.reporting.terminal.comparison_report import render

    console = _stdout()
    for each in standings:
        if each.comparison:
            console.print()
            console.print(render(each.comparison, each.folder))
        elif each.missing:
            said = f"compare {listing(each.circuits)} waits for {listing(each.missing)}"
            console.print(f"\n{said}", style="yellow", soft_wrap=True, markup=False)


def _report(console: Console, outcome: CircuitOutcome | SplitOutcome, whole: bool) -> None:
    """What is said of a circuit or split when it is finished: all, or of one circuit of many a line."""
    from circuitlang.base.diagnostics import listing
    from circuitlang.engine.runtime.runner import SplitOutcome
    from circuitlang.reporting.terminal import split_report
    from circuitlang.reporting.terminal.circuit_report import brief, render

    if isinstance(outcome, SplitOutcome):
        console.print(split_report.render(outcome.result.split, outcome.folder))
    elif whole:
        console.print(render(outcome.result, outcome.folder))
    else:
        console.print(brief(outcome.result.summary, outcome.cached))
    if not isinstance(outcome, SplitOutcome) and outcome.damage:
        console.print(f"made again: {listing(outcome.damage)}", style="dim", soft_wrap=True, markup=False)
    if not (whole or isinstance(outcome, SplitOutcome)):
        return
    if outcome.cached:
        console.print("finished before, and nothing has changed since", style="dim")
    console.print()


def _side_by_side(console: Console, circuits: list[Circuit], summaries: list[Summary]) -> None:
    """The circuits of a run a line each, and its sweeps; the members of a large one are not listed as well."""
    from circuitlang.reporting.terminal.circuit_report import overview
    from circuitlang.reporting.terminal.sweep_report import sweep_report
    from circuitlang.results.sweep_grouping import sweeps

    swept = sweeps(circuits, {summary.plan.id: summary for summary in summaries})
    if len(summaries) > _MANY:
        console.print()
        inside = {each.plan.id for sweep in swept for each in sweep.circuits}
        summaries = [summary for summary in summaries if summary.plan.id not in inside]
    if summaries:
        console.print(overview(summaries))
    for sweep in swept:
        console.print(sweep_report(sweep))
        console.print()


def _promises(compiled: Compiled, summaries: list[Summary], failed: tuple[Finding, ...]) -> None:
    """Circuits that failed, and bounds and expectations that weren't met, end the command with 1."""
    from circuitlang.results.failed_assertions import failed_assertions

    broken = tuple(
        failed_assertions(compiled.plan, {summary.plan.id: summary for summary in summaries}, compiled.origins)
    )
    if failed or broken:
        raise CircuitError((*failed, *broken))


def _verdicts(paths: tuple[Path, ...], deep: bool, allow_code: bool) -> Iterator[CheckReport]:
    from circuitlang import pipeline

    if not deep:
        yield from map(pipeline.check_file, pipeline.specs(paths))
        return
    from circuitlang.engine.runtime.jobs import Options

    for path in pipeline.specs(paths):
        with _progress() as (_, track):
            verdict = pipeline.check_file(path, Options(allow_code=allow_code, track=track))
        yield verdict


def _print_verdict(verdict: CheckReport) -> None:
    if verdict.findings:
        _print_findings(_stdout(), verdict.findings)
    if verdict.sound:
        number = verdict.circuits
        _echo(f"{verdict.path}: {number} circuit{'' if number == 1 else 's'}, no mistakes")


def _hint(text: str) -> None:
    """What a person may do next; pipes are spared it."""
    console = _stdout()
    if console.is_terminal:
        console.print(text)


def _list(listing: Listing) -> None:
    console = _stdout()
    console.print(listing.render(console.is_terminal), soft_wrap=not console.is_terminal)


def _source(spec: Path | None, text: str | None) -> Source:
    if (spec is None) == (text is None):
        raise click.UsageError("give a SPEC file, or text with -e")
    if text is not None:
        return Source("<-e>", text)
    assert spec is not None
    from circuitlang.pipeline import open_source

    return open_source(spec)


@contextmanager
def _findings() -> Iterator[None]:
    """Errors a user can act on are shown as findings, on stderr, and end the command with 1."""
    try:
        yield
    except CircuitError as error:
        _say(error.findings)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("interrupted; finished circuits are kept", err=True)
        sys.exit(130)


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    """Being asked to end is like being interrupted: what is half done is tidied away."""
    raise KeyboardInterrupt


def _note(finding: Finding) -> None:
    _say((finding,))


def _say(findings: tuple[Finding, ...]) -> None:
    if findings:
        from circuitlang.reporting.terminal.console import Console

        _print_findings(Console(stderr=True), findings)


def _print_findings(console: Console, findings: tuple[Finding, ...]) -> None:
    if findings:
        from circuitlang.reporting.diagnostics import render

        console.print(render(findings), soft_wrap=True, highlight=False)


def _stdout() -> Console:
    from circuitlang.reporting.terminal.console import Console

    return Console()


def _echo(text: str) -> None:
    """A line for people, or several."""
    click.echo(lines(text))


@contextmanager
def _progress() -> Iterator[tuple[Progress, TrackProgress]]:
    """A progress bar on stderr, on a terminal only."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from circuitlang.reporting.terminal.console import Console

    # What is read may be called like markup.
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    progress = Progress(
        *columns, console=console, transient=True, redirect_stdout=False, disable=not console.is_terminal
    )
    with progress:

        def track(items: Iterator[T], label: str, total: int, /) -> Iterator[T]:
            yield from progress.track(items, total=total, description=label)

        yield progress, track
