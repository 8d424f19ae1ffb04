"""Jobs in several processes, each of which prepares the run for itself and computes one job after another."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from circuitlang.base.diagnostics import CircuitError
from circuitlang.engine.runtime.job_errors import process_error
from circuitlang.engine.runtime.job_runner import JobRunner
from circuitlang.engine.runtime.jobs import Job, PreparedRun, prepare
from circuitlang.engine.runtime.precomputation import predecessors
from circuitlang.engine.runtime.process_pool import Died, spread
from circuitlang.engine.runtime.work_selection import part_of
from circuitlang.results.outcomes import JobResult
from circuitlang.results.run_listener import SILENT, RunListener


def run_in_processes(
    prepared: PreparedRun, jobs: Sequence[Job], folder: Path, processes: int, listener: RunListener
) -> Generator[JobResult, None, None]:
    """Yield the results of jobs as processes finish them. No process is left when the generator ends or is closed."""
    # The threads of one process are divided among all: threads that compete for cores are slower than fewer.
    threads = max(1, torch.get_num_threads() // processes)
    plan = part_of(prepared.plan, [job.plan for job in jobs])
    again = partial(prepare, plan, prepared.folder, prepared.origins, replace(prepared.options, listener=SILENT))
    names, start = [job.plan.id for job in jobs], partial(start_worker, again, folder, threads)
    with closing(spread(start, names, processes, predecessors(jobs), listener.circuit_begun)) as finished:
        for name, results in finished:
            if isinstance(results, Died):
                yield process_error(name, results.code, prepared.origins.get(("circuits", name)))
            else:
                yield from results
            listener.circuit_ended(name)


def start_worker(again: Callable[[], PreparedRun], folder: Path, threads: int) -> Callable[[str], list[JobResult]]:
    """Prepare the run in a new process; return the function that computes a circuit by its id."""
    torch.set_num_threads(threads)
    try:
        prepared = again()
    except CircuitError as error:
        return partial(_refused, error)
    jobs = {job.plan.id: job for job in prepared.jobs}
    run = JobRunner(prepared, folder, prepared.jobs, own_layer=True)
    return lambda name: list(run(jobs[name]))


def _refused(error: CircuitError, name: str) -> list[JobResult]:
    return [type(error)(replace(finding, circuit=name) for finding in error.findings)]
