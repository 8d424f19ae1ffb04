"""Precomputation: the order of jobs that share work, and that work itself, when the first of them is begun."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from circuitlang.engine.runtime.jobs import Job
from circuitlang.engine.runtime.stored_results import is_stored
from circuitlang.engine.runtime.work_sharing import has_stages, precompute_shared, sharing_key, size_of_stages
from circuitlang.plugins.protocols import CRITERIA, passes_of
from circuitlang.results.result_store import ResultStore


class Precomputation:
    """Work that a job shares with others, done for all of them when the first is begun.

    Args:
        jobs: All jobs of the run.
        store: Store of the run.
        own_layer: Leave jobs with targets in other layers to other processes.
    """

    def __init__(self, jobs: Sequence[Job], store: ResultStore, own_layer: bool) -> None:
        self._jobs, self._store, self._own_layer = jobs, store, own_layer
        # False where shared work can't be stored.
        self._useful = True
        # Sharing keys with which the precomputation failed.
        self._failed: set[object] = set()
        self._begun: set[str] = set()

    def __call__(self, job: Job) -> None:
        """Begin a job: do its shared work. A failure is not reported; each job repeats its own part."""
        self._begun.add(job.plan.id)
        if not self._useful or sharing_key(job) in self._failed:
            return
        others = [
            other
            for other in self._due
            if other.plan.id not in self._begun
            and (not self._own_layer or layer_of(other) == layer_of(job))
            and sharing_key(other) not in self._failed
        ]
        try:
            self._useful = precompute_shared(job, others)
        except Exception:  # may be the fault of another job, which reports it
            self._failed.add(sharing_key(job))

    def release(self, job: Job) -> None:
        """Free the memory of other subnetworks in a process that doesn't know which jobs it will get."""
        if self._own_layer:
            for other in self._jobs:
                if other.subnetwork is not job.subnetwork:
                    other.subnetwork.memo.clear()

    @cached_property
    def _due(self) -> list[Job]:
        """The jobs that were not finished when the first of them was begun."""
        return [job for job in self._jobs if not is_stored(self._store, job.plan.id, job.provenance.identity)]


def predecessors(jobs: Sequence[Job]) -> dict[str, str]:
    """Return, for each circuit, the one that leaves its scores, or the first stages of them, in the cache."""
    first: dict[object, str] = {}
    after: dict[str, str] = {}
    # The smallest circuit of several sizes has all stages that the others have.
    for job in sorted(jobs, key=size_of_stages):
        criterion = job.plan.criterion
        kept = passes_of(criterion.name, criterion.parameters) > 0
        together = sharing_key(job)
        source: object = (together, layer_of(job)) if together else job.score_cache
        if kept and (CRITERIA.load(criterion.name).nested or has_stages(job)) and source in first:
            after[job.plan.id] = first[source]
        first.setdefault(source, job.plan.id)
    return after


def layer_of(job: Job) -> str:
    """Return the name of the layer of a job's target."""
    return job.subnetwork.target.step.name
