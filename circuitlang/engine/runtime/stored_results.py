"""Stored results: the outcome of a job that an earlier run left in its folder, and the files that it lacks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.runtime.job_errors import job_error
from circuitlang.engine.runtime.known_job import KnownJob
from circuitlang.engine.runtime.work_request import WorkRequest
from circuitlang.plan.labels import Labels
from circuitlang.results.manifest import damage
from circuitlang.results.outcomes import CircuitOutcome, JobResult, SplitOutcome
from circuitlang.results.reader import read_split
from circuitlang.results.rendering import due, missing_formats
from circuitlang.results.result_store import ResultStore
from circuitlang.results.split import SplitResult
from circuitlang.results.visualised_channels import NOTHING, VISUALISATIONS

if TYPE_CHECKING:
    from circuitlang.results.forecast import State


def stored(job: KnownJob[Any], store: ResultStore, channels: int = NOTHING) -> list[CircuitOutcome | SplitOutcome]:
    """Return the stored outcomes of a job if they are those that would be computed, else none.

    A split has outcomes if all of its circuits have. Circuits count if as many `channels` were visualised.
    """
    place, identity = store.folder / job.plan.id, job.provenance.identity
    with suppress(InputError):
        if job.plan.into is None or job.part:
            return [_circuit(store, job.plan.id, identity, channels)]
        split = read_split(place)
        if split.provenance.identity == identity and not damage(place):
            circuits = [_circuit(store, kind.id, kind.identity, channels) for kind in split.kinds]
            return [*circuits, SplitOutcome(SplitResult(split), place, cached=True)]
    return []


def usable(request: WorkRequest, job: KnownJob[Any], store: ResultStore) -> list[CircuitOutcome | SplitOutcome]:
    """Return the stored outcomes of a job that a run uses instead of computing it."""
    return [] if request.options.force else stored(job, store, request.visualises(job))


def state_of(job: KnownJob[Any], store: ResultStore, formats: Collection[str], channels: int = NOTHING) -> State:
    """Compare what is stored of a job with what a run of these output formats would leave, with so many `channels`
    visualised."""
    name = job.plan.id
    if not store.has_traces(name):
        return "new"
    if before := stored(job, store):
        lacks = incomplete(before, formats) or any(
            isinstance(outcome, CircuitOutcome) and store.visualised(outcome.folder.name) < channels
            for outcome in before
        )
        return "incomplete" if lacks else "finished"
    try:
        outcome = read_split(store.folder / name) if job.plan.into is not None else store.summary(name)
    except InputError:
        # A file that is unchanged and unreadable is of another version.
        return "damaged" if store.damage(name) else "changed"
    return "damaged" if outcome.provenance.identity == job.provenance.identity else "changed"


def incomplete(outcomes: Sequence[CircuitOutcome | SplitOutcome], formats: Collection[str]) -> bool:
    """Return whether an output format that is asked for is absent from circuits and splits that are finished."""
    results = [
        outcome.result.summary if isinstance(outcome, CircuitOutcome) else outcome.result.split for outcome in outcomes
    ]
    return any(due(formats, result.missing, result.unrendered) for result in results)


def renamed(
    request: WorkRequest, job: KnownJob[Any], outcomes: Sequence[CircuitOutcome | SplitOutcome], store: ResultStore
) -> Iterator[JobResult]:
    """Yield the stored outcomes of a job with the labels of the plan, which are put into the files of its circuits, or
    the error that prevented it."""
    labels = request.plan.labels
    for outcome in outcomes:
        if isinstance(outcome, SplitOutcome) or outcome.result.summary.labels == labels:
            yield outcome
            continue
        try:
            yield _renamed(outcome, labels, store)
        except Exception as error:  # a failing circuit does not stop the run
            span = request.origins.get(("circuits", job.part.of if job.part else job.plan.id))
            yield job_error(job.plan.id, error, span)


def _renamed(outcome: CircuitOutcome, labels: Labels | None, store: ResultStore) -> CircuitOutcome:
    result = replace(outcome.result, summary=msgspec.structs.replace(outcome.result.summary, labels=labels))
    store.relabel(result)
    return replace(outcome, result=result)


def lacking(outcomes: Sequence[CircuitOutcome | SplitOutcome]) -> list[Finding]:
    """List the output formats that failed for circuits and splits that are finished, each as a finding."""
    reasons = []
    for outcome in outcomes:
        if isinstance(outcome, CircuitOutcome):
            asked, missing = outcome.result.summary.plan, outcome.result.summary.missing
            kept = "the circuit is kept, and only this is made"
        else:
            asked, missing = outcome.result.split.plan, outcome.result.split.missing
            kept = "the circuits are kept, and only the split is made"
        reasons += missing_formats(asked.id, missing, kept, asked.id)
    return reasons


def _circuit(store: ResultStore, name: str, identity: str, channels: int) -> CircuitOutcome:
    """Return a stored circuit. Raises InputError if it is missing, damaged, or another one."""
    if not is_stored(store, name, identity):
        raise InputError(Finding("E312", f"{store.folder / name} holds another circuit"))
    result = store.result(name)
    # Images that could not be made are made as what the circuit lacks, without computing it again.
    if store.visualised(name) < channels and VISUALISATIONS not in result.summary.missing:
        raise InputError(Finding("E312", f"{store.folder / name} lacks feature visualisations"))
    return CircuitOutcome(result, store.folder / name, cached=True)


def is_stored(store: ResultStore, name: str, identity: str) -> bool:
    """Return whether a store holds the circuit of this identity."""
    with suppress(InputError):
        return store.summary(name).provenance.identity == identity
    return False


def seems_stored(request: WorkRequest, job: KnownJob[Any], store: ResultStore) -> bool:
    """Return whether a job seems to be finished; its files are not checked, unlike by `usable`."""
    name, formats = job.plan.id, request.formats(job)
    if request.options.force:
        return False
    with suppress(InputError):
        result = store.summary(name) if job.plan.into is None else read_split(store.folder / name)
        whole = result.provenance.identity == job.provenance.identity
        return whole and not due(formats, result.missing, result.unrendered)
    return False
