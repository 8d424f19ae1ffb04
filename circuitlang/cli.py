"""The command line: arguments and exit codes. Everything it does is a call of the pipeline.

Nothing heavy is imported before a command needs it. Exit codes: 0 fine, 1 findings, 2 usage, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

import click

from circuitlang.errors import CircuitError, Finding
from circuitlang.source import Source

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from circuitlang.engine.contracts import Track
    from circuitlang.engine.result import Summary
    from circuitlang.output.listing import Listing
    from circuitlang.pipeline import Compiled, Verdict

T = TypeVar("T")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="circuitlang")
def main() -> None:
    """Feature-preserving circuits in CNNs: say what must be preserved, get the circuit.

    \b
    circuitlang run -e 'preserve conv5:34 on images/dogs/* sparsity<=0.1'
    """
    signal.signal(signal.SIGTERM, _terminated)


@main.command()
@click.argument("spec", required=False, type=click.Path(path_type=Path))
@click.option("-e", "text", metavar="TEXT", help="Run this text instead of a file; its paths are relative to here.")
@click.option("--out", default="runs", show_default=True, type=click.Path(path_type=Path), help="Where results go.")
@click.option("--skip-unreadable", is_flag=True, help="Go on without pictures that can't be read.")
def run(spec: Path | None, text: str | None, out: Path, skip_unreadable: bool) -> None:
    """Find the circuits a SPEC (or a plan.yaml) asks for; finished ones are not done again."""
    with _findings():
        source = _source(spec, text)
        from circuitlang import pipeline

        compiled = pipeline.compile_source(source)
        _say(compiled.warnings)
        from circuitlang.engine.prepare import Options
        from circuitlang.output.report import overview, render

        console, summaries = _stdout(), []
        with _progress() as (progress, track):
            options = Options(skip_unreadable=skip_unreadable, track=track)
            for outcome in pipeline.run_compiled(compiled, out / pipeline.run_name(source), options):
                progress.stop()
                console.print(render(outcome.result, outcome.folder))
                if outcome.cached:
                    console.print("finished before, and nothing has changed since", style="dim")
                console.print()
                summaries.append(outcome.result.summary)
                progress.start()
        if len(summaries) > 1:
            console.print(overview(summaries))
        _promises(compiled, summaries)


@main.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...", type=click.Path(path_type=Path))
@click.option("--deep", is_flag=True, help="Look at the model, the weights and the pictures too, as `run` would.")
@click.option(
    "--format",
    "style",
    default="full",
    show_default=True,
    type=click.Choice(["full", "concise", "json", "github", "sarif"]),
    help="How findings are written.",
)
def check(specs: tuple[Path, ...], deep: bool, style: str) -> None:
    """Name every mistake in each SPEC, without loading a model.

    A SPEC is a file, a folder for all *.circuit in it, or - for standard input. The layers of models that were looked
    at before are known.
    """
    with _findings():
        verdicts = []
        for verdict in _verdicts(specs, deep):
            verdicts.append(verdict)
            if style == "full":
                _print_verdict(verdict)
        if style != "full":
            from circuitlang.output.findings import MACHINE

            found = [finding for verdict in verdicts for finding in verdict.findings]
            click.echo(MACHINE[style](found), nl=False)
    sys.exit(0 if all(verdict.sound for verdict in verdicts) else 1)


@main.command()
@click.argument("word", metavar="CODE|NAME")
def explain(word: str) -> None:
    """Tell more about a finding's CODE or a NAME.

    The name is that of a criterion, an ablation, a metric, a model source or an output format.
    """
    with _findings():
        from circuitlang.output.explain import explain, render

        console = _stdout()
        console.print(render(explain(word), console.is_terminal), soft_wrap=not console.is_terminal)


@main.command()
def criteria() -> None:
    """List the criteria, ablations and metrics there are to write."""
    from circuitlang.engine.contracts import ABLATIONS, CRITERIA, METRICS
    from circuitlang.output.listing import extensions

    with _findings():
        for registry in (CRITERIA, ABLATIONS, METRICS):
            _list(extensions(registry.kind, registry.declarations))
            click.echo()
        _hint("`circuitlang explain NAME` tells more.")


@main.command()
def models() -> None:
    """List where models come from, and those whose names are known."""
    from circuitlang.engine.catalogue import names
    from circuitlang.engine.contracts import MODELS
    from circuitlang.output.listing import columns, extensions

    with _findings():
        console = _stdout()
        _list(extensions(MODELS.kind, MODELS.declarations))
        click.echo()
        console.print(columns(names(), console.is_terminal))
        _hint("\n`circuitlang layers MODEL` lists what a target may name in one.")


@main.command()
@click.argument("model")
def layers(model: str) -> None:
    """List the layers of a MODEL.

    It is written as in a spec: 'squeezenet1_0', 'alexnet(weights=none)'. Its weights are not needed.
    """
    from circuitlang import pipeline
    from circuitlang.output import listing

    with _findings():
        _list(listing.layers(pipeline.look(model)))


@main.command()
@click.argument("spec", required=False, type=click.Path(path_type=Path))
@click.option("-e", "text", metavar="TEXT", help="Plan this text instead of a file.")
@click.option("-o", "output", type=click.Path(path_type=Path), help="Write the plan to this file.")
def plan(spec: Path | None, text: str | None, output: Path | None) -> None:
    """Print what a SPEC would do, as the YAML that `run` takes as well."""
    with _findings():
        import os

        import msgspec

        from circuitlang import pipeline
        from circuitlang.compiler.plan import write_plan

        compiled = pipeline.compile_source(_source(spec, text))
        _say(compiled.warnings)
        base = os.path.relpath(compiled.folder, output.parent if output else ".")
        yaml = write_plan(msgspec.structs.replace(compiled.plan, base=base))
        if output is None:
            click.echo(yaml, nl=False)
        else:
            from circuitlang.output.write import write_file

            write_file(output, yaml.encode())


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def show(folder: Path) -> None:
    """Print the report of a finished circuit, or of a run's circuits, from its FOLDER."""
    with _findings():
        from circuitlang.output.read import circuits, read
        from circuitlang.output.report import overview, render

        console = _stdout()
        results = [(read(place), place) for place in circuits(folder) or [folder]]
        for result, place in results:
            console.print(render(result, place))
            console.print()
        if len(results) > 1:
            console.print(overview([result.summary for result, _ in results]))


