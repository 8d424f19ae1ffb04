"""Jobs on an executor: groups of circuits go out, and events of circuits come back."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from circuitlang.base.diagnostics import CircuitError
from circuitlang.engine.runtime.groups import groups_of, predecessors
from circuitlang.engine.runtime.job_errors import process_error
from circuitlang.engine.runtime.job_runner import JobRunner
from circuitlang.engine.runtime.jobs import Job, PreparedRun, prepare
from circuitlang.engine.runtime.work_selection import part_of
from circuitlang.plugins.executors import EXECUTORS, Begun, Detached, DetachedError, Died, Ended, Event, Group, Work
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
    groups = groups_of(jobs, workers, {name: work.operations for name, work in expected.items()})
    work = Work(
        groups,
        workers,
        # Workers elsewhere have another working folder.
        partial(start_group_worker, partial(again, folder=prepared.folder.resolve()), folder.resolve()),
        partial(start_worker, again, folder, threads, groups),
        predecessors(jobs, groups),
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


def start_worker(again: Callable[[], PreparedRun], folder: Path, threads: int, groups: Sequence[Group]) -> Run:
    """Prepare the run in a new process of this machine; return the function that computes circuits by their ids.

    Those of a group may be computed by several processes, which find what they share in the cache.
    """
    torch.set_num_threads(threads)
    try:
        prepared = again()
    except CircuitError as error:
        return partial(_refused, error)
    return _CircuitRunner(prepared, folder, groups)


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
    by_id = {job.plan.id: job for job in prepared.jobs}
    return [result for _, result in JobRunner(prepared, folder, [by_id[name] for name in names]).in_turn()]


class _CircuitRunner:
    """Computes circuits in a process that doesn't know which it will get next."""

    def __init__(self, prepared: PreparedRun, folder: Path, groups: Sequence[Group]) -> None:
        # A packed run is read once, not for each group.
        self._prepared, self._store = prepared, prepared.store(folder)
        self._jobs = {job.plan.id: job for job in prepared.jobs}
        self._groups = {name: group.circuits for group in groups for name in group.circuits}
        self._runners: dict[Sequence[str], JobRunner] = {}
        self._last: Sequence[str] = ()

    def __call__(self, names: Sequence[str]) -> list[JobResult]:
        return [result for name in names for result in self._compute(self._jobs[name])]

    def _compute(self, job: Job) -> Iterator[JobResult]:
        group = self._groups[job.plan.id]
        # Shared work leaves something to all of a group, which other processes may compute.
        for name in {*self._last, *group}:
            if self._jobs[name].subnetwork is not job.subnetwork:
                self._jobs[name].subnetwork.memo.clear()
        self._last = group
        if group not in self._runners:
            jobs = [self._jobs[name] for name in group]
            self._runners[group] = JobRunner(self._prepared, self._store.folder, jobs, self._store)
        return self._runners[group](job)


def _refused(error: CircuitError, names: Sequence[str]) -> list[JobResult]:
    return [type(error)(replace(finding, circuit=name) for finding in error.findings) for name in names]
