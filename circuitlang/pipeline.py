"""The whole path on one screen: text → syntax → program → plan → results → files.

Each arrow is a function of its own file. Up to the plan nothing imports torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from circuitlang.bundled.layers import layers
from circuitlang.compiler.check import check
from circuitlang.compiler.include import include
from circuitlang.compiler.lower import lower
from circuitlang.compiler.parse import parse
from circuitlang.compiler.plan import Origins, Plan, read_plan, write_plan
from circuitlang.compiler.program import Vocabulary
from circuitlang.engine.contracts import ABLATIONS, CRITERIA, METRICS, MODELS
from circuitlang.engine.known import known
from circuitlang.errors import CircuitError, Finding, InputError, Severity, SpecError
from circuitlang.source import Source, Span, decode, read

if TYPE_CHECKING:
    from circuitlang.engine.graph import Layer
    from circuitlang.engine.prepare import Options
    from circuitlang.engine.result import Result

STDIN = Path("-")


@dataclass(frozen=True)
class Compiled:
    """A plan, where its values came from, what was odd, and the folder its patterns are relative to."""

    plan: Plan
    origins: Origins
    warnings: tuple[Finding, ...]
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """A finished circuit and its folder; `cached` where it was finished before."""

    result: Result
    folder: Path
    cached: bool


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a file, and how many circuits it asks for if nothing is."""

    path: Path
    circuits: int
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        return not any(finding.severity is Severity.ERROR for finding in self.findings)


def vocabulary() -> Vocabulary:
    """Every word a spec may use, from the registries and the models that are known."""
    return Vocabulary(
        criteria=CRITERIA.declarations,
        ablations=ABLATIONS.declarations,
        metrics=METRICS.declarations,
        models=MODELS.declarations,
        layers={**known(), "bundled.doodle": layers()},
    )


def specs(paths: Iterable[Path]) -> list[Path]:
    """The files that are meant: of a folder every `.circuit` in it and below, but for hidden ones; each file once."""
    found: dict[Path, None] = {}
    for path in paths:
        within = path.rglob("*.circuit") if path.is_dir() else ()
        seen = [each for each in within if not any(part.startswith(".") for part in each.relative_to(path).parts)]
        # A folder without specs is passed on, for `open_source` to refuse.
        found.update(dict.fromkeys(sorted(seen, key=bytes) or [path]))
    return list(found)


def open_source(path: Path) -> Source:
    """A spec or plan file, or standard input as `-`. Raises InputError where it can't be read."""
    place = Span(Source(str(path), ""), 0, 0)
    try:
        return Source("<stdin>", decode(sys.stdin.buffer.read())) if path == STDIN else read(path)
    except UnicodeDecodeError as error:
        message = f"{path} is not text: byte {error.start} is not UTF-8"
        raise InputError(Finding("E310", message, place)) from None
    except OSError as error:
        cure = f"give a file in it, as {path / 'NAME.circuit'}" if path.is_dir() else ""
        raise InputError(Finding("E310", f"can't read {path}", place, error.strerror or str(error), cure)) from None


def compile_source(source: Source, words: Vocabulary | None = None) -> Compiled:
    """The plan of a spec, or of a plan's own YAML. Raises SpecError with every mistake of the text."""
    if source.name.endswith((".yaml", ".yml")):
        plan, origins = read_plan(source)
        return Compiled(plan, origins, (), source.folder / plan.base)
    program = check(include(parse(source), open_source), words or vocabulary())
    plan, origins = lower(program)
    return Compiled(plan, origins, program.warnings, source.folder)


def judge(path: Path, deep: Options | None = None) -> Verdict:
    """Everything that is wrong with a spec or plan file; `deep`, also with the model and the files it names."""
    try:
        source = open_source(path)
        compiled = compile_source(source) if deep is None else _without_layers(source)
    except CircuitError as error:
        return Verdict(path, 0, error.findings)
    findings = compiled.warnings
    if deep is not None:
        from circuitlang.engine.prepare import survey

        try:
            survey(compiled.plan, compiled.folder, compiled.origins, deep)
        except CircuitError as error:
            findings = tuple(sorted((*findings, *error.findings), key=Finding.sort_key))
    return Verdict(path, len(compiled.plan.circuits), findings)


def _without_layers(source: Source) -> Compiled:
    """A plan whose layers the engine will judge, so that it can name everything else that is wrong as well."""
    with suppress(SpecError):
        return compile_source(source, replace(vocabulary(), layers={}))
    return compile_source(source)


def look(model: str) -> tuple[Layer, ...]:
    """The layers of a model, which is written as behind the word `model`; its weights are not needed.

    Raises CircuitError.
    """
    from circuitlang.engine.prepare import outline, read_model

    compiled = compile_source(Source("<MODEL>", f"model {model}"))
    try:
        return read_model(compiled.plan.model, compiled.folder, outline)[1].layers
    except InputError as error:
        place = compiled.origins["model",]
        raise InputError(replace(finding, span=finding.span or place) for finding in error.findings) from None


def run(source: Source, out: Path, options: Options | None = None) -> Iterator[Outcome]:
    """Do what a spec or plan says, circuit by circuit, each in a folder of its own below `out`.

    Circuits that are finished already, with the same plan, pictures, weights and version, are not done again.
    Raises CircuitError; what was finished before stays.
    """
    return run_compiled(compile_source(source), out / run_name(source), options)


def run_compiled(compiled: Compiled, folder: Path, options: Options | None = None) -> Iterator[Outcome]:
    """`run` for a plan that is compiled already, into this folder."""
    if not compiled.plan.circuits:
        raise SpecError(Finding("E208", "nothing is preserved", None, "", "add a line that begins with 'preserve'"))
    from circuitlang.engine.execute import execute
    from circuitlang.engine.prepare import Options, prepare
    from circuitlang.output.write import write, write_file

    prepared = prepare(compiled.plan, compiled.folder, compiled.origins, options or Options())
    base = os.path.relpath(compiled.folder, folder)
    write_file(folder / "plan.yaml", write_plan(msgspec.structs.replace(compiled.plan, base=base)).encode())
    for job in prepared.jobs:
        place = folder / job.plan.id
        done = _finished(place, job.provenance.identity)
        if done is None:
            result = execute(prepared, job)
            write(result, place)
            yield Outcome(result, place, cached=False)
        else:
            yield Outcome(done, place, cached=True)


def _finished(folder: Path, identity: str) -> Result | None:
    """The result in a folder, if it is the one that would be computed."""
    from circuitlang.output.read import read, read_summary

    try:
        summary = read_summary(folder)
        return read(folder) if summary.provenance.identity == identity else None
    except InputError:
        return None


def run_name(source: Source) -> str:
    """The folder of a source's results: the spec's name, and for a plan that a run left, that run's."""
    path = Path(source.name)
    return path.resolve().parent.name if path.name == "plan.yaml" else source.stem