def _promises(compiled: Compiled, summaries: list[Summary]) -> None:
    """Bounds and expectations that weren't met end the command with 1."""
    from circuitlang.engine.unmet import unmet

    broken = tuple(unmet(compiled.plan, {summary.plan.id: summary for summary in summaries}, compiled.origins))
    if broken:
        raise CircuitError(broken)


def _verdicts(paths: tuple[Path, ...], deep: bool) -> Iterator[Verdict]:
    from circuitlang import pipeline

    if not deep:
        yield from map(pipeline.judge, pipeline.specs(paths))
        return
    from circuitlang.engine.prepare import Options

    for path in pipeline.specs(paths):
        with _progress() as (_, track):
            verdict = pipeline.judge(path, Options(track=track))
        yield verdict


def _print_verdict(verdict: Verdict) -> None:
    _print_findings(_stdout(), verdict.findings)
    if verdict.sound:
        number = verdict.circuits
        click.echo(f"{verdict.path}: {number} circuit{'' if number == 1 else 's'}, no mistakes")


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


def _say(findings: tuple[Finding, ...]) -> None:
    if findings:
        from rich.console import Console

        _print_findings(Console(stderr=True), findings)


def _print_findings(console: Console, findings: tuple[Finding, ...]) -> None:
    if findings:
        from circuitlang.output.findings import render

        console.print(render(findings), soft_wrap=True, highlight=False)


def _stdout() -> Console:
    from rich.console import Console

    return Console(highlight=False)


@contextmanager
def _progress() -> Iterator[tuple[Progress, Track]]:
    """A progress bar on stderr, on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    progress = Progress(
        *columns, console=console, transient=True, redirect_stdout=False, disable=not console.is_terminal
    )
    with progress:

        def track(items: Iterator[T], label: str, total: int, /) -> Iterator[T]:
            yield from progress.track(items, total=total, description=label)

        yield progress, track
