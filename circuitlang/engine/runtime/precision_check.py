"""Job → what reduced precision changes in its scores, told by scoring a few of its images in single precision too."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from circuitlang.engine import device
from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.circuits.selection import count
from circuitlang.engine.evaluation.fidelity import measure
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.engine.runtime.amounts import COMPARED
from circuitlang.engine.runtime.jobs import Job
from circuitlang.plugins.protocols import CRITERIA, Scores
from circuitlang.results.types import PrecisionCheck


def reduced(job: Job, size: int) -> PrecisionCheck:
    """Compare a job's scores in its own arithmetic with those in single precision, by the same few images, and
    between the circuits of `size` kernels that these select."""
    plan, images = job.plan, _few(job.train)
    contrast = _few(job.contrast) if job.contrast else None
    builder = job.builder(images)
    nested = CRITERIA.load(plan.criterion.name).nested

    def scores(what: str, arithmetic: AbstractContextManager[None]) -> Scores:
        cache = job.score_cache.derived(f"{what}, of a few")

        def compute() -> Scores:
            with arithmetic:
                return score(builder, plan.criterion.name, plan.criterion.parameters, size, plan.seed, contrast, cache)

        return cache.scores(None if nested else size, compute)

    fast = scores(job.provenance.precision, job.arithmetic())
    exact = scores("float32", device.arithmetic(job.train.device))
    (fast_scores, right), (ours, theirs) = (
        [torch.cat([scores[path][mask] for path, mask in builder.relevant.items()]) for scores in (fast, exact)],
        [builder.select(scores, size) for scores in (fast, exact)],
    )
    largest = float(right.abs().max())
    difference = float((fast_scores - right).abs().max())
    return PrecisionCheck(
        images=len(images),
        difference=difference / largest if largest else difference,
        spearman=measure(right[None], fast_scores[None]).metrics["spearman"],
        kept=count(ours),
        exchanged=count({path: mask & ~theirs[path] for path, mask in ours.items()}),
    )


def _few(images: ImageSet) -> ImageSet:
    return images.take(range(0, len(images), -(-len(images) // COMPARED)))
