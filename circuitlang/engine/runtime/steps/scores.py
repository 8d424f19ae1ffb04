"""Scores of kernels, and the stages of them that circuits of several sizes share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from circuitlang.engine.cache.tensor_cache import stage_cache
from circuitlang.engine.circuits.selection import budget, count
from circuitlang.engine.images.hashed_images import held_out
from circuitlang.engine.runtime.steps.circuit_amounts import PASS, CircuitAmounts
from circuitlang.engine.runtime.steps.step import SharedPass, Step, parts
from circuitlang.plan.model import Circuit
from circuitlang.plugins.protocols import CRITERIA, Criterion, Schedule, Stage, as_they_are, complete, passes_of
from circuitlang.results.forecast import Cost

if TYPE_CHECKING:
    from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
    from circuitlang.engine.runtime.jobs import Job
    from circuitlang.engine.runtime.known_job import I, KnownJob

SCORES, STAGE = "scores", "stage"
# The bytes that sums over images of several targets may take together, and how many sums are taken of what isn't
# finished as it is.
ROOM, _MOMENTS = 1 << 30, 5


class ScoreWork:
    """Scores, as `shared_work.SharedWork`."""

    def steps(self, amounts: CircuitAmounts) -> Iterator[Step]:
        """Yield the step of a circuit's scores, which needs those of its stages."""
        asked, images = amounts.asked, amounts.images
        operations = amounts.forward.operations
        own, stages = scoring_cost(asked, amounts.relevant, operations, images.found_on, images.contrasted_with)
        needs = tuple(Step(STAGE, stage_key(amounts, size), cost) for size, cost in stages.items())
        entry = CRITERIA.load(asked.criterion.name)
        together = None
        if isinstance(entry, Criterion) and asked.into is None and asked.contrast is None:
            # None are held out of the images that are scored if there are others to measure on.
            holdout = 0 if asked.test else asked.holdout
            scored = f"{SCORES} {asked.images}|{holdout}|{asked.seed}|{asked.structure}"
            going = Cost(own.passes / PASS, finding=own.finding // PASS, forwarded=own.forwarded)
            gradient = ("gradient", entry.cotangent)
            together = SharedPass(scored, str(asked.target), amounts.forward, going, gradient)
        yield Step(SCORES, scores_key(amounts), own, needs, together)

    def there(self, amounts: CircuitAmounts, job: KnownJob[I]) -> Iterator[str]:
        """Yield the keys of scores and stages that are stored.

        Scores of a split are those of its parts, which aren't known before the split is.
        """
        if job.plan.into is not None:
            return
        nested = CRITERIA.load(job.plan.criterion.name).nested
        if (nested or amounts.size is not None) and job.score_cache.has(None if nested else amounts.size):
            yield scores_key(amounts)
        stages = stage_cache(job.score_cache, job.plan.criterion)
        for size in scoring_cost(amounts.asked, amounts.relevant, 0, 0, 0)[1]:
            if stages.has(size):
                yield stage_key(amounts, size)

    def precompute(self, job: Job, due: Sequence[Job]) -> bool:
        """Score a job together with those that are due, share its passes and have no scores yet."""
        mine = sharing_key(job)
        if mine is None or job.score_cache.has(None):
            return True
        # Sizes of one circuit have one score cache.
        waiting = {
            other.score_cache: other for other in due if sharing_key(other) == mine and not other.score_cache.has(None)
        }
        others = (other for score_cache, other in waiting.items() if score_cache != job.score_cache)
        several = next(parts([job, *others], lambda other: other.subnetwork))
        room = max(1, ROOM // _bytes({other.subnetwork for other in several}, several))
        several = next(parts(several, lambda other: other.subnetwork, room))
        if len(several) > 1:
            _score(several)
        return len(several) < 2 or job.score_cache.has(None)


def scores_key(amounts: CircuitAmounts) -> str:
    """Return the key of a circuit's scores; a size that is searched for is the circuit's own."""
    asked = amounts.asked
    if CRITERIA.load(asked.criterion.name).nested:
        return f"{SCORES} {amounts.basis}"
    return f"{SCORES} {amounts.basis} {asked.id if asked.size is None else amounts.size}"


def stage_key(amounts: CircuitAmounts, size: int) -> str:
    """Return the key of the stage of a circuit's scores at a size."""
    return f"{STAGE} {amounts.basis} {size}"


def scoring_cost(
    asked: Circuit, relevant: int, operations: int, found_on: int, contrasted_with: int
) -> tuple[Cost, dict[int, Cost]]:
    """Return the cost of a circuit's own scores, and of the stages by size that it shares with circuits of other sizes.

    `operations` are those of one image's forward pass.
    """
    criterion, number = asked.criterion, tries(asked, relevant)
    images = found_on + contrasted_with - held_out(asked.holdout, contrasted_with)
    entry = CRITERIA.load(criterion.name)
    if not (isinstance(entry, Schedule) and entry.stages):
        passes = passes_of(criterion.name, criterion.parameters)
        return _cost(Stage(0, passes if entry.nested else passes * max(number, 1)), images, found_on, operations), {}
    own, shared = Cost(), dict[int, Cost]()
    sizes = [relevant >> step for step in range(number)] if asked.size is None else [budget(asked.size, relevant)]
    for size in sizes:
        *first, last = entry.stages(relevant, size, **complete(criterion.name, criterion.parameters))
        own += _cost(last, images, found_on, operations)
        shared |= {stage.budget: _cost(stage, images, found_on, operations) for stage in first}
    if asked.into is not None:
        # Each part has images of its own.
        return sum(shared.values(), own), {}
    return own, shared


def summed(asked: Circuit) -> bool:
    """Return whether a circuit's scores on parts of its images add up to those on all of them."""
    return isinstance(CRITERIA.load(asked.criterion.name), Criterion) and asked.contrast is None


def tries(asked: Circuit, relevant: int) -> int:
    """Guess how many sizes a search tries: each down to the last, and some between two of them."""
    return round(math.log2(max(relevant, 2))) if asked.size is None else 0


def sharing_key(job: Job) -> tuple[object, ...] | None:
    """Return the key that jobs share which are scored together; None for one that is scored alone."""
    plan = job.plan
    once = isinstance(CRITERIA.load(plan.criterion.name), Criterion) and job.contrast is None
    return (job.train.digest, plan.structure, plan.seed) if once and job.single else None


def has_stages(job: Job) -> bool:
    """Return whether circuits of several sizes share stages of their scores."""
    entry = CRITERIA.load(job.plan.criterion.name)
    return isinstance(entry, Schedule) and entry.stages is not None


def size_of_stages(job: Job) -> int:
    """Return `size_of` a circuit that shares stages with larger ones, 0 of others."""
    return size_of(job) if has_stages(job) else 0


def size_of(job: Job) -> int:
    """Return the number of kernels of a circuit; of a search, whose number is not known, one more than there are."""
    relevant = count(job.builder().relevant)
    return relevant + 1 if job.plan.size is None else budget(job.plan.size, relevant)


def _cost(stage: Stage, images: int, own: int, operations: int) -> Cost:
    """Return the cost of a stage on images, of which `own` are not those of a contrast.

    Passes over a part of the images count as parts of passes, and passes in which they come several times as several.
    """
    most = images if stage.images is None else stage.images
    drawn, others = min(own, most), min(images - own, most)
    # The images of a contrast come once in a pass, however often the others do.
    seen = stage.passes * (drawn * max(1, math.ceil(stage.least / max(drawn, 1))) + others)
    forwarded = stage.forwards * (drawn + others) + stage.beside * seen
    return Cost(
        passes=seen // images if images and seen % images == 0 else seen / max(images, 1),
        finding=round((seen * PASS + forwarded) * operations),
        forwarded=seen + forwarded,
        returned=seen,
    )


def _score(several: Sequence[Job]) -> None:
    from circuitlang.engine.attribution.scorer import score_together
    from circuitlang.engine.circuits.builder import Builder

    first = several[0]
    builders = {
        subnetwork: Builder(subnetwork, first.train, structure=first.plan.structure)
        for subnetwork in dict.fromkeys(other.subnetwork for other in several)
    }
    asked = [(builders[other.subnetwork], other.plan.criterion) for other in several]
    with first.arithmetic():
        scores = score_together(asked, first.plan.seed)
    for other, own in zip(several, scores, strict=True):
        other.score_cache.put(None, own)


def _bytes(subnetworks: set[TargetSubnetwork], jobs: Sequence[Job]) -> int:
    """The bytes that sums over images take, by all of the jobs' criteria, for the target that takes most."""
    entries = {str(job.plan.criterion): CRITERIA.load(job.plan.criterion.name) for job in jobs}
    sums = sum(
        _MOMENTS if isinstance(entry, Criterion) and entry.finish != as_they_are else 1 for entry in entries.values()
    )
    single = jobs[0].plan.structure == "weight"
    kernels = max(
        sum(
            layer.out_channels * layer.in_channels_per_group * (math.prod(layer.size) if single else 1)
            for layer in subnetwork.layers
        )
        for subnetwork in subnetworks
    )
    return sums * kernels * 8
