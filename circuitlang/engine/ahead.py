"""Scores of circuits that are due, taken together where they share passes, and kept for when their turn comes."""

from __future__ import annotations

from collections.abc import Sequence

from circuitlang.engine.build import Builder
from circuitlang.engine.contracts import CRITERIA, Criterion
from circuitlang.engine.prepare import Job
from circuitlang.engine.score import score_together

# Targets that are scored at a time: more would take much memory for their scores and save little.
MOST = 16


def company(job: Job) -> tuple[object, ...] | None:
    """What jobs have in common that share a forward pass; None for one that shares with none."""
    plan = job.plan
    once = isinstance(CRITERIA.load(plan.criterion.name), Criterion) and job.contrast is None
    whole = plan.into is not None and not job.part
    return (job.section.target.step.name, job.train.digest, plan.structure, plan.seed) if once and not whole else None


def ahead(job: Job, due: Sequence[Job]) -> None:
    """Score a job together with those of the jobs that are due which share its passes and have no scores yet."""
    mine = company(job)
    if mine is None or job.shelf.has(None):
        return
    # Sizes of one circuit have one shelf.
    waiting = {each.shelf: each for each in due if company(each) == mine and not each.shelf.has(None)}
    several = [job, *(each for shelf, each in waiting.items() if shelf != job.shelf)]
    targets = list(dict.fromkeys(each.section.target for each in several))[:MOST]
    several = [each for each in several if each.section.target in targets]
    if len(several) < 2:
        return
    builders = {each.section.target: _builder(job, each) for each in several}
    asked = [(builders[each.section.target], each.plan.criterion) for each in several]
    with job.arithmetic():
        scores = score_together(asked, job.plan.seed)
    for each, found in zip(several, scores, strict=True):
        each.shelf.put(None, found)


def _builder(first: Job, job: Job) -> Builder:
    # The pictures are the same; how many are taken at a time is as the first has it.
    return Builder(job.section, first.train, structure=job.plan.structure)
