"""The whole path on one screen: text → syntax → program → plan → results → files.

Each arrow is a function of its own file. Up to the plan nothing imports torch.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from circuitlang.base.diagnostics import CircuitError, Finding, InputError, OutputError, Severity, SpecError, reason
from circuitlang.base.source import LARGEST, Source, Span, decode, read, resolved
from circuitlang.bundled.layers import layers
from circuitlang.compiler.checker import check
from circuitlang.compiler.includes import include
from circuitlang.compiler.parser import parse
from circuitlang.compiler.program import Program, Vocabulary
from circuitlang.engine.models.layer_index import LayerIndex
from circuitlang.plugins.protocols import ABLATIONS, CRITERIA, METRICS, MODELS

if TYPE_CHECKING:
    from circuitlang.engine.graph.channel_nodes import Layer
    from circuitlang.engine.runtime.comparisons import ComparisonStatus, Finished
    from circuitlang.engine.runtime.jobs import Options, PreparedRun
    from circuitlang.engine.runtime.lockfile import Lock
    from circuitlang.engine.runtime.runner import CircuitOutcome, SplitOutcome, WorkSelection
    from circuitlang.plan.model import Circuit, Origins, Plan
    from circuitlang.reporting.terminal.diff_report import Comparison as Changes
    from circuitlang.reporting.terminal.diff_report import DiffInput
    from circuitlang.results.comparison import Comparison
    from circuitlang.results.forecast import Forecast, State
    from circuitlang.results.types import Result, Split, Summary

STDIN = Path("-")
# The page of a run is drawn while it lasts, after so many times as long as that took last.
_PATIENCE = 20


@dataclass(frozen=True)
class Compiled:
    """A plan, where its values came from, what was odd, the folder its patterns are relative to, and its source's
    name."""

    plan: Plan
    origins: Origins
    warnings: tuple[Finding, ...]
    folder: Path
    name: str = ""


@dataclass(frozen=True)
class CheckReport:
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
        layers=LayerIndex({"bundled.doodle": layers()}),
    )


def specs(paths: Iterable[Path]) -> list[Path]:
    """The files that are meant: of a folder every `.circuit` in it and below, but for hidden ones; each file once."""
    found: dict[Path, None] = {}
    for path in paths:
        within = path.rglob("*.circuit") if _is_folder(path) else ()
        seen = [each for each in within if not any(part.startswith(".") for part in each.relative_to(path).parts)]
        # A folder without specs is passed on, for `open_source` to refuse.
        found.update(dict.fromkeys(sorted(seen, key=bytes) or [path]))
    return list(found)


def open_source(path: Path) -> Source:
    """A spec or plan file, or standard input as `-`. Raises InputError where it can't be read."""
    place = Span(Source(str(path), ""), 0, 0)
    try:
        return _standard_input() if path == STDIN else read(path)
    except UnicodeDecodeError as error:
        message = f"{path} is not text: byte {error.start} is not UTF-8"
        raise InputError(Finding("E310", message, place)) from None
    except OSError as error:
        name = "standard input" if path == STDIN else str(path)
        cure = f"give a file in it, as {path / 'NAME.circuit'}" if _is_folder(path) else ""
        raise InputError(Finding("E310", f"can't read {name}", place, error.strerror or str(error), cure)) from None


def open_included(path: Path) -> Source:
    """A spec that another one includes. Raises InputError where it can't be read, or isn't called a spec: findings
    quote lines, and those of any other file are nobody's business."""
    if path.suffix == ".circuit":
        return open_source(path)
    place, cure = Span(Source(str(path), ""), 0, 0), "included files end in .circuit"
    raise InputError(Finding("E310", f"{path} is not a spec", place, "", cure))


def _standard_input() -> Source:
    # Python has none where it was closed when the program began.
    if sys.stdin is None:
        raise OSError(errno.EBADF, "it is closed")
    content = sys.stdin.buffer.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise OSError(errno.EFBIG, f"it is larger than {LARGEST / 1e6:,.0f} MB")
    return Source("<stdin>", decode(content))


def _is_folder(path: Path) -> bool:
    with suppress(OSError, ValueError):
        return path.is_dir()
    return False


def analyse(source: Source, words: Vocabulary | None = None) -> Program:
    """What a spec means. Raises SpecError with every mistake of the text."""
    return check(include(parse(source), open_included), words or vocabulary())


