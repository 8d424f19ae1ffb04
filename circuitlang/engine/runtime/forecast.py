"""Forecast of a run: its cost, less what its folder and the cache already have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuitlang.base.diagnostics import InputError
from circuitlang.engine.cache import tensor_cache
from circuitlang.engine.runtime.circuit_images import edit_concepts
from circuitlang.engine.runtime.concept_images import probe_cache
from circuitlang.engine.runtime.cost_model import CostModel, Existing, cost_model
from circuitlang.engine.runtime.known_inputs import KnownInputs, inputs_of
from circuitlang.engine.runtime.known_job import KnownJob
from circuitlang.engine.runtime.model_receipts import UnknownTargetError, known_model
from circuitlang.engine.runtime.network_costs import NetworkCosts
from circuitlang.engine.runtime.options import Options
from circuitlang.engine.runtime.plan_checks import refusals
from circuitlang.engine.runtime.run_edits import identity, stored_edit
from circuitlang.engine.runtime.steps.measurement import circuit_steps
from circuitlang.engine.runtime.steps.probes import PROBE
from circuitlang.engine.runtime.steps.shared_work import SHARED_WORK
from circuitlang.engine.runtime.steps.step import Ledger
from circuitlang.engine.runtime.stored_results import state_of
from circuitlang.engine.runtime.work_selection import part_of
from circuitlang.plan.compiled import CompiledPlan
from circuitlang.plan.model import Circuit, Concept, Plan, Target
from circuitlang.results.edits import FILE, circuit_of
from circuitlang.results.finished_run import read_finished
from circuitlang.results.forecast import Forecast, State
from circuitlang.results.outputs import asked_formats
from circuitlang.results.reader import read_split
from circuitlang.results.result_store import ResultStore, open_store
from circuitlang.results.run_listener import ExpectedWork

if TYPE_CHECKING:
    from circuitlang.engine.runtime.jobs import Job, PreparedRun

# Work for a circuit beside its passes, such as its pages: about a second of one CPU core, in floating-point operations.
_FIXED_WORK = 2e10


def forecast_run(compiled: CompiledPlan, folder: Path, options: Options) -> Forecast:
    """Return the work of a run into a folder and its cost.

    Weights and images are read only if the folder or the cache has something of a circuit. Raises CircuitError.
    """
    model = _cost_model(compiled, options)
    return model.forecast(_existing(compiled, folder, model, options), options.packed)


def _cost_model(compiled: CompiledPlan, options: Options) -> CostModel:
    """Return the cost model of a plan; torch is imported where it isn't known, or a target. Raises CircuitError."""
    plan = compiled.plan

    def read() -> NetworkCosts:
        from circuitlang.engine.runtime.model_loading import read_model

        return NetworkCosts.of(*read_model(plan.model, compiled.folder, options.allow_code))

    receipt = known_model(plan.model, compiled.folder)
    costs = receipt.costs() if receipt else None
    if costs is not None:
        with suppress(UnknownTargetError):
            return cost_model(plan, compiled.folder, compiled.origins, lambda: costs, options)
    return cost_model(plan, compiled.folder, compiled.origins, read, options)


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
        model = cost_model(plan, prepared.folder, prepared.origins, lambda: network, prepared.options)
    except InputError:
        return {}
    ledger, size = Ledger({*_stored(model, due)}), due[0].train.batch_size
    costs = {name: ledger.take(name, circuit_steps(amounts)).cost for name, amounts in model.amounts.items()}
    return {
        name: ExpectedWork(cost.finding + cost.measuring + _FIXED_WORK, cost.forwarded / size)
        for name, cost in costs.items()
    }


def _stored(model: CostModel, jobs: Iterable[KnownJob[Any]]) -> Iterator[str]:
    """Yield the keys of steps of jobs whose outcome is in the cache."""
    for job in jobs:
        for work in SHARED_WORK:
            yield from work.there(model.amounts[job.plan.id], job)


def _has_result(job: Job, store: ResultStore) -> bool:
    name = job.plan.id
    with suppress(InputError):
        result = store.summary(name) if job.plan.into is None else read_split(store.folder / name)
        return result.provenance.identity == job.provenance.identity
    return False


def _existing(compiled: CompiledPlan, folder: Path, model: CostModel, options: Options) -> Existing:
    """Return the earlier work for circuits that can be computed, and for edits."""
    plan, store = compiled.plan, open_store(folder, options.packed, compiled.plan.labels)

    def has_traces(circuit: Circuit) -> bool:
        there = store.has_traces(circuit.id) or tensor_cache.anything(plan.basis(circuit), plan.network(circuit))
        return there or _may_be_probed(plan, [circuit.target])

    possible = [circuit for circuit in plan.circuits if not refusals(circuit)]
    circuits = [circuit for circuit in possible if has_traces(circuit)]
    edits = [
        edit for edit in plan.edited if (folder / edit.folder / FILE).is_file() or _may_be_probed(plan, edit.measure)
    ]
    # A circuit that is edited is looked at with its edit.
    edited = {circuit_of(edit) for edit in edits}
    circuits += [circuit for circuit in plan.circuits if circuit.id in edited and circuit not in circuits]
    if not circuits and not edits:
        return Existing()
    # Prepared like a run that skips unreadable images; the images tell its results from those of a run that doesn't.
    options = replace(options, skip_unreadable=True)
    prepared = inputs_of(part_of(plan, circuits, edits), compiled.folder, compiled.origins, options)
    return Existing(
        {job.plan.id: state_of(job, store, prepared.formats(job), prepared.visualises(job)) for job in prepared.jobs},
        dict(_edit_states(prepared, folder)),
        {*_stored(model, prepared.jobs), *_edit_probes(prepared, model)},
    )


def _may_be_probed(plan: Plan, targets: Iterable[Target]) -> bool:
    """Return whether a probe of a concept may be in the cache."""
    concepts = (target for target in targets if isinstance(target, Concept))
    return any(tensor_cache.anything("", plan.concept(target)) for target in concepts)


def _edit_probes(prepared: PreparedRun | KnownInputs, model: CostModel) -> Iterator[str]:
    """Yield the keys of probes in the cache that edits of a plan need."""
    plan, network = prepared.plan, (prepared.weights, prepared.structure, prepared.prepared)
    for edit in plan.edited:
        concepts = edit_concepts(edit, plan.circuits, prepared.sets)
        stored = [probe_cache(plan, target, network, images).has(None) for target, images in concepts.values()]
        if stored and all(stored):
            yield from (step.key for step in model.edit_steps(edit) if step.kind == PROBE)


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
