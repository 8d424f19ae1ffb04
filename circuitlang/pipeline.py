"""The whole path on one screen: text → syntax → program → plan → results → files.

Each arrow is a function of its own file. Up to the plan nothing imports torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from circuitlang.bundled.layers import layers
from circuitlang.compiler.check import check
from circuitlang.compiler.lower import lower
from circuitlang.compiler.parse import parse
from circuitlang.compiler.plan import Origins, Plan, read_plan, write_plan
from circuitlang.compiler.program import Vocabulary
from circuitlang.engine.contracts import ABLATIONS, CRITERIA, MODELS
from circuitlang.errors import Finding, InputError, SpecError
from circuitlang.source import Source, read

if TYPE_CHECKING:
    from circuitlang.engine.execute import Options
    from circuitlang.engine.result import Result


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


def vocabulary() -> Vocabulary:
    """Every word a spec may use, from the registries and the models that are known."""
    return Vocabulary(
        criteria=CRITERIA.declarations,
        ablations=ABLATIONS.declarations,
        models=MODELS.declarations,
        layers={"bundled.doodle": layers()},
    )


def open_source(path: Path) -> Source:
    """A spec or plan file. Raises InputError where it can't be read."""
    try:
        return read(path)
    except UnicodeDecodeError as error:
        message = f"{path} is not text: byte {error.start} is not UTF-8"
        raise InputError(Finding("E310", message)) from None
    except OSError as error:
        cure = f"give a file in it, as {path / 'NAME.circuit'}" if path.is_dir() else ""
        raise InputError(Finding("E310", f"can't read {path}", None, error.strerror or str(error), cure)) from None


def compile_source(source: Source) -> Compiled:
    """The plan of a spec, or of a plan's own YAML. Raises SpecError with every mistake of the text."""
    if source.name.endswith((".yaml", ".yml")):
        plan, origins = read_plan(source)
        return Compiled(plan, origins, (), source.folder / plan.base)
    program = check(parse(source), vocabulary())
    plan, origins = lower(program)
    return Compiled(plan, origins, program.warnings, source.folder)


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
    from circuitlang.engine.execute import Options, execute, prepare
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
