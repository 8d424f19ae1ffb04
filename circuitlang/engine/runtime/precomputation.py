"""Precomputation: the work that jobs share, done when the first of them is begun."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from circuitlang.engine.runtime.jobs import Job
from circuitlang.engine.runtime.steps.scores import sharing_key
from circuitlang.engine.runtime.steps.shared_work import precompute_shared
from circuitlang.engine.runtime.stored_results import is_stored
from circuitlang.results.result_store import ResultStore


class Precomputation:
    """Work that a job shares with others, done for all of them when the first is begun.

    Args:
        jobs: All jobs that share work.
        store: Store of the run.
    """

    def __init__(self, jobs: Sequence[Job], store: ResultStore) -> None:
        self._jobs, self._store = jobs, store
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
            other for other in self._due if other.plan.id not in self._begun and sharing_key(other) not in self._failed
        ]
        try:
            self._useful = precompute_shared(job, others)
        except Exception:  # may be the fault of another job, which reports it
            self._failed.add(sharing_key(job))

    @cached_property
    def _due(self) -> list[Job]:
        """The jobs that were not finished when the first of them was begun."""
        return [job for job in self._jobs if not is_stored(self._store, job.plan.id, job.provenance.identity)]
