"""The path from a spec to its results: text → plan → results → files.

The compiler makes the plan, the engine runs it, and reporting writes pages and files; this module connects them. Torch
is not imported before something is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from circuitlang.base.diagnostics import CircuitError, Finding, InputError, Severity, SpecError
from circuitlang.base.source import Source, resolved
from circuitlang.bundled.images import PATTERN, SETS
from circuitlang.bundled.layers import layers
from circuitlang.compiler import compile
from circuitlang.compiler.sources import open_source
from circuitlang.compiler.vocabulary import Vocabulary, names_unknown
from circuitlang.engine.models.catalog import names_in
from circuitlang.engine.models.layer_index import LayerIndex
from circuitlang.plan.compiled import CompiledPlan
from circuitlang.plan.layers import has_own_shapes
from circuitlang.plan.model import Images
from circuitlang.plugins.hypothesis_tests import TESTS
from circuitlang.plugins.protocols import ABLATIONS, CRITERIA, METRICS, MODELS
from circuitlang.plugins.transforms import TRANSFORMS

if TYPE_CHECKING:
    from circuitlang.engine.runtime.jobs import PreparedRun
    from circuitlang.engine.runtime.known_inputs import KnownInputs
    from circuitlang.engine.runtime.lockfile import Lock
    from circuitlang.engine.runtime.options import Options
    from circuitlang.engine.runtime.work_selection import WorkSelection
    from circuitlang.plan.layers import NamedModule
    from circuitlang.plan.model import Plan
    from circuitlang.reporting.run_overview import RunOverview
    from circuitlang.results.comparison import Comparison
    from circuitlang.results.edit import EditResult
    from circuitlang.results.forecast import Forecast
    from circuitlang.results.run_listener import ExpectedWork, RunListener


def vocabulary() -> Vocabulary:
    """Return all words that a spec may use, from the registries and the index of known layers."""
    return Vocabulary(
        criteria=CRITERIA.declarations,
        ablations=ABLATIONS.declarations,
        metrics=METRICS.declarations,
        transforms=TRANSFORMS.declarations,
        models=MODELS.declarations,
        tests=TESTS.declarations,
        layers=LayerIndex({"bundled.doodle": layers()}),
        names=names_in,
        images={f"bundled.{name}": Images([f"{PATTERN}{name}"]) for name in SETS},
    )


def compile_source(source: Source) -> CompiledPlan:
    """Return the plan of a spec, or of a plan's own YAML. Raises SpecError with all mistakes in its text.

    Whether the model exists is left to who loads it, and looks for everything else that may be missing.
    """
    return compile.compile_source(source, msgspec.structs.replace(vocabulary(), names=names_unknown))


def run(source: Source, out: Path, options: Options | None = None, work: WorkSelection | None = None) -> None:
    """Run a spec or plan, and write each circuit to a folder below `out`; see `run_compiled`."""
    run_compiled(compile_source(source), out / run_name(source), options, work=work)


def run_compiled(
    compiled: CompiledPlan,
    folder: Path,
    options: Options | None = None,
    locked: Lock | None = None,
    work: WorkSelection | None = None,
) -> None:
    """Run a plan, and write each circuit to a folder of its own in `folder`.

    The listener of the options receives the outcomes: of one process in the order of the plan, of several as they
    finish; a split comes after the circuits of its parts. Circuits that are finished with the same plan, images,
    weights and version are read instead of computed; missing files of theirs are made. The comparisons of the plan
    come last.

    A packed run keeps all circuits as rows of one file instead, without an overview.

    Raises:
        CircuitError: At once if the plan can't be run or differs from the lock. At the end, after all other circuits,
            about those that failed and about missing files.
    """
    _require_circuits(compiled.plan)
    from circuitlang.engine.runtime.hub_commits import at_commits
    from circuitlang.engine.runtime.known_inputs import KnownInputs
    from circuitlang.engine.runtime.options import Options
    from circuitlang.engine.runtime.runner import run_jobs
    from circuitlang.engine.runtime.start import start_run
    from circuitlang.engine.runtime.work_selection import WorkSelection
    from circuitlang.reporting.run_overview import RunOverview
    from circuitlang.results.run_listener import Listeners, RunStart

    work, options = work or WorkSelection(), _stored_as(folder, options or Options(), compiled)
    compiled = at_commits(compiled, options, locked.commits if locked else None)
    prepared, ids = start_run(compiled, folder, options, work, locked)
    identities = {job.plan.id: job.provenance.identity for job in prepared.jobs}
    listener = options.listener
    begin = RunStart(folder, tuple(ids), _expected_work(prepared, ids, folder), work.placement.workers)
    if options.packed:
        from circuitlang.results.packed.packed_writer import packed_writer

        listener.begun(begin)
        with packed_writer(compiled.plan, folder, options.shared) as writer:
            failures = run_jobs(prepared, ids, folder, work.placement, Listeners(writer, listener))
        _end(failures, listener)
        return
    overview = RunOverview(prepared.plan, identities, folder, isinstance(prepared, KnownInputs))
    listener.begun(begin)
    try:
        failures = run_jobs(prepared, ids, folder, work.placement, Listeners(overview, listener))
    finally:
        overview.renew()
    compared, failed = _compare(prepared, folder, overview, listener)
    edited, unedited = _edit(prepared, folder, overview, listener)
    if prepared.plan.comparisons or prepared.plan.edited:
        overview.write(compared, edited)
    overview.complete()
    failures += (*failed, *unedited, *overview.note_expectations())
    failures += overview.failures
    _end(failures, listener)


def _end(failures: Sequence[CircuitError], listener: RunListener) -> None:
    listener.ended()
    if failures:
        raise failures[0] if len(failures) == 1 else CircuitError(f for error in failures for f in error.findings)


def _expected_work(prepared: PreparedRun | KnownInputs, ids: Sequence[str], folder: Path) -> Mapping[str, ExpectedWork]:
    """Return the forecast of the work for each circuit, by id; of known inputs all of it seems to be finished."""
    from circuitlang.engine.runtime.known_inputs import KnownInputs

    if isinstance(prepared, KnownInputs):
        return {}
    from circuitlang.engine.runtime.forecast import expected_work

    return expected_work(prepared, ids, folder)


def _stored_as(folder: Path, options: Options, compiled: CompiledPlan) -> Options:
    """Return options for a folder: a packed run stays packed. Raises InputError if a plan can't be packed."""
    from circuitlang.results.packed.files import is_packed_run

    if not options.packed and not is_packed_run(folder):
        return options
    from circuitlang.results.packed.parquet import arrow

    arrow()
    plan = compiled.plan
    split = next((circuit for circuit in plan.circuits if circuit.into is not None), None)
    if split is not None or plan.comparisons or plan.edited:
        place = compiled.origins.get(("circuits", split.id)) if split else None
        kind = "splits" if split else "comparisons" if plan.comparisons else "edits"
        if kind == "edits":
            place = compiled.origins.get(("edits", plan.edited[0].name))
        message = f"a packed run can't have {kind}"
        cure = "run them without --packed, into a folder of their own with --out"
        raise InputError(Finding("E368", message, place, "it keeps circuits alone", cure))
    return replace(options, packed=True)