def compile_source(source: Source, words: Vocabulary | None = None) -> Compiled:
    """The plan of a spec, or of a plan's own YAML. Raises SpecError with every mistake of the text."""
    from circuitlang.compiler.lowering import lower
    from circuitlang.plan.model import read_plan

    if _is_plan(source):
        plan, origins = read_plan(source)
        return Compiled(plan, origins, (), source.folder / plan.base, source.name)
    program = analyse(source, words)
    plan, origins = lower(program)
    return Compiled(plan, origins, program.warnings, source.folder, source.name)


def check_file(path: Path, deep: Options | None = None) -> CheckReport:
    """Everything that is wrong with a spec or plan file; `deep`, also with the model and the files it names."""
    try:
        source = open_source(path)
        if deep is None and not _is_plan(source):
            program = analyse(source)
            return CheckReport(path, len(program.circuits), program.warnings)
        compiled = compile_source(source) if deep is None else _without_layers(source)
    except CircuitError as error:
        return CheckReport(path, 0, error.findings)
    findings = compiled.warnings
    if deep is not None:
        from circuitlang.engine.runtime.jobs import survey

        try:
            notes: list[Finding] = []
            survey(compiled.plan, compiled.folder, compiled.origins, replace(deep, note=notes.append))
            findings = (*findings, *notes)
        except CircuitError as error:
            findings = tuple(sorted((*findings, *error.findings), key=Finding.sort_key))
    return CheckReport(path, len(compiled.plan.circuits), findings)


def _is_plan(source: Source) -> bool:
    return source.name.endswith((".yaml", ".yml"))


def _without_layers(source: Source) -> Compiled:
    """A plan whose layers the engine will judge, so that it can name everything else that is wrong as well."""
    with suppress(SpecError):
        return compile_source(source, msgspec.structs.replace(vocabulary(), layers={}))
    return compile_source(source)


def list_layers(model: str, allow_code: bool = False) -> tuple[tuple[Layer, ...], list[Finding]]:
    """Return the layers of a model, written as behind the word `model`, and warnings; its weights are not needed.

    Raises CircuitError.
    """
    from circuitlang.engine.runtime.jobs import read_model, weights_notes

    compiled = compile_source(Source("<MODEL>", f"model {model}"))
    try:
        loaded, graph = read_model(compiled.plan.model, compiled.folder, allow_code)
        return graph.layers, weights_notes(loaded, compiled.origins["model",])
    except InputError as error:
        place = compiled.origins["model",]
        raise InputError(replace(finding, span=finding.span or place) for finding in error.findings) from None


def run(
    source: Source, out: Path, options: Options | None = None, work: WorkSelection | None = None
) -> Generator[CircuitOutcome | SplitOutcome, None, None]:
    """Do what a spec or plan says, circuit by circuit, each in a folder of its own below `out`; see `run_compiled`."""
    return run_compiled(compile_source(source), out / run_name(source), options, work=work)


