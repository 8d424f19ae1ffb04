"""Work that due circuits share, computed together and stored for when their turn comes: scores, where they
share passes, and what the network itself does on their images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, takewhile

import torch

from circuitlang.engine.attribution.scorer import score_together
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.selection import budget, count
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation import reference_responses
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.engine.runtime.amounts import TOGETHER
from circuitlang.engine.runtime.jobs import Job
from circuitlang.plugins.protocols import CRITERIA, Criterion, Schedule, as_they_are

# The bytes that sums over images of several targets may take together, and how many sums are taken of what isn't
# finished as it is.
SCORES, _MOMENTS = 1 << 30, 5
# The bytes that responses of several targets may take together.
ROOM = 256 << 20


def sharing_key(job: Job) -> tuple[object, ...] | None:
    """Return the key that jobs share which are scored together; None for one that is scored alone."""
    plan = job.plan
    once = isinstance(CRITERIA.load(plan.criterion.name), Criterion) and job.contrast is None
    return (job.train.digest, plan.structure, plan.seed) if once and _single(job) else None


def has_stages(job: Job) -> bool:
    """Return whether circuits of several sizes share stages of their scores."""
    entry = CRITERIA.load(job.plan.criterion.name)
    return isinstance(entry, Schedule) and entry.stages is not None


def size_of_stages(job: Job) -> int:
    """Return the number of kernels of a circuit that shares stages with larger ones, a search last; 0 for others."""
    if not has_stages(job):
        return 0
    relevant = count(job.builder().relevant)
    return relevant + 1 if job.plan.size is None else budget(job.plan.size, relevant)


def precompute_shared(job: Job, due: Sequence[Job]) -> bool:
    """Do for a job what it shares with jobs that are due. Whether the others will find it: where the cache can't be
    written they won't."""
    for other in (job, *due):
        if other.probe:
            # Not in the midst of a pass that needs it.
            other.probe.fit()
    scores = _score(job, due)
    _answer(job, due)
    return scores


def _score(job: Job, due: Sequence[Job]) -> bool:
    """Score a job together with those of the jobs that are due which share its passes and have no scores yet."""
    mine = sharing_key(job)
    if mine is None or job.score_cache.has(None):
        return True
    # Sizes of one circuit have one score cache.
    waiting = {
        other.score_cache: other for other in due if sharing_key(other) == mine and not other.score_cache.has(None)
    }
    several = [job, *(other for score_cache, other in waiting.items() if score_cache != job.score_cache)]
    subnetworks = _first(other.subnetwork for other in several)
    subnetworks = subnetworks[: max(1, SCORES // _scores(subnetworks, several))]
    several = [other for other in several if other.subnetwork in subnetworks]
    if len(several) < 2:
        return True
    builders = {subnetwork: Builder(subnetwork, job.train, structure=job.plan.structure) for subnetwork in subnetworks}
    asked = [(builders[other.subnetwork], other.plan.criterion) for other in several]
    with job.arithmetic():
        scores = score_together(asked, job.plan.seed)
    for other, own in zip(several, scores, strict=True):
        other.score_cache.put(None, own)
    return job.score_cache.has(None)


def _scores(subnetworks: Sequence[TargetSubnetwork], jobs: Sequence[Job]) -> int:
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
    return sums * kernels * torch.float64.itemsize


def _answer(job: Job, due: Sequence[Job]) -> None:
    """Find what the network does on a job's images, for the features of those of the jobs that are due which have the
    same."""
    roles: tuple[tuple[Callable[[Job], ImageSet | None], bool, str], ...] = (
        (lambda job: job.train, True, "images"),
        (lambda job: job.test, False, "held-out images"),
        (lambda job: job.against, False, "contrasting images"),
    )
    for pictures, look, label in roles:
        images = pictures(job)
        if images is None or reference_responses.there(job.subnetwork, images, look):
            continue
        alike = [other for other in due if _single(other) and (own := pictures(other)) and own.digest == images.digest]
        waiting = [other.subnetwork for other in alike if not reference_responses.there(other.subnetwork, images, look)]
        subnetworks = _first([job.subnetwork, *waiting])
        taken = accumulate(reference_responses.size(subnetwork, images) for subnetwork in subnetworks)
        some = len([*takewhile(lambda size: size <= ROOM, taken)])
        reference_responses.collect(subnetworks[: max(some, 1)], images, f"the network on {label}", look)


def _first(subnetworks: Iterable[TargetSubnetwork]) -> list[TargetSubnetwork]:
    return list(dict.fromkeys(subnetworks))[:TOGETHER]


def _single(job: Job) -> bool:
    """Return whether a job is of one circuit, and not a split of its images."""
    return job.plan.into is None or job.part is not None