def _compare(
    prepared: PreparedRun | KnownInputs, folder: Path, overview: RunOverview, listener: RunListener
) -> tuple[dict[str, Comparison], list[CircuitError]]:
    """Compute the comparisons of a plan whose circuits are finished; return them by folder, and the errors."""
    if not prepared.plan.comparisons:
        return {}, []
    from circuitlang.engine.runtime.run_comparisons import compare_run
    from circuitlang.results.writer import relabel_comparison

    finished = overview.results()
    statuses = list(compare_run(prepared, finished.circuits, finished.splits, folder))
    for status in statuses:
        if status.comparison:
            relabel_comparison(status.comparison, prepared.plan.labels, status.folder)
        listener.compared(status)
    compared = {status.folder.name: status.comparison for status in statuses if status.comparison}
    return compared, [status.failure for status in statuses if status.failure]


def _edit(
    prepared: PreparedRun | KnownInputs, folder: Path, overview: RunOverview, listener: RunListener
) -> tuple[dict[str, EditResult], list[CircuitError]]:
    """Measure the edits of a plan whose circuits are finished; return them by name, and the errors."""
    if not prepared.plan.edited:
        return {}, []
    from circuitlang.engine.runtime.run_edits import edit_run

    statuses = []
    for status in edit_run(prepared, overview.results().circuits, folder):
        statuses.append(status)
        listener.edited(status)
    edited = {status.name: status.result for status in statuses if status.result}
    return edited, [status.failure for status in statuses if status.failure]


