"""Jobs → finished circuits, by one process or by several; one that fails doesn't lose the others."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import msgspec
import torch

from circuitlang.base.diagnostics import (
    CircuitError,
    Finding,
    InputError,
    OutputError,
    SpecError,
    did_you_mean,
    listing,
)
from circuitlang.base.source import Span
from circuitlang.engine.device import arithmetic
from circuitlang.engine.runtime.circuit_job import execute, finish
from circuitlang.engine.runtime.jobs import Job, PreparedRun, prepare
from circuitlang.engine.runtime.process_pool import Died, spread
from circuitlang.engine.runtime.split_job import SplitJobs, divide, evaluate_split
from circuitlang.engine.runtime.work_sharing import has_stages, precompute_shared, sharing_key, size_of_stages
from circuitlang.plan.model import Circuit, Plan
from circuitlang.plugins.protocols import CRITERIA, passes_of
from circuitlang.results.forecast import State
from circuitlang.results.manifest import damage
from circuitlang.results.outcomes import CircuitOutcome, SplitOutcome
from circuitlang.results.outputs import FORMATS, MODULE
from circuitlang.results.reader import read, read_split, read_summary, visualised
from circuitlang.results.rendering import due, missing_formats
from circuitlang.results.run_listener import SILENT
from circuitlang.results.split import SplitResult
from circuitlang.results.types import Result
from circuitlang.results.writer import claim, write, write_split

T = TypeVar("T")


# The outcome of a job: its circuit; for a split the circuits of the parts and then the split; or why there is none.
JobResult = CircuitOutcome | SplitOutcome | CircuitError


@dataclass(frozen=True)
class WorkSelection:
    """Which circuits of a plan are computed: those whose ids are named, or all, and of these a share, "i/N" for every
    N-th from the i-th on; by how many processes."""

    only: tuple[str, ...] = ()
    shard: str = "1/1"
    jobs: int = 1

    def of(self, plan: Plan) -> list[str]:
        """Their ids. Raises SpecError for an id or a share that there is not."""
        known = [circuit.id for circuit in plan.circuits]
        unknown = [
            Finding("E115", f"unknown circuit '{name}'", None, f"there are {listing(known)}", did_you_mean(name, known))
            for name in self.only
            if name not in known
        ]
        share, _, shares = self.shard.partition("/")
        if not (share.isdecimal() and shares.isdecimal() and 1 <= int(share) <= int(shares)):
            cure = "1/4, 2/4, 3/4 and 4/4 are the shares of four"
            unknown.append(Finding("E363", f"'{self.shard}' is no share of the circuits", None, "", cure))
        if unknown:
            raise SpecError(unknown)
        chosen = [name for name in known if not self.only or name in self.only]
        return chosen[int(share) - 1 :: int(shares)]


def perform(
    prepared: PreparedRun, jobs: Sequence[Job], folder: Path, processes: int = 1
) -> Generator[JobResult, None, None]:
    """Each job's circuit, or split, in its folder below this one, computed unless it is there, or why it can't be: in
    order, or as several processes finish them.

    No process is left when the generator ends or is closed. Nothing is computed where a folder is somebody else's.
    """
    if taken := [finding for job in jobs for finding in _taken(folder / job.plan.id)]:
        yield OutputError(taken)
        return
    listener = prepared.options.listener
    if processes == 1:
        performer = JobRunner(prepared, folder, jobs)
        last = {job.subnetwork: job for job in jobs}
        for job in jobs:
            listener.circuit_begun(job.plan.id)
            yield from performer(job)
            listener.circuit_ended(job.plan.id)
            if last[job.subnetwork] is job:
                # Stored values of the feature may be large, and are not needed any more.
                job.subnetwork.memo.clear()
        return
    pending = []
    for job in jobs:
        before = finished(job, folder, prepared.visualises(job))
        if not before or incomplete(before, prepared.formats(job)):
            pending.append(job)
        else:
            listener.circuit_begun(job.plan.id)
            yield from before
            listener.circuit_ended(job.plan.id)
    if pending:
        yield from _together(prepared, pending, folder, min(processes, len(pending)))


def _taken(place: Path) -> tuple[Finding, ...]:
    try:
        claim(place)
    except OutputError as error:
        return error.findings
    return ()


def _together(
    prepared: PreparedRun, jobs: Sequence[Job], folder: Path, processes: int
) -> Generator[JobResult, None, None]:
    # The threads of one process are divided among all: threads that compete for cores are slower than fewer.
    threads = max(1, torch.get_num_threads() // processes)
    plan, listener = part_of(prepared.plan, [job.plan for job in jobs]), prepared.options.listener
    again = partial(prepare, plan, prepared.folder, prepared.origins, replace(prepared.options, listener=SILENT))
    names, start = [job.plan.id for job in jobs], partial(start_worker, again, folder, threads)
    with closing(spread(start, names, processes, predecessors(jobs), listener.circuit_begun)) as made:
        for name, outcome in made:
            yield from [_killed(prepared, name, outcome.code)] if isinstance(outcome, Died) else outcome
            listener.circuit_ended(name)


def start_worker(again: Callable[[], PreparedRun], folder: Path, threads: int) -> Callable[[str], list[JobResult]]:
    """Return what one of several processes does for each circuit, by its id. It loads model and images for itself."""
    torch.set_num_threads(threads)
    try:
        prepared = again()
    except CircuitError as error:
        return partial(_refused, error)
    jobs = {job.plan.id: job for job in prepared.jobs}
    performer = JobRunner(prepared, folder, prepared.jobs, apart=True)
    return lambda name: list(performer(jobs[name]))


def _refused(error: CircuitError, name: str) -> list[JobResult]:
    return [type(error)(replace(f, circuit=name) for f in error.findings)]


def predecessors(jobs: Sequence[Job]) -> dict[str, str]:
    """Return, for each circuit, the one that leaves its scores, or the first stages of them, in the cache."""
    first: dict[object, str] = {}
    after: dict[str, str] = {}
    # The smallest circuit of several sizes has all stages that the others have.
    for job in sorted(jobs, key=size_of_stages):
        criterion = job.plan.criterion
        kept = passes_of(criterion.name, criterion.parameters) > 0
        together = sharing_key(job)
        source: object = (together, _layer(job)) if together else job.score_cache
        if kept and (CRITERIA.load(criterion.name).nested or has_stages(job)) and source in first:
            after[job.plan.id] = first[source]
        first.setdefault(source, job.plan.id)
    return after


def _layer(job: Job) -> str:
    return job.subnetwork.target.step.name


class JobRunner:
    """Makes what becomes of one job after the other; `apart`, other layers are left to other processes."""

    def __init__(self, prepared: PreparedRun, folder: Path, jobs: Sequence[Job], apart: bool = False) -> None:
        self._prepared, self._folder, self._jobs, self._apart = prepared, folder, jobs, apart
        # True while work that several jobs share is done ahead; not for the jobs in `_broken`, with which it failed.
        self._shares = True
        self._broken: set[object] = set()
        # Jobs that were begun, by id.
        self._begun: set[str] = set()
        # A batch size that was too large stays too large.
        self._fits = sys.maxsize

    def __call__(self, job: Job) -> Iterator[JobResult]:
        if self._apart:
            # Which jobs will come here isn't known; what is on disk need not stay in memory for others.
            for each in self._jobs:
                if each.subnetwork is not job.subnetwork:
                    each.subnetwork.memo.clear()
        before = finished(job, self._folder, self._prepared.visualises(job))
        single = job.plan.into is None or job.part
        if before and not incomplete(before, self._prepared.formats(job)):
            yield from before
        elif before and single:
            yield self._made(job, self._finish)
        elif single:
            yield self._made(job, self._circuit)
        else:
            yield from self._split(job)

    @cached_property
    def _due(self) -> list[Job]:
        """The jobs that weren't finished when the first of them was begun."""
        return [job for job in self._jobs if not _same(self._folder / job.plan.id, job.provenance.identity)]

    def _split(self, job: Job) -> Iterator[JobResult]:
        """The circuits of the parts, and the split unless one of them failed."""
        division = self._made(job, self._divide)
        if isinstance(division, CircuitError):
            yield division
            return
        results = []
        for part in division.jobs:
            for made in self(part):
                if isinstance(made, CircuitOutcome):
                    results.append(made.result)
                yield made
        if len(results) == len(division.jobs):
            yield self._made(job, partial(self._judge, division, results))

    def _made(self, job: Job, make: Callable[[Job], T]) -> T | CircuitError:
        """Return the result of a job, or the error that prevented it."""
        span = self._prepared.origins.get(("circuits", job.part.of if job.part else job.plan.id))
        try:
            with arithmetic(self._prepared.device):
                return self._fitting(job, make)
        except OutputError as error:
            return error
        except CircuitError as error:
            name = job.plan.id
            told = (f if f.span else replace(f, message=f"{name}: {f.message}", span=span) for f in error.findings)
            return type(error)(replace(f, circuit=name) for f in told)
        except Exception as error:  # one circuit's failure, whatever it is, is no reason to lose the others
            return CircuitError(_unforeseen(job.plan.id, error, span))

    def _circuit(self, job: Job) -> CircuitOutcome:
        begin = time.perf_counter()
        self._begun.add(job.plan.id)
        self._ahead(job)
        place = self._folder / job.plan.id
        result, lost = execute(self._prepared, job), _lost(place)
        result = write(result, place, self._prepared.formats(job))
        # The module is in the folder now, and may be too large to keep one for each circuit of a run.
        return CircuitOutcome(replace(result, module=b""), place, False, time.perf_counter() - begin, lost)

    def _finish(self, job: Job) -> CircuitOutcome:
        """Make what an earlier run could not make of a circuit that it found, or was not asked for."""
        begin = time.perf_counter()
        place = self._folder / job.plan.id
        before = read(place)
        summary, asked = before.summary, self._prepared.formats(job)
        # The folder keeps what it has.
        formats = asked | FORMATS.declarations.keys() - set(summary.unrendered)
        absent = due(asked, summary.missing, summary.unrendered)
        # Several formats report the module and the images.
        shared = MODULE in absent or not absent <= FORMATS.declarations.keys()
        result = write(finish(self._prepared, job, before, formats), place, formats, None if shared else absent)
        return CircuitOutcome(replace(result, module=b""), place, cached=False, seconds=time.perf_counter() - begin)

    def _ahead(self, job: Job) -> None:
        """Do for a job what it shares with others; what fails may be another's fault, and is tried again alone."""
        if not self._shares or sharing_key(job) in self._broken:
            return
        due = [
            each
            for each in self._due
            if each.plan.id not in self._begun
            and (not self._apart or _layer(each) == _layer(job))
            and sharing_key(each) not in self._broken
        ]
        try:
            self._shares = precompute_shared(job, due)
        except Exception:  # whatever it is, it will be said of the job whose fault it is
            self._broken.add(sharing_key(job))

    def _divide(self, job: Job) -> SplitJobs:
        return divide(job)

    def _judge(self, division: SplitJobs, results: Sequence[Result], job: Job) -> SplitOutcome:
        found, place = evaluate_split(self._prepared, job, division, results), self._folder / job.plan.id
        found = write_split(found, place, self._prepared.formats(job))
        return SplitOutcome(replace(found, pictures=()), place, cached=False)

    def _fitting(self, job: Job, make: Callable[[Job], T]) -> T:
        """Run a job with half as many images at a time until they fit into the memory of a GPU."""
        while True:
            size = min(self._fits, job.train.batch_size)
            try:
                return make(job.with_batches(size))
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
            self._fits = size // 2
            torch.cuda.empty_cache()


