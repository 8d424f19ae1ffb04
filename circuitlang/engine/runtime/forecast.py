"""Forecast of a run: its cost, less what its folder and the cache already have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from circuitlang.base.diagnostics import InputError
from circuitlang.engine.analysis.split.clustering import numbers as parts_of
from circuitlang.engine.cache import tensor_cache
from circuitlang.engine.cache.tensor_cache import stage_cache
from circuitlang.engine.runtime.circuit_images import edit_concepts
from circuitlang.engine.runtime.concept_images import probe_cache
from circuitlang.engine.runtime.cost_model import estimate, scored_before
from circuitlang.engine.runtime.known_inputs import KnownInputs, KnownJob, answered, inputs_of
from circuitlang.engine.runtime.model_receipts import UnknownTargetError, known_model
from circuitlang.engine.runtime.network_costs import NetworkCosts
from circuitlang.engine.runtime.options import Options
from circuitlang.engine.runtime.run_edits import identity, stored_edit
from circuitlang.engine.runtime.stored_results import state_of
from circuitlang.engine.runtime.work_selection import part_of
from circuitlang.engine.visuals import amounts
from circuitlang.plan.compiled import CompiledPlan
from circuitlang.plan.model import Circuit, Concept, Plan, Target
from circuitlang.plugins.protocols import CRITERIA
from circuitlang.results.edits import FILE, circuit_of
from circuitlang.results.finished_run import read_finished
from circuitlang.results.forecast import (
    FOUND,
    PROBE,
    CircuitForecast,
    Common,
    Cost,
    EditForecast,
    Forecast,
    SharedStage,
    State,
)
from circuitlang.results.outputs import asked_formats
from circuitlang.results.reader import read_split
from circuitlang.results.result_store import ResultStore, open_store
from circuitlang.results.run_listener import ExpectedWork
from circuitlang.results.visualised_channels import BUDGET, NOTHING, channel_budget

if TYPE_CHECKING:
    from circuitlang.engine.runtime.jobs import Job, PreparedRun

# Work for a circuit beside its passes, such as its pages: about a second of one CPU core, in floating-point operations.
_FIXED_WORK = 2e10


@dataclass(frozen=True)
class _Existing:
    """Earlier work that a run can use.

    Attributes:
        states: State of each circuit's folder, by id.
        scored: Ids of circuits whose scores are in the cache.
        responses: By id, the image sets whose reference responses are in the cache.
        stages: Stages of scores that are in the cache.
        edits: State of each edit's folder, by name.
        probes: Keys of the probes that are in the cache.
    """

    states: dict[str, State] = field(default_factory=dict)
    scored: set[str] = field(default_factory=set)
    responses: dict[str, list[str]] = field(default_factory=dict)
    stages: set[tuple[str, int]] = field(default_factory=set)
    edits: dict[str, State] = field(default_factory=dict)
    probes: set[str] = field(default_factory=set)


def forecast_run(compiled: CompiledPlan, folder: Path, options: Options) -> Forecast:
    """Return the work of a run into a folder and its cost.

    Weights and images are read only if the folder or the cache has something of a circuit. Raises CircuitError.
    """
    plan = compiled.plan
    estimated = _estimated(compiled, options)
    estimated = replace(estimated, circuits=tuple(_visualised(estimated.circuits, plan, options)))
    possible = {circuit.id: circuit for circuit in estimated.circuits if not circuit.refused}
    existing = _existing(compiled, folder, possible, estimated.edits, options)
    edits = (replace(edit, state=existing.edits.get(edit.name, "new")) for edit in estimated.edits)
    circuits = (replace(forecast, state=existing.states.get(forecast.id, "new")) for forecast in estimated.circuits)
    remaining = scored_before(circuits, plan, existing.scored, existing.responses, existing.stages, existing.probes)
    whole = replace(estimated, circuits=tuple(remaining), packed=options.packed)
    made = {*existing.probes, *(common.key for circuit in whole.due for common in circuit.common)}
    return replace(whole, edits=tuple(_probed_before(edits, made)))


def _probed_before(edits: Iterable[EditForecast], made: set[str]) -> Iterator[EditForecast]:
    """Yield edits without the probes that are there when their turn comes, by the keys of their costs."""
    for edit in edits:
        spared = sum((common.cost for common in edit.common if common.key in made), Cost())
        yield replace(edit, cost=edit.cost - spared)
        if edit.state not in FOUND:
            made.update(common.key for common in edit.common)


def _estimated(compiled: CompiledPlan, options: Options) -> Forecast:
    """Return the cost of a plan; torch is imported for a model or a target that is not known. Raises CircuitError."""
    plan = compiled.plan

    def read() -> NetworkCosts:
        from circuitlang.engine.runtime.model_loading import read_model

        return NetworkCosts.of(*read_model(plan.model, compiled.folder, options.allow_code))

    receipt = known_model(plan.model, compiled.folder)
    costs = receipt.costs() if receipt else None
    if costs is not None:
        with suppress(UnknownTargetError):
            return estimate(plan, compiled.folder, compiled.origins, lambda: costs, options.fast)
    return estimate(plan, compiled.folder, compiled.origins, read, options.fast)


def expected_work(prepared: PreparedRun, ids: Collection[str], folder: Path) -> dict[str, ExpectedWork]:
    """Return the work for each job of these ids whose result is not in its folder, by id.

    It is meant for displays: the files of finished circuits are not checked, and the result is empty if there is no
    forecast.
    """
    jobs = [job for job in prepared.jobs if job.plan.id in ids]
    store = prepared.store(folder)
    due = [job for job in jobs if prepared.options.force or not _has_result(job, store)]
    if not due:
        return {}
    plan = part_of(prepared.plan, [job.plan for job in due])
    network = NetworkCosts.of(prepared.model, due[0].subnetwork.graph)
    try:
        estimated = estimate(plan, prepared.folder, prepared.origins, lambda: network, prepared.options.fast)
    except InputError:
        return {}
    scored = {job.plan.id for job in due if job.plan.into is None and job.score_cache.has(None)}
    costs = {circuit.id: circuit.cost or Cost() for circuit in scored_before(estimated.circuits, plan, scored, {})}
    size = due[0].train.batch_size
    return {
        name: ExpectedWork(cost.finding + cost.measuring + _FIXED_WORK, cost.forwarded / size)
        for name, cost in costs.items()
    }


def _visualised(circuits: Iterable[CircuitForecast], plan: Plan, options: Options) -> Iterator[CircuitForecast]:
    """Yield circuits with the cost of the images that are made of channels, in each circuit or part of a split.

    There are at most as many channels as kernels. The images that are made in the network are stored, and not counted,
    and neither are those that all of a layer begin with.
    """
    count = NOTHING if options.packed else channel_budget(options.visualise)
    for circuit, asked in zip(circuits, plan.circuits, strict=True):
        if circuit.cost is None:
            yield circuit
            continue
        parts = parts_of(None, circuit.found_on)[-1] if asked.into == "auto" else asked.into or 1
        if count == NOTHING:
            # Without the feature's own.
            feature = Cost(forwarded=amounts.STARTS + amounts.STEPS, returned=amounts.STEPS)
            yield replace(circuit, cost=circuit.cost - feature * parts)
            continue
        most, versions = (amounts.MOST, 1) if count == BUDGET else (max(count, 0), 2)
        images = parts * min(most, circuit.asked or circuit.relevant or 0)
        work = versions * images * circuit.image_work
        steps = amounts.STEPS * images * (versions - 1)
        yield replace(
            circuit,
            cost=circuit.cost + Cost(forwarded=steps, returned=steps),
            visualising=min(work, parts * amounts.OPERATIONS) if count == BUDGET else work,
        )


def _has_result(job: Job, store: ResultStore) -> bool:
    name = job.plan.id
    with suppress(InputError):
        result = store.summary(name) if job.plan.into is None else read_split(store.folder / name)
        return result.provenance.identity == job.provenance.identity
    return False


def _existing(
    compiled: CompiledPlan,
    folder: Path,
    possible: Mapping[str, CircuitForecast],
    edit_forecasts: Sequence[EditForecast],
    options: Options,
) -> _Existing:
    """Return the earlier work for circuits that can be computed, by id."""
    plan, store = compiled.plan, open_store(folder, options.packed, compiled.plan.labels)

    def has_traces(circuit: Circuit) -> bool:
        there = store.has_traces(circuit.id) or tensor_cache.anything(plan.basis(circuit), plan.network(circuit))
        return there or _may_be_probed(plan, [circuit.target])

    circuits = [circuit for circuit in plan.circuits if circuit.id in possible and has_traces(circuit)]
    edits = [
        edit for edit in plan.edited if (folder / edit.folder / FILE).is_file() or _may_be_probed(plan, edit.measure)
    ]
    # A circuit that is edited is looked at with its edit.
    edited = {circuit_of(edit) for edit in edits}
    circuits += [circuit for circuit in plan.circuits if circuit.id in edited and circuit not in circuits]
    if not circuits and not edits:
        return _Existing()
    # Prepared like a run that skips unreadable images; the images tell its results from those of a run that doesn't.
    options = replace(options, skip_unreadable=True)
    prepared = inputs_of(part_of(plan, circuits, edits), compiled.folder, compiled.origins, options)
    jobs = prepared.jobs
    return _Existing(
        states={job.plan.id: state_of(job, store, prepared.formats(job), prepared.visualises(job)) for job in jobs},
        # Scores of a split are those of its parts, which aren't known before the split is.
        scored={job.plan.id for job in jobs if job.plan.into is None and _is_scored(job, possible[job.plan.id].asked)},
        responses={job.plan.id: [*answered(job)] for job in jobs},
        edits=dict(_edit_states(prepared, folder)),
        probes={
            *(_probe_key(possible[job.plan.id].common) for job in jobs if job.probe and job.probe.cache.has(None)),
            *_edit_probes(prepared, edit_forecasts),
        },
        stages={stage.key for job in jobs for stage in possible[job.plan.id].stages if _has_stage(job, stage)},
    )


def _may_be_probed(plan: Plan, targets: Iterable[Target]) -> bool:
    """Return whether a probe of a concept may be in the cache."""
    concepts = (target for target in targets if isinstance(target, Concept))
    return any(tensor_cache.anything("", plan.concept(target)) for target in concepts)


def _probe_key(common: Iterable[Common]) -> str:
    return next((work.key for work in common if work.key.startswith(PROBE)), "")


def _edit_probes(prepared: PreparedRun | KnownInputs, forecasts: Sequence[EditForecast]) -> Iterator[str]:
    """Yield the keys of probes in the cache that edits of a plan need."""
    plan, network = prepared.plan, (prepared.weights, prepared.structure, prepared.prepared)
    common = {forecast.name: forecast.common for forecast in forecasts}
    for edit in plan.edited:
        concepts = edit_concepts(edit, plan.circuits, prepared.sets)
        stored = [probe_cache(plan, target, network, images).has(None) for target, images in concepts.values()]
        if stored and all(stored):
            yield from (work.key for work in common[edit.name])


def _edit_states(prepared: PreparedRun | KnownInputs, folder: Path) -> Iterator[tuple[str, State]]:
    """Yield the states of the edits of a plan whose folders are there, by name."""
    identities = {job.plan.id: job.provenance.identity for job in prepared.jobs}
    finished = read_finished(prepared.plan, identities, folder).circuits
    formats = asked_formats(prepared.options.render)
    for edit in prepared.plan.edited:
        if not (folder / edit.folder / FILE).is_file():
            continue
        circuit = circuit_of(edit)
        there = not circuit or circuit in finished
        named = identity(prepared, edit, finished.get(circuit)) if there else ""
        yield edit.name, "finished" if stored_edit(folder / edit.folder, named, formats) else "changed"


def _is_scored(job: Job | KnownJob, size: int | None) -> bool:
    if CRITERIA.load(job.plan.criterion.name).nested:
        return job.score_cache.has(None)
    return size is not None and job.score_cache.has(size)


def _has_stage(job: Job | KnownJob, stage: SharedStage) -> bool:
    return stage_cache(job.score_cache, job.plan.criterion).has(stage.budget)
