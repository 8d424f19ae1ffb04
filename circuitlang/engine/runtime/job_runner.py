"""One job after another: what is stored is read, all else computed and written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from circuitlang.base.diagnostics import CircuitError
from circuitlang.engine.device import arithmetic
from circuitlang.engine.runtime.batch_fitting import BatchFitting
from circuitlang.engine.runtime.circuit_job import execute, finish
from circuitlang.engine.runtime.circuits_within import among_kernels
from circuitlang.engine.runtime.job_errors import job_error
from circuitlang.engine.runtime.jobs import Job, PreparedRun
from circuitlang.engine.runtime.precomputation import Precomputation
from circuitlang.engine.runtime.split_job import SplitJobs, divide, evaluate_split
from circuitlang.engine.runtime.stored_results import incomplete, renamed, usable
from circuitlang.results.outcomes import CircuitOutcome, JobResult, SplitOutcome
from circuitlang.results.outputs import FORMATS, MODULE
from circuitlang.results.reader import read
from circuitlang.results.rendering import due
from circuitlang.results.result_store import ResultStore
from circuitlang.results.run_listener import SILENT, RunListener
from circuitlang.results.types import Result
from circuitlang.results.writer import write_split

T = TypeVar("T")


class JobRunner:
    """Runs one job of a run after another.

    Args:
        prepared: The run.
        folder: Folder of the run.
        jobs: All jobs that share work, also those that other processes run.
        store: Store of the run, if it was opened before.
    """

    def __init__(
        self,
        prepared: PreparedRun,
        folder: Path,
        jobs: Sequence[Job],
        store: ResultStore | None = None,
    ) -> None:
        self._prepared, self._folder, self._store = prepared, folder, store or prepared.store(folder)
        self._jobs, self._precompute = jobs, Precomputation(jobs, self._store)
        self._fit = BatchFitting()

    def in_turn(self, listener: RunListener = SILENT) -> Iterator[tuple[Job, JobResult]]:
        """Yield each job with its results; forget what is known of a feature after the last job that has it."""
        last = {job.subnetwork: job for job in self._jobs}
        for job in self._jobs:
            listener.circuit_begun(job.plan.id)
            for result in self(job):
                yield job, result
            listener.circuit_ended(job.plan.id)
            if last[job.subnetwork] is job:
                job.subnetwork.memo.clear()

    def __call__(self, job: Job) -> Iterator[JobResult]:
        """Yield the results of a job, computed unless they are stored."""
        before = usable(self._prepared, job, self._store)
        single = job.plan.into is None or job.part
        if before and not incomplete(before, self._prepared.formats(job)):
            yield from renamed(self._prepared, job, before, self._store)
        elif before and single:
            yield self._attempt(job, self._finish)
        elif single:
            yield self._attempt(job, self._circuit)
        else:
            yield from self._split(job)

    def _split(self, job: Job) -> Iterator[JobResult]:
        """Yield the circuits of the parts, and the split unless one of them failed."""
        division = self._attempt(job, self._divide)
        if isinstance(division, CircuitError):
            yield division
            return
        results = []
        for part in division.jobs:
            for outcome in self(part):
                if isinstance(outcome, CircuitOutcome):
                    results.append(outcome.result)
                yield outcome
        if len(results) == len(division.jobs):
            yield self._attempt(job, partial(self._evaluate, division, results))

    def _attempt(self, job: Job, compute: Callable[[Job], T]) -> T | CircuitError:
        """Return the result of a job, or the error that prevented it."""
        try:
            with arithmetic(self._prepared.device):
                return self._fit(among_kernels(job, self._store), compute)
        except Exception as error:  # a failing circuit does not stop the run
            span = self._prepared.origins.get(("circuits", job.part.of if job.part else job.plan.id))
            return job_error(job.plan.id, error, span)

    def _circuit(self, job: Job) -> CircuitOutcome:
        begin = time.perf_counter()
        self._precompute(job)
        place = self._folder / job.plan.id
        result, lost = execute(self._prepared, job), self._store.damage(job.plan.id)
        result = self._store.write(result, self._prepared.formats(job))
        # The module is in the folder now, and may be too large to keep one for each circuit of a run.
        return CircuitOutcome(replace(result, module=b""), place, False, time.perf_counter() - begin, lost)

    def _finish(self, job: Job) -> CircuitOutcome:
        """Write the files of a stored circuit that an earlier run could not make, or was not asked for."""
        begin = time.perf_counter()
        place = self._folder / job.plan.id
        before = read(place)
        before = replace(before, summary=msgspec.structs.replace(before.summary, labels=self._prepared.plan.labels))
        summary, asked = before.summary, self._prepared.formats(job)
        # The folder keeps what it has.
        formats = asked | FORMATS.declarations.keys() - set(summary.unrendered)
        absent = due(asked, summary.missing, summary.unrendered)
        # Several formats report the module and the images.
        shared = MODULE in absent or not absent <= FORMATS.declarations.keys()
        result = finish(self._prepared, job, before, formats)
        result = self._store.write(result, formats, None if shared else absent)
        return CircuitOutcome(replace(result, module=b""), place, cached=False, seconds=time.perf_counter() - begin)

    def _divide(self, job: Job) -> SplitJobs:
        return divide(job)

    def _evaluate(self, division: SplitJobs, results: Sequence[Result], job: Job) -> SplitOutcome:
        split, place = evaluate_split(self._prepared, job, division, results), self._folder / job.plan.id
        split = write_split(split, place, self._prepared.formats(job))
        return SplitOutcome(replace(split, pictures=()), place, cached=False)
