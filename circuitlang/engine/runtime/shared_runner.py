"""A run that several processes share, on one machine or on many that see its folder: each takes groups of jobs.

A process takes a group that nobody else holds, computes it, and takes the next. When all are taken it waits: groups
whose owner died come free again. At last it reads what the others have computed, and computes what they have failed at,
so that each process ends with the whole run, as if it had been alone.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from circuitlang.base.diagnostics import CircuitError
from circuitlang.engine.runtime.forecast import expected_work
from circuitlang.engine.runtime.groups import groups_of
from circuitlang.engine.runtime.job_runner import JobRunner
from circuitlang.engine.runtime.jobs import Job, PreparedRun
from circuitlang.results.claims import Claims, Done
from circuitlang.results.outcomes import JobResult
from circuitlang.results.result_store import ResultStore
from circuitlang.results.run_listener import RunListener

# Seconds between two looks at the claims of others.
POLL = 2.0


@dataclass(frozen=True)
class ClaimedGroup:
    """Jobs that share work, and the name of their claim: a hash of what they compute, the same in all processes."""

    name: str
    jobs: Sequence[Job]


def run_shared(
    prepared: PreparedRun, jobs: Sequence[Job], due: Sequence[Job], folder: Path, listener: RunListener
) -> Generator[JobResult, None, list[Job]]:
    """Yield the results of the groups that this process takes; return the jobs of the others, which are done too.

    `jobs` are all of the run, by which groups are made, and `due` those of them that were not finished.
    """
    names = {job.plan.id for job in due}
    expected = expected_work(prepared, names, folder) if due else {}
    costs = {name: work.operations for name, work in expected.items()}
    claims, groups, theirs = Claims(folder), claimed_groups(jobs, names, costs), list[Job]()
    for group in groups:
        # Circuits of it are due: they have failed, or were removed.
        claims.forget(group.name)
    # A packed run is read once, not for each group: claims say what others have done since.
    store = prepared.store(folder)
    with claims.kept():
        claims.note_costs(costs)
        while groups:
            left = []
            for group in groups:
                if claims.is_done(group.name):
                    theirs += group.jobs
                elif claims.take(group.name, [job.plan.id for job in group.jobs]):
                    yield from _work_off(prepared, group, store, listener, claims)
                else:
                    left.append(group)
            if len(left) == len(groups):
                time.sleep(POLL)
            groups = left
    return theirs


def claimed_groups(
    jobs: Sequence[Job], due: Collection[str] | None = None, costs: Mapping[str, float] | None = None
) -> list[ClaimedGroup]:
    """Divide jobs alike in every process, however many there are, and whatever is finished when it comes.

    Args:
        jobs: All jobs of the run.
        due: Ids of the jobs to compute; None for all. Groups without any are left out.
        costs: Operations of each job, by id; the costliest group comes first, so that processes end together.
    """
    by_id = {job.plan.id: job for job in jobs}
    groups = []
    for group in groups_of(jobs, 1, costs or {}):
        whole = [by_id[name] for name in group.circuits]
        own = [job for job in whole if due is None or job.plan.id in due]
        identities = "\n".join(f"{job.plan.id} {job.provenance.identity}" for job in whole)
        if own:
            groups.append(ClaimedGroup(hashlib.sha256(identities.encode()).hexdigest()[:32], own))
    return groups


def _work_off(
    prepared: PreparedRun, group: ClaimedGroup, store: ResultStore, listener: RunListener, claims: Claims
) -> Generator[JobResult, None, None]:
    """Yield the results of a group, and give its claim back when they are written."""
    begin = time.monotonic()
    failed = dict[str, str]()
    for job, result in JobRunner(prepared, store.folder, group.jobs, store).in_turn(listener):
        if isinstance(result, CircuitError):
            failed[job.plan.id] = result.findings[0].message
        yield result
    listener.settled()
    seconds = time.monotonic() - begin
    claims.release(group.name, Done([job.plan.id for job in group.jobs], failed, seconds))
