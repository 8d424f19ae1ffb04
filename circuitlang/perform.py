"""Jobs → finished circuits, by one process or by several; one that fails doesn't lose the others."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec
import torch

from circuitlang.compiler.plan import Circuit, Plan
from circuitlang.engine.cache import Shelf
from circuitlang.engine.contracts import CRITERIA, passes_of, untracked
from circuitlang.engine.device import exact
from circuitlang.engine.execute import execute
from circuitlang.engine.prepare import Job, Prepared, prepare
from circuitlang.engine.result import Result
from circuitlang.errors import CircuitError, Finding, InputError, OutputError, SpecError, did_you_mean, listing
from circuitlang.output.read import read, read_summary, visualised
from circuitlang.output.write import write
from circuitlang.source import Span
from circuitlang.workers import Died, spread


@dataclass(frozen=True)
class Outcome:
    """A finished circuit and its folder; `cached` where it was finished before, else in how many seconds it was."""

    result: Result
    folder: Path
    cached: bool
    seconds: float = 0.0


@dataclass(frozen=True)
class Work:
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
    prepared: Prepared, jobs: Sequence[Job], folder: Path, processes: int = 1
) -> Generator[Outcome | CircuitError, None, None]:
    """Each job's circuit in its folder below this one, computed unless it is there, or why it can't be: in order, or
    as several processes finish them.

    No process is left when the generator ends or is closed.
    """
    if processes == 1:
        yield from map(_Performer(prepared, folder), jobs)
        return
    pending = []
    for job in jobs:
        before = finished(job, folder, prepared.options.visualise)
        if before is None:
            pending.append(job)
        else:
            yield Outcome(before, folder / job.plan.id, cached=True)
    if pending:
        yield from _together(prepared, pending, folder, min(processes, len(pending)))


def _together(
    prepared: Prepared, jobs: Sequence[Job], folder: Path, processes: int
) -> Generator[Outcome | CircuitError, None, None]:
    # What one process would use is shared out: threads that fight for cores are slower than fewer.
    threads = max(1, torch.get_num_threads() // processes)
    plan, track = part_of(prepared.plan, [job.plan for job in jobs]), prepared.options.track
    again = partial(prepare, plan, prepared.folder, prepared.origins, replace(prepared.options, track=untracked))
    names = [job.plan.id for job in jobs]
    with closing(spread(partial(_worker, again, folder, threads), names, processes, _after(jobs))) as made:
        for name, outcome in track(made, "circuits", len(names)):
            yield _killed(prepared, name, outcome.code) if isinstance(outcome, Died) else outcome


def _worker(again: Callable[[], Prepared], folder: Path, threads: int) -> Callable[[str], Outcome | CircuitError]:
    """What one of several processes does for each circuit, by its id. It loads model and pictures for itself."""
    torch.set_num_threads(threads)
    try:
        prepared = again()
    except CircuitError as error:
        return partial(_refused, error)
    jobs, performer = {job.plan.id: job for job in prepared.jobs}, _Performer(prepared, folder)
    return lambda name: performer(jobs[name])


def _refused(error: CircuitError, name: str) -> CircuitError:
    return type(error)(replace(f, circuit=name) for f in error.findings)


def _after(jobs: Sequence[Job]) -> dict[str, str]:
    """By circuit, the one whose scores it will find in the cache."""
    first: dict[Shelf, str] = {}
    after: dict[str, str] = {}
    for job in jobs:
        criterion = job.plan.criterion
        kept = passes_of(criterion.name, criterion.parameters) > 0
        if kept and CRITERIA.load(criterion.name).nested and job.shelf in first:
            after[job.plan.id] = first[job.shelf]
        first.setdefault(job.shelf, job.plan.id)
    return after


class _Performer:
    """Makes the outcome of one job after the other."""

    def __init__(self, prepared: Prepared, folder: Path) -> None:
        self._prepared, self._folder = prepared, folder
        # What turned out to be too many pictures at a time stays so.
        self._fits = sys.maxsize

    def __call__(self, job: Job) -> Outcome | CircuitError:
        name, place = job.plan.id, self._folder / job.plan.id
        before = finished(job, self._folder, self._prepared.options.visualise)
        if before is not None:
            return Outcome(before, place, cached=True)
        span, begin = self._prepared.origins.get(("circuits", name)), time.perf_counter()
        try:
            with exact(self._prepared.device):
                result = self._execute(job)
            write(result, place)
        except OutputError as error:
            return error
        except CircuitError as error:
            told = (f if f.span else replace(f, message=f"{name}: {f.message}", span=span) for f in error.findings)
            return type(error)(replace(f, circuit=name) for f in told)
        except Exception as error:  # one circuit's failure, whatever it is, is no reason to lose the others
            return CircuitError(_unforeseen(name, error, span))
        # The module is in the folder now, and may be too large to keep one for each circuit of a run.
        return Outcome(replace(result, module=b""), place, cached=False, seconds=time.perf_counter() - begin)

    def _execute(self, job: Job) -> Result:
        """`execute` with half as many pictures at a time until they fit into the memory of a GPU."""
        while True:
            size = min(self._fits, job.train.batch_size)
            try:
                return execute(self._prepared, job.with_batches(size))
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


def _killed(prepared: Prepared, name: str, code: int) -> CircuitError:
    label, cure = f"it exited with {code}", "in a script, run below `if __name__ == '__main__':`"
    if code < 0:
        label, cure = f"by signal {-code}", "where memory ran out, try a smaller --batch-size, or fewer --jobs"
    message = f"{name} can't be computed: its process was ended"
    return CircuitError(Finding("E392", message, prepared.origins.get(("circuits", name)), label, cure, name))


def finished(job: Job, folder: Path, visualise: bool = False) -> Result | None:
    """The result of a job in its folder below this one, if it is the one that would be computed; `visualise`, only if
    its channels were visualised."""
    with suppress(InputError):
        place = folder / job.plan.id
        same = read_summary(place).provenance.identity == job.provenance.identity
        return read(place) if same and (not visualise or visualised(place)) else None
    return None


def part_of(plan: Plan, circuits: Sequence[Circuit]) -> Plan:
    """A plan of some of its circuits and the pictures they need."""
    used = {name for each in circuits for name in (each.images, each.test)}
    images = {name: each for name, each in plan.images.items() if name in used}
    return msgspec.structs.replace(plan, circuits=list(circuits), images=images, comparisons=[], expectations=[])