def run_name(source: Source) -> str:
    """Return the name of a run's folder: that of the spec, or for the `plan.yaml` of a run that of its folder."""
    path = Path(source.name)
    return resolved(path).parent.name if path.name == "plan.yaml" else source.stem


def forecast(compiled: CompiledPlan, folder: Path, options: Options | None = None) -> Forecast:
    """Return the work that `run_compiled` would do in this folder, and its cost. Raises CircuitError."""
    _require_circuits(compiled.plan)
    from circuitlang.engine.runtime.forecast import forecast_run
    from circuitlang.engine.runtime.hub_commits import at_commits
    from circuitlang.engine.runtime.options import Options

    options = _stored_as(folder, options or Options(), compiled)
    return forecast_run(at_commits(compiled, options), folder, options)


def unpack(folder: Path, ids: Sequence[str], options: Options | None = None) -> list[Path]:
    """Make the folders of circuits of a packed run, as a direct run would have; return them in the order of their ids.

    Folders that are there and undamaged are kept. Raises CircuitError.
    """
    from circuitlang.engine.runtime.options import Options
    from circuitlang.results.outputs import asked_formats
    from circuitlang.results.packed.circuits import PackedCircuits
    from circuitlang.results.result_store import is_unpacked

    options = options or Options()
    compiled = compile_source(open_source(folder / "plan.yaml"))
    there = PackedCircuits.read(folder)
    summaries = {name: there.summary(name) for name in ids}
    wanted = compiled.plan.labels, asked_formats(options.render)
    due = [name for name in ids if not is_unpacked(folder / name, summaries[name], *wanted)]
    if due:
        from circuitlang.engine.runtime.hub_commits import at_commits
        from circuitlang.engine.runtime.jobs import prepare
        from circuitlang.engine.runtime.unpacking import unpack_jobs
        from circuitlang.engine.runtime.work_selection import part_of

        compiled = at_commits(compiled, options)
        fast = any(summaries[name].provenance.precision == "tf32" for name in due)
        plan = part_of(compiled.plan, [circuit for circuit in compiled.plan.circuits if circuit.id in due])
        prepared = prepare(plan, compiled.folder, compiled.origins, replace(options, fast=fast))
        list(unpack_jobs(prepared, folder))
    return [folder / name for name in ids]


def lock(source: Source, options: Options | None = None, write: bool = True) -> tuple[Path, Lock | None, Lock]:
    """Write the lock file of a spec or plan file beside it; branches of the Hub are locked where they are now.

    Returns its path, the earlier lock if there was a valid one, and the new lock. Raises CircuitError. Without `write`
    nothing is written, and anything that differs from the lock file is an error.
    """
    from circuitlang.engine.runtime import lockfile
    from circuitlang.engine.runtime.hub_commits import at_commits
    from circuitlang.engine.runtime.jobs import prepare
    from circuitlang.engine.runtime.options import Options
    from circuitlang.results.writer import claim_lock, write_file

    spec, compiled = Path(source.name), compile_source(source)
    _require_circuits(compiled.plan)
    options = options or Options()
    before = None if write else lockfile.read_lock(spec)
    compiled = at_commits(compiled, options, {})
    prepared = prepare(compiled.plan, compiled.folder, compiled.origins, options)
    now = lockfile.lock(prepared, compiled)
    path = lockfile.lock_path(spec)
    if before is not None:
        if drifts := lockfile.drifted(before, now):
            raise InputError(lockfile.findings(drifts, compiled.origins))
        return path, before, now
    with suppress(CircuitError):
        before = lockfile.read_lock(spec)
    if before is None:
        claim_lock(path)
    write_file(path, lockfile.write_lock(now).encode())
    return path, before, now


