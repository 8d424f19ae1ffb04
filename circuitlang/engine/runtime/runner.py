"""All jobs of a run: by this process or on an executor, with an event for everything that happens."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from circuitlang.base.diagnostics import CircuitError, Finding, OutputError
from circuitlang.engine.runtime.known_inputs import KnownInputs, prepared_inputs
from circuitlang.engine.runtime.known_job import KnownJob
from circuitlang.engine.runtime.stored_results import incomplete, lacking, renamed, usable
from circuitlang.engine.runtime.work_request import WorkRequest
from circuitlang.plugins.placements import Placement
from circuitlang.results.outcomes import JobResult
from circuitlang.results.run_listener import RunListener
from circuitlang.results.writer import claim

if TYPE_CHECKING:
    from circuitlang.engine.runtime.jobs import Job, PreparedRun

J = TypeVar("J", bound=KnownJob[Any])


def run_jobs(
    prepared: PreparedRun | KnownInputs, ids: Sequence[str], folder: Path, placement: Placement, listener: RunListener
) -> list[CircuitError]:
    """Compute the jobs of these ids into their folders below `folder`, and send the results to a listener.

    This process keeps the order of the jobs; an executor sends results as they finish. Nothing is computed if a folder
    is somebody else's.

    Returns:
        The errors about jobs that failed and about missing files. There are no more results after an OutputError: if
        one can't be written, no other can.
    """
    folders = () if prepared.options.packed else ids
    if foreign := [finding for name in folders for finding in _unclaimed(folder / name)]:
        return [OutputError(foreign)]
    failures: list[CircuitError] = []
    with closing(_results(prepared, ids, folder, placement, listener)) as results:
        for result in results:
            if not isinstance(result, CircuitError):
                listener.finished(result)
                failures += [CircuitError(missing)] if (missing := lacking([result])) else []
                continue
            failures.append(result)
            listener.failed(result)
            if isinstance(result, OutputError):
                break
    return failures


def _unclaimed(place: Path) -> tuple[Finding, ...]:
    """Return the findings about a folder that belongs to somebody else."""
    try:
        claim(place)
    except OutputError as error:
        return error.findings
    return ()


def _results(
    prepared: PreparedRun | KnownInputs, ids: Sequence[str], folder: Path, placement: Placement, listener: RunListener
) -> Generator[JobResult, None, None]:
    if isinstance(prepared, KnownInputs):
        due = yield from _stored(prepared, [job for job in prepared.jobs if job.plan.id in ids], folder, listener)
        if not due:
            return
        # They seemed to be finished, and are damaged.
        prepared, ids = prepared_inputs(prepared), [job.plan.id for job in due]
    jobs = [job for job in prepared.jobs if job.plan.id in ids]
    if prepared.options.shared:
        yield from _shared(prepared, jobs, folder, listener)
    elif placement.is_here:
        yield from _one_by_one(prepared, jobs, folder, listener)
    else:
        yield from _on_executor(prepared, jobs, folder, placement, listener)


def _one_by_one(
    prepared: PreparedRun, jobs: Sequence[Job], folder: Path, listener: RunListener
) -> Generator[JobResult, None, None]:
    from circuitlang.engine.runtime.job_runner import JobRunner

    # Libraries, network and images live on: the garbage collector need not look through them for each circuit.
    gc.freeze()
    try:
        for _, result in JobRunner(prepared, folder, jobs).in_turn(listener):
            yield result
    finally:
        gc.unfreeze()


def _on_executor(
    prepared: PreparedRun, jobs: Sequence[Job], folder: Path, placement: Placement, listener: RunListener
) -> Generator[JobResult, None, None]:
    """Yield what is stored, then what an executor computes."""
    due = yield from _stored(prepared, jobs, folder, listener)
    if due:
        from circuitlang.engine.runtime.forecast import expected_work
        from circuitlang.engine.runtime.parallel_runner import run_on_executor

        expected = expected_work(prepared, [job.plan.id for job in due], folder)
        for ready in _waves(due):
            yield from run_on_executor(prepared, ready, folder, placement, expected, listener)


def _shared(
    prepared: PreparedRun, jobs: Sequence[Job], folder: Path, listener: RunListener
) -> Generator[JobResult, None, None]:
    """Yield what is stored, what this process computes, and what others have computed meanwhile."""
    from circuitlang.engine.runtime.shared_runner import run_shared

    due = yield from _stored(prepared, jobs, folder, listener)
    for ready in _waves(due):
        theirs = yield from run_shared(prepared, jobs, ready, folder, listener)
        failed = yield from _stored(prepared, theirs, folder, listener)
        yield from _one_by_one(prepared, failed, folder, listener)


def _waves(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Yield jobs in groups, each circuit in a later one than the circuit that it is within."""
    depths = [len([*job.plan.lineage]) for job in jobs]
    for depth in sorted(set(depths)):
        yield [job for job, own in zip(jobs, depths, strict=True) if own == depth]


def _stored(
    request: WorkRequest, jobs: Sequence[J], folder: Path, listener: RunListener
) -> Generator[JobResult, None, list[J]]:
    """Yield the results that are stored, and return the other jobs."""
    due, store = [], request.store(folder)
    for job in jobs:
        outcomes = usable(request, job, store)
        if not outcomes or incomplete(outcomes, request.formats(job)):
            due.append(job)
            continue
        listener.circuit_begun(job.plan.id)
        yield from renamed(request, job, outcomes, store)
        listener.circuit_ended(job.plan.id)
    return due
