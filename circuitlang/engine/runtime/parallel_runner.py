"""Jobs on an executor: groups of circuits go out, and events of circuits come back."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from circuitlang.base.diagnostics import CircuitError
from circuitlang.engine.runtime.groups import groups_of
from circuitlang.engine.runtime.job_errors import process_error
from circuitlang.engine.runtime.job_runner import JobRunner
from circuitlang.engine.runtime.jobs import Job, PreparedRun, prepare
from circuitlang.engine.runtime.precomputation import predecessors
from circuitlang.engine.runtime.work_selection import part_of
from circuitlang.plugins.executors import EXECUTORS, Begun, Detached, DetachedError, Died, Ended, Event, Work
from circuitlang.plugins.placements import Placement
from circuitlang.results.outcomes import JobResult
from circuitlang.results.run_listener import SILENT, ExpectedWork, RunListener

Run = Callable[[Sequence[str]], list[JobResult]]


def run_on_executor(
    prepared: PreparedRun,
    jobs: Sequence[Job],
    folder: Path,
    placement: Placement,
    expected: Mapping[str, ExpectedWork],
    listener: RunListener,
) -> Generator[JobResult, None, None]:
    """Yield the results of jobs as an executor gives them, until the generator ends or is closed.

    Raises DetachedError if the workers go on without this process.
    """
    workers = min(placement.workers, len(jobs))
    # The threads of one process are divided among all: threads that compete for cores are slower than fewer.
    threads = max(1, torch.get_num_threads() // workers)
    plan = part_of(prepared.plan, [job.plan for job in jobs])
    options = replace(prepared.options, listener=SILENT)
    again = partial(prepare, plan, folder=prepared.folder, origins=prepared.origins, options=options)
    work = Work(
        groups_of(jobs, workers, {name: work.operations for name, work in expected.items()}),
        workers,
        # Workers elsewhere have another working folder.
        partial(start_group_worker, partial(again, folder=prepared.folder.resolve()), folder.resolve()),
        partial(start_worker, again, folder, threads),
        predecessors(jobs),
        folder,
        placement.command,
    )
    events = EXECUTORS.load(placement.executor)(work, **placement.settings)
    begun: set[str] = set()
    with closing(_closable(events)) as received:
        for event in received:
            if isinstance(event, Detached):
                raise DetachedError(event)
            yield from _results(event, prepared, begun, folder, listener)


def _closable(events: Iterator[Event]) -> Generator[Event, None, None]:
    yield from events


def _results(
    event: Begun | Ended | Died, prepared: PreparedRun, begun: set[str], folder: Path, listener: RunListener
) -> Generator[JobResult, None, None]:
    """Tell a listener of an event, and yield the results that it has."""
    circuits = (event.circuit,) if isinstance(event, Begun) else event.circuits
    for name in circuits:
        if name not in begun:
            begun.add(name)
            listener.circuit_begun(name)
    if isinstance(event, Ended):
        for result in event.results:
            yield result if isinstance(result, CircuitError) else replace(result, folder=folder / result.folder.name)
    elif isinstance(event, Died):
        for name in circuits:
            yield process_error(name, event.code, prepared.origins.get(("circuits", name)), event.reason)
    if not isinstance(event, Begun):
        for name in circuits:
            listener.circuit_ended(name)


def start_worker(again: Callable[[], PreparedRun], folder: Path, threads: int) -> Run:
    """Prepare the run in a new process of this machine; return the function that computes circuits by their ids."""
    torch.set_num_threads(threads)
    try:
        prepared = again()
    except CircuitError as error:
        return partial(_refused, error)
    jobs = {job.plan.id: job for job in prepared.jobs}
    run = JobRunner(prepared, folder, prepared.jobs, own_layer=True)
    return lambda names: [result for name in names for result in run(jobs[name])]


def start_group_worker(again: Callable[[], PreparedRun], folder: Path) -> Run:
    """Prepare the run in a new process anywhere; return the function that computes a group of circuits by their ids.

    The circuits of a group share work with each other alone: other groups may be computed elsewhere.
    """
    try:
        prepared = again()
    except CircuitError as error:
        return partial(_refused, error)
    return partial(run_group, prepared, folder)


def run_group(prepared: PreparedRun, folder: Path, names: Sequence[str]) -> list[JobResult]:
    """Compute a group of circuits in this process."""
    jobs = [job for name in names for job in prepared.jobs if job.plan.id == name]
    run = JobRunner(prepared, folder, jobs)
    results = [result for job in jobs for result in run(job)]
    for job in jobs:
        job.subnetwork.memo.clear()
    return results


def _refused(error: CircuitError, names: Sequence[str]) -> list[JobResult]:
    return [type(error)(replace(finding, circuit=name) for finding in error.findings) for name in names]