def _require_circuits(plan: Plan) -> None:
    if not plan.circuits and not plan.edited:
        raise SpecError(Finding("E208", "nothing is preserved", None, "", "add a line that begins with 'preserve'"))


@dataclass(frozen=True)
class CheckReport:
    """Findings about a file, and the numbers of circuits and edits that it asks for; 0 if it can't be compiled."""

    path: Path
    circuits: int
    findings: tuple[Finding, ...]
    edits: int = 0

    @property
    def sound(self) -> bool:
        """Absence of errors; warnings are allowed."""
        return not any(finding.severity is Severity.ERROR for finding in self.findings)


def check_file(path: Path, deep: Options | None = None) -> CheckReport:
    """Check a spec or plan file; with the options of a run, also its model, weights and images."""
    try:
        source = open_source(path)
        if deep is not None:
            return _check_deep(path, _compile_without_layers(source), deep)
        compiled = compile.compile_source(source, vocabulary())
        plan = compiled.plan
        return CheckReport(path, len(plan.circuits), compiled.warnings, len(plan.edited))
    except CircuitError as error:
        return CheckReport(path, 0, error.findings)


def fix_file(path: Path) -> tuple[Source, int]:
    """Return the text of a spec with its certain mistakes corrected, and their number; 0 if it can't be read."""
    from circuitlang.compiler.fixes import fix_source

    try:
        source = open_source(path)
    except CircuitError:
        return Source(str(path), ""), 0
    return (source, 0) if compile.is_plan(source) else fix_source(source, _findings)


def _findings(source: Source) -> tuple[Finding, ...]:
    try:
        return compile.compile_source(source, vocabulary()).warnings
    except CircuitError as error:
        return error.findings


def _check_deep(path: Path, compiled: CompiledPlan, options: Options) -> CheckReport:
    from circuitlang.engine.runtime.hub_commits import at_commits
    from circuitlang.engine.runtime.jobs import survey
    from circuitlang.results.run_listener import Listeners, OutcomeList

    heard = OutcomeList()
    options = replace(options, listener=Listeners(options.listener, heard))
    try:
        compiled = at_commits(compiled, options)
        survey(compiled.plan, compiled.folder, compiled.origins, options)
        findings = (*compiled.warnings, *heard.notes)
    except CircuitError as error:
        findings = tuple(sorted((*compiled.warnings, *error.findings), key=Finding.sort_key))
    return CheckReport(path, len(compiled.plan.circuits), findings, len(compiled.plan.edited))


def _compile_without_layers(source: Source) -> CompiledPlan:
    """Compile a source without checking names of layers, which the engine checks together with everything else.

    If the source has other mistakes, names of layers are checked too.
    """
    with suppress(SpecError):
        return compile.compile_source(source, msgspec.structs.replace(vocabulary(), layers={}, names=names_unknown))
    return compile_source(source)


def list_layers(model: str, allow_code: bool = False) -> tuple[Sequence[NamedModule], list[Finding]]:
    """Return the modules of a model as targets may name them, and warnings. Its weights are not needed.

    `model` is written as after the word `model` of a spec. Torch is not needed for a model that was loaded before.
    Raises CircuitError.
    """
    words = vocabulary()
    compiled = compile.compile_source(Source("<MODEL>", f"model {model}"), words)
    asked, place = compiled.plan.model, compiled.origins["model",]
    known = words.layers[asked.key].modules if asked.key in words.layers else ()
    if not has_own_shapes(asked.arguments) and any(module.shape for module in known):
        return known, []
    from circuitlang.engine.graph.named_modules import named_modules
    from circuitlang.engine.runtime.model_loading import read_model
    from circuitlang.engine.runtime.plan_checks import weights_notes

    try:
        loaded, graph = read_model(asked, compiled.folder, allow_code)
        return named_modules(graph), weights_notes(loaded.notes, place)
    except InputError as error:
        raise InputError(replace(finding, span=finding.span or place) for finding in error.findings) from None
