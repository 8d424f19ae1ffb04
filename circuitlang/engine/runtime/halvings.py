"""The circuits that a job finds on halves of its images: how far they depend on the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from circuitlang.engine.attribution.scorer import score_unions
from circuitlang.engine.cache.tensor_cache import ScoreCache
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.evaluation.circuit_claim import derived_seed
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.engine.runtime.amounts import AT_ONCE
from circuitlang.engine.runtime.circuit_finder import CircuitFinder
from circuitlang.engine.runtime.hypothesis_cost import summed
from circuitlang.engine.runtime.jobs import Job
from circuitlang.plugins.protocols import Masks, Scores, passes_of

_Pair = tuple[Masks, Masks]


@dataclass(frozen=True)
class Halvings:
    """Circuits of `size` kernels that the criterion of a job finds on halves of its images; each is found once."""

    job: Job
    size: int
    _found: list[_Pair] = field(default_factory=list)

    def __call__(self, number: int) -> Sequence[_Pair]:
        """Return the circuits of both halves for so many random halvings; none if there is one image alone.

        Copies of an image stay in one half.
        """
        while len(self._found) < number:
            numbers = range(len(self._found), min(number, len(self._found) + AT_ONCE))
            pairs = [self.job.train.split(0.5, derived_seed(self.job.plan.seed, one)) for one in numbers]
            halves = [(first, second) for first, second in pairs if second]
            if not halves:
                break
            self._found.extend(self._pairs(halves))
        return self._found[:number]

    def _pairs(self, halves: Sequence[tuple[ImageSet, ImageSet]]) -> Iterator[_Pair]:
        plan, subnetwork, sides = self.job.plan, self.job.subnetwork, list(chain.from_iterable(halves))
        builders = [Builder.of(plan, subnetwork, images) for images in sides]
        if summed(plan):
            scores = _summed_scores(self.job, sides)
            masks = [builder.select(own, self.size) for builder, own in zip(builders, scores, strict=True)]
        else:
            # Scores that cost no pass are not worth caching.
            costs = passes_of(plan.criterion.name, plan.criterion.parameters)
            caches = [_store(self.job, images) if costs else None for images in sides]
            how = self.job.contrast, self.job.arithmetic
            masks = [
                CircuitFinder(builder, plan.criterion, plan.seed, cache, *how).masks(self.size)
                for builder, cache in zip(builders, caches, strict=True)
            ]
        return zip(masks[::2], masks[1::2], strict=True)


def _store(job: Job, images: ImageSet) -> ScoreCache:
    """Return the cache of the scores on some of a job's images."""
    return job.score_cache.derived(f"found on {images.digest}")


def _summed_scores(job: Job, sides: Sequence[ImageSet]) -> Sequence[Scores]:
    """Return the scores on all halves from one pass: images that are in the same halves are summed together."""
    caches = [_store(job, images) for images in sides]
    stored = [known for cache in caches if (known := cache.read())]
    if len(stored) == len(sides):
        return stored
    members = [set(images.contents) for images in sides]
    parts: dict[tuple[bool, ...], list[int]] = {}
    for index, content in enumerate(job.train.contents):
        parts.setdefault(tuple(content in own for own in members), []).append(index)
    unions = [[part for part, pattern in enumerate(parts) if pattern[side]] for side in range(len(sides))]
    images = [job.train.take(indices) for indices in parts.values()]
    with job.arithmetic():
        builder = Builder.of(job.plan, job.subnetwork, job.train)
        scores = score_unions(builder, job.plan.criterion, job.plan.seed, images, unions)
    for cache, own in zip(caches, scores, strict=True):
        cache.put(None, own)
    return scores