def _unforeseen(name: str, error: Exception, span: Span | None) -> Finding:
    where = traceback.extract_tb(error.__traceback__)[-1]
    reason = str(error).strip().split("\n")[0]
    message = f"{name} can't be computed: {type(error).__name__}" + (f": {reason}" if reason else "")
    memory = isinstance(error, MemoryError) or "memory" in reason.lower()
    cure = "try a smaller --batch-size, or fewer --jobs" if memory else "report the spec and the network as a bug"
    label = f"at {Path(where.filename).name}:{where.lineno}, in {where.name}"
    return Finding("E392", message, span, label, cure, name)


def _killed(prepared: PreparedRun, name: str, code: int) -> CircuitError:
    label, cure = f"it exited with {code}", "in a script, run below `if __name__ == '__main__':`"
    if code < 0:
        label, cure = f"by signal {-code}", "where memory ran out, try a smaller --batch-size, or fewer --jobs"
    message = f"{name} can't be computed: its process was ended"
    return CircuitError(Finding("E392", message, prepared.origins.get(("circuits", name)), label, cure, name))


def finished(job: Job, folder: Path, visualise: bool = False) -> list[CircuitOutcome | SplitOutcome]:
    """Return the stored outcome of a job, in its folder below this one, if it is what would be computed; `visualise`,
    only if its channels were visualised. Of a split, if all of its circuits are there too; else nothing."""
    place, identity = folder / job.plan.id, job.provenance.identity
    with suppress(InputError):
        if job.plan.into is None or job.part:
            return [_before(place, identity, visualise)]
        split = read_split(place)
        if split.provenance.identity == identity and not damage(place):
            circuits = [_before(folder / kind.id, kind.identity, visualise) for kind in split.kinds]
            return [*circuits, SplitOutcome(SplitResult(split), place, cached=True)]
    return []