def run_compiled(
    compiled: Compiled,
    folder: Path,
    options: Options | None = None,
    locked: Lock | None = None,
    work: WorkSelection | None = None,
    compared: Callable[[ComparisonStatus], None] = lambda _: None,
) -> Generator[CircuitOutcome | SplitOutcome, None, None]:
    """Do what a plan says, each circuit in a folder of its own in this one; refused where anything is not as it was
    locked. By one process in the order of the plan, by several as they are finished; a split after its parts' circuits.
    When all are, what the plan compares is compared, and `compared` told of it.

    Circuits that are finished already, with the same plan, pictures, weights and version, are not done again; what one
    of them lacks is made. Raises CircuitError: at once where the plan can't be run, and about circuits that failed, and
    files that are missing, after all others are done.
    """
    _preserves(compiled.plan)
    from circuitlang.engine import device
    from circuitlang.engine.runtime.jobs import Options, prepare
    from circuitlang.engine.runtime.runner import WorkSelection, lacking, perform
    from circuitlang.plan.model import write_plan
    from circuitlang.results.comparison_folders import folder_names
    from circuitlang.results.writer import claim_run, run_files

    work, options = work or WorkSelection(), options or Options()
    chosen = work.of(compiled.plan)
    ids = [circuit.id for circuit in compiled.plan.circuits]
    # A plan that is run where it lies says already what is run, in its author's words.
    in_place = _same_file(Path(compiled.name), folder / "plan.yaml")
    claim_run(folder, (*chosen, *folder_names(compiled.plan.comparisons, ids)), in_place)
    # A plan can be made anywhere, and be run only where it can be as fast as it was asked to be.
    device.find(options.device, options.fast)
    prepared = prepare(compiled.plan, compiled.folder, compiled.origins, options)
    if locked is not None:
        _as_locked(compiled, prepared, locked)
    if not in_place:
        base = os.path.relpath(compiled.folder, folder)
        with run_files(folder) as files:
            files.put("plan.yaml", write_plan(msgspec.structs.replace(compiled.plan, base=base)).encode())
    page = _index(prepared, folder)
    jobs = [job for job in prepared.jobs if job.plan.id in chosen]
    failed: list[CircuitError] = []
    # The page of many circuits takes a while to draw: it is renewed as often as that takes little of the time, and at
    # the end.
    unseen, drawn, took = 0, time.monotonic(), 0.0
    with closing(perform(prepared, jobs, folder, work.jobs)) as outcomes:
        try:
            for outcome in outcomes:
                if isinstance(outcome, CircuitError):
                    failed.append(outcome)
                    if isinstance(outcome, OutputError):
                        # There is no place for the others either.
                        break
                    continue
                if missing := lacking([outcome]):
                    failed.append(CircuitError(missing))
                unseen += not outcome.cached
                if unseen and time.monotonic() - drawn >= _PATIENCE * took:
                    begin = time.monotonic()
                    page = _index(prepared, folder)
                    unseen, drawn = 0, time.monotonic()
                    took = drawn - begin
                yield outcome
        finally:
            if unseen:
                page = _index(prepared, folder)
    standings, page = _comparisons(prepared, folder, page)
    for standing in standings:
        compared(standing)
        failed += [standing.failure] if standing.failure else []
    failed += page
    if failed:
        raise failed[0] if len(failed) == 1 else CircuitError(each for error in failed for each in error.findings)


def forecast(compiled: Compiled, folder: Path, options: Options | None = None) -> Forecast:
    """What `run_compiled` would do into this folder, and what it would cost.

    Weights and pictures are read only for circuits whose folders are there. Raises CircuitError.
    """
    _preserves(compiled.plan)
    from circuitlang.engine.runtime.cost_model import estimate, scored_before
    from circuitlang.engine.runtime.jobs import Options

    options = options or Options()
    found = estimate(compiled.plan, compiled.folder, compiled.origins, options.allow_code, options.fast)
    asked = {each.id: each.asked for each in found.circuits if not each.refused}
    states, scored, answers = _known(compiled, folder, asked, options)
    known = (replace(each, state=states.get(each.id, "new")) for each in found.circuits)
    return replace(found, circuits=tuple(scored_before(known, compiled.plan, scored, answers)))


def _known(
    compiled: Compiled, folder: Path, asked: Mapping[str, int | None], options: Options
) -> tuple[dict[str, State], set[str], dict[str, list[str]]]:
    """By circuit, whether its folder, where there is one, holds what would be computed; those whose scores are in the
    cache; and of which pictures the network's own responses are."""
    from circuitlang.engine.cache import tensor_cache

    circuits = [
        each
        for each in compiled.plan.circuits
        if each.id in asked
        and (
            (folder / each.id).is_dir() or tensor_cache.anything(compiled.plan.basis(each), compiled.plan.network(each))
        )
    ]
    if not circuits:
        return {}, set(), {}
    from circuitlang.engine.runtime.circuit_job import answered
    from circuitlang.engine.runtime.jobs import prepare
    from circuitlang.engine.runtime.runner import part_of, state_of

    part = part_of(compiled.plan, circuits)
    # As a run that skips unreadable pictures: its results are told from those of one that doesn't by their pictures.
    prepared = prepare(part, compiled.folder, compiled.origins, replace(options, skip_unreadable=True))
    states = {job.plan.id: state_of(job, folder) for job in prepared.jobs}
    scored = set()
    # Of a split the scores of all pictures may be there and those of a part not.
    for job in (each for each in prepared.jobs if each.plan.into is None):
        nested, size = CRITERIA.load(job.plan.criterion.name).nested, asked[job.plan.id]
        if job.score_cache.has(None) if nested else size is not None and job.score_cache.has(size):
            scored.add(job.plan.id)
    return states, scored, {job.plan.id: [*answered(job)] for job in prepared.jobs}


def _same_file(one: Path, other: Path) -> bool:
    with suppress(OSError, ValueError):
        return one.samefile(other) and not other.is_symlink()
    return False


def _preserves(plan: Plan) -> None:
    if not plan.circuits:
        raise SpecError(Finding("E208", "nothing is preserved", None, "", "add a line that begins with 'preserve'"))


