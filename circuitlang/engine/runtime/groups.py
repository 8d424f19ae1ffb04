"""Groups of jobs: what shares passes goes to one worker, and what does not can be computed at the same time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from circuitlang.engine.runtime.amounts import TOGETHER
from circuitlang.engine.runtime.jobs import Job
from circuitlang.engine.runtime.steps.scores import has_stages, sharing_key, size_of, size_of_stages
from circuitlang.plugins.executors import Group
from circuitlang.plugins.protocols import CRITERIA, passes_of


def groups_of(jobs: Sequence[Job], workers: int, operations: Mapping[str, float]) -> list[Group]:
    """Return the groups of jobs, the costliest first.

    Circuits that have one score cache, because they differ in size alone, are never apart, the smallest first.
    Targets of one layer that are scored in the same passes are together, as many as share passes at once, but no more
    than leave some for each worker.

    Args:
        jobs: Jobs that are due.
        workers: Number of workers that will compute them.
        operations: Estimated floating-point operations of each circuit, by id.
    """
    sizes: dict[object, list[Job]] = {}
    for job in jobs:
        sizes.setdefault(job.score_cache, []).append(job)
    sharing: dict[object, list[list[Job]]] = {}
    for same in sizes.values():
        key = sharing_key(same[0])
        layer = same[0].subnetwork.target.step.name
        shared: object = same[0].score_cache if key is None else (key, layer)
        sharing.setdefault(shared, []).append(sorted(same, key=size_of_stages))
    groups = []
    for alike in sharing.values():
        count = min(TOGETHER, math.ceil(len(alike) / workers))
        for start in range(0, len(alike), count):
            names = tuple(job.plan.id for same in alike[start : start + count] for job in same)
            groups.append(Group(names, sum(operations.get(name, 0.0) for name in names)))
    return sorted(groups, key=lambda group: -group.cost)


def predecessors(jobs: Sequence[Job], groups: Sequence[Group]) -> dict[str, str]:
    """Return, for circuits of groups, the one that leaves their scores, or the first stages of them, in the cache.

    Where several processes compute the circuits of a group, that one is to be finished before them.
    """
    by_id = {job.plan.id: job for job in jobs}
    after: dict[str, str] = {}
    for group in groups:
        first: dict[object, str] = {}
        # The smallest circuit of several sizes has all stages that the others have.
        for job in sorted((by_id[name] for name in group.circuits), key=size_of_stages):
            criterion = job.plan.criterion
            kept = passes_of(criterion.name, criterion.parameters) > 0
            # Scores of one size are not those of another, unless the criterion scores for all of them.
            of_all_sizes = CRITERIA.load(criterion.name).nested or has_stages(job)
            source: object = sharing_key(job) or (job.score_cache, 0 if of_all_sizes else size_of(job))
            if kept and source in first:
                after[job.plan.id] = first[source]
            first.setdefault(source, job.plan.id)
    return after
