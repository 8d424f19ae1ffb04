"""Work that circuits share: it is done when the first that needs it is begun, for those that are due, and is stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from circuitlang.engine.runtime.steps.circuit_amounts import CircuitAmounts
from circuitlang.engine.runtime.steps.probes import ProbeWork
from circuitlang.engine.runtime.steps.responses import ResponseWork
from circuitlang.engine.runtime.steps.scores import ScoreWork
from circuitlang.engine.runtime.steps.step import Step

if TYPE_CHECKING:
    from circuitlang.engine.runtime.jobs import Job
    from circuitlang.engine.runtime.known_job import I, KnownJob


class SharedWork(Protocol):
    """A kind of work that circuits share."""

    def steps(self, amounts: CircuitAmounts) -> Iterator[Step]:
        """Yield the steps of it that a circuit needs."""

    def there(self, amounts: CircuitAmounts, job: KnownJob[I]) -> Iterator[str]:
        """Yield the keys of those of the steps whose outcome is in the cache."""

    def precompute(self, job: Job, due: Sequence[Job]) -> bool:
        """Do it for a job that begins, and for those that are due and share it, unless it is there.

        Return whether the others will find it: not where the cache can't be written. Nothing is done for a job that
        shares it with no other, which does it by itself.
        """


# In the order in which one needs the other.
SHARED_WORK: tuple[SharedWork, ...] = (ProbeWork(), ScoreWork(), ResponseWork())


def precompute_shared(job: Job, due: Sequence[Job]) -> bool:
    """Do for a job what it shares with jobs that are due. Return whether the others will find all of it."""
    kept = [work.precompute(job, due) for work in SHARED_WORK]
    return all(kept)