def state_of(job: Job, folder: Path, formats: Collection[str]) -> State:
    """Compare what is in a job's folder below this one with what a run of these output formats would leave there."""
    place = folder / job.plan.id
    if not place.is_dir():
        return "new"
    if before := finished(job, folder):
        return "incomplete" if incomplete(before, formats) else "finished"
    try:
        found = read_split(place) if job.plan.into is not None else read_summary(place)
    except InputError:
        # A file that is unchanged and unreadable is of another version.
        return "damaged" if _lost(place) else "changed"
    return "damaged" if found.provenance.identity == job.provenance.identity else "changed"


def incomplete(outcomes: Sequence[CircuitOutcome | SplitOutcome], formats: Collection[str]) -> bool:
    """Return whether an output format that is asked for is absent from circuits and splits that are finished."""
    stored = [each.result.summary if isinstance(each, CircuitOutcome) else each.result.split for each in outcomes]
    return any(due(formats, each.missing, each.unrendered) for each in stored)


def lacking(outcomes: Sequence[CircuitOutcome | SplitOutcome]) -> list[Finding]:
    """List the output formats that failed for circuits and splits that are finished, each as a finding."""
    found = []
    for outcome in outcomes:
        if isinstance(outcome, CircuitOutcome):
            asked, missing = outcome.result.summary.plan, outcome.result.summary.missing
            kept = "the circuit is kept, and only this is made"
        else:
            asked, missing = outcome.result.split.plan, outcome.result.split.missing
            kept = "the circuits are kept, and only the split is made"
        found += missing_formats(asked.id, missing, kept, asked.id)
    return found


def _before(place: Path, identity: str, visualise: bool) -> CircuitOutcome:
    """A circuit that was finished before. Raises InputError where it is another, is damaged, or is not there."""
    if not _same(place, identity) or (visualise and not visualised(place)) or damage(place):
        raise InputError(Finding("E312", f"{place} holds another circuit"))
    return CircuitOutcome(read(place), place, cached=True)


def _lost(place: Path) -> tuple[str, ...]:
    """Describe the damage to the files of a circuit in a folder; empty where there is none."""
    return tuple(damage(place)) if place.is_dir() and any(place.iterdir()) else ()


def _same(place: Path, identity: str) -> bool:
    """Return whether a folder holds the circuit of this identity."""
    with suppress(InputError):
        return read_summary(place).provenance.identity == identity
    return False


def part_of(plan: Plan, circuits: Sequence[Circuit]) -> Plan:
    """A plan of some of its circuits and the images they need; those that it compares have their modules."""
    used = {name for each in circuits for name in (each.images, each.test, each.contrast)}
    images = {name: each for name, each in plan.images.items() if name in used}
    return msgspec.structs.replace(plan, circuits=list(circuits), images=images, expectations=[])
