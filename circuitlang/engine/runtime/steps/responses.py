"""Responses of the network itself to the images of circuits, found for several features in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING

from circuitlang.engine.evaluation.response_keys import responses_key, strongest_key
from circuitlang.engine.runtime.amounts import TOGETHER
from circuitlang.engine.runtime.steps.circuit_amounts import CircuitAmounts
from circuitlang.engine.runtime.steps.step import SharedPass, Step
from circuitlang.plan.model import Circuit
from circuitlang.results.forecast import Cost

if TYPE_CHECKING:
    from circuitlang.engine.images.image_set import ImageSet
    from circuitlang.engine.runtime.jobs import Job
    from circuitlang.engine.runtime.known_job import I, KnownJob

RESPONSES = "responses"
# The bytes that responses of several targets may take together.
ROOM = 256 << 20
# The network on each image, once.
_ONCE = 1


class ResponseWork:
    """Responses of the network, as `shared_work.SharedWork`."""

    def steps(self, amounts: CircuitAmounts) -> Iterator[Step]:
        """Yield a step for the images of a circuit, for those of its contrast, and for each set that it is also
        measured on."""
        asked, images = amounts.asked, amounts.images
        own = amounts.forwards((_ONCE, images.found_on), (_ONCE, images.measured_on))
        yield _step(amounts, "", own)
        if asked.contrast is not None and images.contrasted_with:
            yield _step(amounts, asked.contrast, amounts.forwards((_ONCE, amounts.against)))
        for name, number in images.also.items():
            yield _step(amounts, name, amounts.forwards((_ONCE, number)))

    def there(self, amounts: CircuitAmounts, job: KnownJob[I]) -> Iterator[str]:
        """Yield the keys of the responses that are stored."""

        def has(key: str) -> bool:
            return job.responses.derived(key).has(None)

        asked = amounts.asked
        own = has(responses_key(job.train)) and has(strongest_key(job.train))
        if own and (not job.test or has(responses_key(job.test))):
            yield _key(asked, "")
        if job.against and asked.contrast and has(responses_key(job.against)):
            yield _key(asked, asked.contrast)
        yield from (_key(asked, name) for name, images in job.also.items() if has(responses_key(images)))

    def precompute(self, job: Job, due: Sequence[Job]) -> bool:
        """Find what the network does on a job's images, for the features of those that are due and have the same."""
        from circuitlang.engine.evaluation import reference_responses

        roles: tuple[tuple[Callable[[Job], ImageSet | None], bool, str], ...] = (
            (lambda job: job.train, True, "images"),
            (lambda job: job.test, False, "held-out images"),
            (lambda job: job.against, False, "contrasting images"),
        )
        for pictures, look, label in roles:
            images = pictures(job)
            if images is None or reference_responses.there(job.subnetwork, images, look):
                continue
            alike = [
                other for other in due if other.single and (own := pictures(other)) and own.digest == images.digest
            ]
            waiting = [other.subnetwork for other in alike]
            lacking = (one for one in waiting if not reference_responses.there(one, images, look))
            subnetworks = list(dict.fromkeys([job.subnetwork, *lacking]))[:TOGETHER]
            taken = accumulate(reference_responses.size(subnetwork, images) for subnetwork in subnetworks)
            some = len([*takewhile(lambda size: size <= ROOM, taken)])
            reference_responses.collect(subnetworks[: max(some, 1)], images, f"the network on {label}", look)
        return True


def feature_key(asked: Circuit) -> str:
    """Return the key of a feature on the images of a circuit, and on those that are held out of them."""
    return f"{asked.target}|{_images(asked)}"


def _images(asked: Circuit) -> str:
    return f"{asked.images}|{asked.test}|{asked.holdout}|{asked.seed}"


def _key(asked: Circuit, others: str) -> str:
    return f"{feature_key(asked)}|{others}" if others else feature_key(asked)


def _step(amounts: CircuitAmounts, others: str, cost: Cost) -> Step:
    """Return the step of a circuit's own images, or of others that it is measured on, by the name of their set."""
    asked, together = amounts.asked, None
    # Each part of a split has images of its own.
    if asked.into is None:
        together = SharedPass(f"{RESPONSES} {_images(asked)}|{others}", str(asked.target), amounts.forward, cost)
    return Step(RESPONSES, _key(asked, others), cost, together=together)