def _summary(folder: Path, identity: str) -> Summary | None:
    """What was found in a folder, if it is what would be computed."""
    from circuitlang.results.reader import read_summary

    with suppress(InputError):
        summary = read_summary(folder)
        return summary if summary.provenance.identity == identity else None
    return None


def _split(folder: Path, name: str, identity: str) -> tuple[Split | None, list[Summary]]:
    """A split in a run's folder, if it is the one that would be found, and those of its circuits that are there."""
    from circuitlang.results.reader import parts, read_split, read_summary

    circuits, split = [], None
    for place in parts(folder, name):
        with suppress(InputError):
            summary = read_summary(place)
            if summary.part is not None and summary.part.split == identity:
                circuits.append(summary)
    with suppress(InputError):
        split = read_split(folder / name)
    return split if split and split.provenance.identity == identity else None, circuits


def _finished(prepared: PreparedRun, folder: Path) -> tuple[dict[str, Summary], dict[str, Split]]:
    """The circuits of a run that are there, those of parts too, and the splits, whoever finished them."""
    finished: dict[str, Summary] = {}
    splits: dict[str, Split] = {}
    for job in prepared.jobs:
        name, identity = job.plan.id, job.provenance.identity
        if job.plan.into is None:
            summary = _summary(folder / name, identity)
            finished |= {name: summary} if summary else {}
            continue
        split, circuits = _split(folder, name, identity)
        finished |= {each.plan.id: each for each in circuits}
        splits |= {name: split} if split else {}
    return finished, splits


def _index(prepared: PreparedRun, folder: Path, compared: Sequence[ComparisonStatus] = ()) -> list[CircuitError]:
    """Write the page of a run's circuits, splits and comparisons, whoever finished them, and its sweeps as data: why
    one of these can't be made, which takes nothing from the circuits."""
    from circuitlang.reporting.ci.sweep_json import sweep_data
    from circuitlang.reporting.html.run_index import index
    from circuitlang.results.sweep_grouping import sweeps
    from circuitlang.results.writer import run_files

    failures = []
    # Two runs into a folder would else write what they saw a while ago over what the other saw since.
    with run_files(folder) as files:
        finished, splits = _finished(prepared, folder)
        beside = {each.folder.name: each.comparison for each in compared if each.comparison}

        def page() -> bytes:
            return index(resolved(folder).name, prepared.plan, finished, splits, beside)

        def data() -> bytes | None:
            swept = sweeps(prepared.plan.circuits, finished)
            return sweep_data(swept) if swept else None

        for name, make in (("index.html", page), ("sweep.json", data)):
            try:
                content = make()
            except Exception as error:  # whatever it is, the circuits are there
                cure = "run again: every circuit is kept, and only this is made"
                failures.append(CircuitError(Finding("E393", f"{name} could not be made", None, reason(error), cure)))
                continue
            if content is not None:
                files.put(name, content)
            else:
                # That of a plan which was run here before is of other circuits.
                files.remove(name)
    return failures


def _comparisons(
    prepared: PreparedRun, folder: Path, page: list[CircuitError]
) -> tuple[list[ComparisonStatus], list[CircuitError]]:
    """Compare what a plan compares, as far as its circuits are there: that, and why the run's page can't be made."""
    if not prepared.plan.comparisons:
        return [], page
    from circuitlang.engine.runtime.comparisons import compare_run

    found = list(compare_run(prepared, *_finished(prepared, folder), folder))
    return found, _index(prepared, folder, found)


def compare(paths: Sequence[Path], damaged: list[Finding] | None = None) -> tuple[Comparison, list[Result]]:
    """Compare finished circuits, named by their folders or by those of their runs: what they share, and what was read
    of them.

    Findings about circuits that can't be read are added to `damaged`, as long as two others are left to compare.
    Raises InputError; without `damaged`, also about these.
    """
    from circuitlang.engine.runtime.comparisons import compare_folders
    from circuitlang.results.reader import circuits, read_summary

    # A folder that holds none is passed on, to be refused.
    folders = [each for path in paths for each in circuits(path) or [path]]
    if len(folders) < 2:
        read_summary(folders[0])
        cure = "name another folder, or that of a run of several"
        raise InputError(Finding("E118", "one circuit has nothing to be compared with", None, "", cure))
    broken: list[Finding] = []
    sound = [each for each in folders if _readable(each, broken)]
    if broken and (damaged is None or len(sound) < 2):
        raise InputError(broken)
    if damaged is not None:
        damaged += broken
    return compare_folders([_of_a_run(each) for each in sound])


def _readable(folder: Path, findings: list[Finding]) -> bool:
    """Tell whether a circuit can be read, and add what is wrong with it to the findings."""
    from circuitlang.results.reader import read

    try:
        read(folder)
    except InputError as error:
        findings += error.findings
        return False
    return True


def _of_a_run(folder: Path) -> Finished:
    """A circuit with the plan of its run, where that lies above it."""
    from circuitlang.engine.runtime.comparisons import Finished

    with suppress(CircuitError):
        run = compile_source(open_source(resolved(folder).parent / "plan.yaml"))
        return Finished(folder, run.plan, run.folder)
    return Finished(folder)


def lock(source: Source, options: Options | None = None) -> tuple[Path, Lock | None, Lock]:
    """Write the lock of a spec or plan file beside it: its path, the lock that was there if it was sound, and the new
    one. Raises CircuitError."""
    from circuitlang.engine.runtime import lockfile as locking
    from circuitlang.engine.runtime.jobs import Options, prepare
    from circuitlang.results.writer import claim_lock, write_file

    spec, compiled = Path(source.name), compile_source(source)
    _preserves(compiled.plan)
    prepared = prepare(compiled.plan, compiled.folder, compiled.origins, options or Options())
    now = locking.lock(prepared, compiled.folder)
    before = None
    with suppress(CircuitError):
        before = locking.read_lock(spec)
    if before is None:
        claim_lock(locking.lock_path(spec))
    write_file(locking.lock_path(spec), locking.write_lock(now).encode())
    return locking.lock_path(spec), before, now


def _as_locked(compiled: Compiled, prepared: PreparedRun, locked: Lock) -> None:
    """Raises InputError naming everything that is not as it was locked."""
    from circuitlang.engine.runtime import lockfile as locking

    if drifts := locking.drifted(locked, locking.lock(prepared, compiled.folder)):
        raise InputError(locking.findings(drifts, compiled.origins))


def differ(before: Path, after: Path) -> Changes:
    """What differs in meaning between two specs, plans or runs, and of two runs in what was found.

    Raises CircuitError with everything that is wrong with either.
    """
    from circuitlang.reporting.terminal.diff_report import compare

    given, findings = [], list[Finding]()
    for path in (before, after):
        try:
            given.append(_given(path))
        except CircuitError as error:
            findings += error.findings
    if findings:
        raise InputError(findings)
    return compare(*given)


def _given(path: Path) -> DiffInput:
    """A spec, a plan, or the folder of a run or of one circuit, to be compared."""
    from circuitlang.base.plain_files import is_there
    from circuitlang.plan.diff import Side
    from circuitlang.plan.model import Images, Plan
    from circuitlang.reporting.terminal.diff_report import DiffInput
    from circuitlang.results.reader import read_summary

    if is_there(path / "plan.yaml"):
        compiled = compile_source(open_source(path / "plan.yaml"))
        folders = {circuit.id: path / circuit.id for circuit in compiled.plan.circuits}
        return DiffInput(Side(compiled.plan, compiled.origins, compiled.folder), folders)
    if not _is_folder(path):
        compiled = compile_source(open_source(path))
        return DiffInput(Side(compiled.plan, compiled.origins, compiled.folder))
    summary = read_summary(path)
    sets = {name: Images([]) for name in _sets(summary.plan)}
    origins: Origins = {}
    folder = path
    with suppress(CircuitError):
        run = compile_source(open_source(path.parent / "plan.yaml"))
        # What a part is called in its folder isn't what its split is called in the plan.
        asked = msgspec.structs.replace(summary.plan, id=summary.asked_as)
        if any(circuit == asked for circuit in run.plan.circuits):
            sets, origins, folder = run.plan.images, run.origins, run.folder
    plan = Plan(model=summary.model, images=sets, circuits=[summary.plan])
    return DiffInput(Side(plan, origins, folder), {summary.plan.id: path})


def _sets(circuit: Circuit) -> list[str]:
    """The names of a circuit's sets of pictures."""
    return [name for name in (circuit.images, circuit.test, circuit.contrast) if name is not None]


def run_name(source: Source) -> str:
    """The folder of a source's results: the spec's name, and for a plan that a run left, that run's."""
    path = Path(source.name)
    return resolved(path).parent.name if path.name == "plan.yaml" else source.stem
