"""A target and its images → the kinds of images, a job for each kind's circuit, and what the finished circuits say of
whether the feature splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.analysis.split.clustering import Kinds, clouds, kinds, valley
from circuitlang.engine.analysis.split.permutation_test import distinction, fidelity
from circuitlang.engine.analysis.split.score_vectors import vectors, vectors_by
from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.circuits.edits import edits_from_result
from circuitlang.engine.circuits.selection import count
from circuitlang.engine.evaluation.fidelity import responses
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.engine.runtime.jobs import Job, PreparedRun
from circuitlang.plan.model import Choice, digest
from circuitlang.plugins.protocols import CRITERIA, Edits, Scores
from circuitlang.results.overlap import kept, overlap
from circuitlang.results.split import Cluster, ClusterTest, Overlap, SpecificityTest, Split, SplitResult
from circuitlang.results.types import Part, Provenance, Result, Summary
from circuitlang.results.verdict import verdict

# There are at least so many different images for each part.
_LEAST = 2


@dataclass(frozen=True)
class SplitJobs:
    """The images of a split by kind: a job for the circuit of each; the images of no kind; and the points that kinds
    were found by, part by part, those to be found on before those held out."""

    jobs: tuple[Job, ...]
    silent: tuple[Path, ...]
    separation: ClusterTest
    points: NDArray[np.float64]
    vectors: Choice


def divide(job: Job) -> SplitJobs:
    """Find the kinds of a job's images. Raises InputError where there are too few of them."""
    plan, by = job.plan, vectors_by(job.plan.criterion)
    train, test = _points(job, by)
    heard, heard_test = _heard(train), _heard(test)
    into = None if plan.into == "auto" else plan.into
    different = len(np.unique(train[heard].round(9), axis=0))
    if different < (wanted := _LEAST * (into or 2)):
        raise InputError(_too_few(plan.into or 2, different, int((~heard).sum()), wanted))
    clusters = kinds(train[heard], into, plan.seed)
    labels, nearest = np.full(len(train), -1), np.full(len(test), -1)
    labels[heard], nearest[heard_test] = clusters.labels, clusters.nearest(test[heard_test])
    parts = range(len(clusters.middles))
    return SplitJobs(
        jobs=tuple(_part(job, kind, len(parts), *_indices(kind, labels, nearest)) for kind in parts),
        silent=(*_paths(job.train, ~heard), *_paths(job.test, ~heard_test)),
        separation=_separation(clusters, train[heard], test[heard_test], into, plan.seed),
        points=np.concatenate(
            [images[which == kind] for kind in parts for images, which in ((train, labels), (test, nearest))]
        ),
        vectors=by,
    )


def _points(job: Job, by: Choice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the points of the images to be found on and of those held out, from the cache where they are stored."""

    def compute() -> Scores:
        sets = [job.train, *([job.test] if job.test else [])]
        with job.arithmetic():
            points = vectors(job.subnetwork, sets, by, job.plan.seed)
        return {"train": points[0], "test": points[1] if job.test else points[0][:0]}

    held_out = job.test.digest if job.test else ""
    points = job.score_cache.derived(f"vectors {by} {held_out}").scores(None, compute)
    return points["train"].numpy(), points["test"].numpy()


def _heard(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The images whose scores are not all nil."""
    return np.asarray((points != 0).any(1))


def _too_few(into: int | str, different: int, silent: int, wanted: int) -> Finding:
    parts = "parts" if into == "auto" else f"{into} parts"
    message = f"{different} different image{'' if different == 1 else 's'} can't be split into {parts}"
    label = f"at least {wanted} are needed"
    if silent:
        label += f"; {silent} more say nothing of the feature"
    return Finding("E321", message, None, label, "give more images, or ask for fewer parts")


def _separation(
    clusters: Kinds, points: NDArray[np.float64], held_out: NDArray[np.float64], into: int | None, seed: int
) -> ClusterTest:
    own = valley(np.concatenate([points, held_out]), np.append(clusters.labels, clusters.nearest(held_out)))
    null = clouds(points, held_out, into, seed)
    return ClusterTest(
        silhouette=clusters.silhouette,
        valley=own,
        cloud=float(np.median(null)),
        p=(1 + int((null <= own).sum())) / (1 + len(null)),
        tried=clusters.tried,
    )


def _indices(kind: int, labels: NDArray[np.int64], nearest: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    return np.flatnonzero(labels == kind).tolist(), np.flatnonzero(nearest == kind).tolist()


def _paths(images: ImageSet | None, chosen: NDArray[np.bool_]) -> list[Path]:
    return [images.paths[index] for index in np.flatnonzero(chosen)] if images else []


def _part(job: Job, kind: int, parts: int, train: list[int], test: list[int]) -> Job:
    """The circuit of a kind of images, as a job: its identity follows from the split's and from what its images are."""
    number, whole = kind + 1, job.provenance.identity
    found_on = job.train.take(train)
    held_out = job.test.take(test) if job.test and test else None
    contents = (whole, str(number), found_on.digest, held_out.digest if held_out else "")
    provenance = msgspec.structs.replace(
        job.provenance,
        identity=digest("\n".join(contents).encode()),
        train_images=found_on.digest,
        test_images=held_out.digest if held_out else "",
    )
    return replace(
        job,
        plan=msgspec.structs.replace(job.plan, id=f"{job.plan.id}-part{number}"),
        train=found_on,
        test=held_out,
        provenance=provenance,
        score_cache=job.score_cache.derived(found_on.digest),
        part=Part(of=job.plan.id, number=number, parts=parts, split=whole),
    )


def evaluate_split(prepared: PreparedRun, job: Job, division: SplitJobs, results: Sequence[Result]) -> SplitResult:
    """Hold the circuits of a division's jobs, in their order, against one another and against that of all images."""
    summaries = [result.summary for result in results]
    whole = _whole(job, max(summary.asked for summary in summaries))
    circuits = [
        *((edits_from_result(result), result.summary.effective) for result in results),
        (whole.edits, whole.effective),
    ]
    members = np.repeat(np.arange(len(results)), [len(part.test or ()) for part in division.jobs])
    matrix: list[list[float | None]] = [[None] * len(results)] * len(circuits)
    test: SpecificityTest | None = None
    if held_out := [part.test for part in division.jobs if part.test]:
        original = torch.cat(
            [responses(job.subnetwork, images, "the network on held-out images") for images in held_out]
        )
        *made, last = (_responses(job, held_out, edits, effective) for edits, effective in circuits)
        matrix = fidelity(original, [*made, last], members, len(results))
        test = distinction(original, made, last, members, job.plan.seed)
    shares, points = _plane(division.points)
    return SplitResult(
        Split(
            plan=job.plan,
            model=prepared.plan.model,
            vectors=division.vectors,
            relevant=summaries[0].relevant,
            whole=whole.kept,
            kinds=[_kind(part, summary) for part, summary in zip(division.jobs, summaries, strict=True)],
            silent=[path.name for path in division.silent],
            separation=division.separation,
            distinction=test,
            fidelity=matrix,
            overlaps=_overlaps(results),
            shares=shares,
            points=points,
            provenance=_with_version(job),
        ),
        tuple(images.rgb(index) for images in _sets(division) for index in range(len(images))),
    )


def _with_version(job: Job) -> Provenance:
    """Return the provenance of a split, with the version of the package that clusters."""
    versions = {**job.provenance.versions, "scikit-learn": version("scikit-learn")}
    return msgspec.structs.replace(job.provenance, versions=versions)


def _sets(division: SplitJobs) -> list[ImageSet]:
    return [images for part in division.jobs for images in (part.train, part.test) if images]


def _kind(job: Job, summary: Summary) -> Cluster:
    return Cluster(
        id=job.plan.id,
        identity=job.provenance.identity,
        train=[path.name for path in job.train.paths],
        test=[path.name for path in job.test.paths] if job.test else [],
        kept=summary.kept,
        verdict=verdict(summary),
    )


@dataclass(frozen=True)
class _Whole:
    """The circuit of all images."""

    edits: Edits
    kept: int
    effective: int


def _whole(job: Job, size: int) -> _Whole:
    """The circuit of so many kernels that the spec's criterion finds on the images of all parts."""
    plan = job.plan
    builder = job.builder()
    nested = CRITERIA.load(plan.criterion.name).nested

    def compute() -> Scores:
        with job.arithmetic():
            return score(
                builder, plan.criterion.name, plan.criterion.parameters, size, plan.seed, None, job.score_cache
            )

    masks = builder.select(job.score_cache.scores(None if nested else size, compute), size)
    return _Whole(builder.build(masks), count(masks), count(builder.connected(masks)))


def _responses(job: Job, held_out: Sequence[ImageSet], edits: Edits, effective: int) -> Tensor:
    """Return a circuit's responses to the held-out images, part by part [images, positions]."""
    label = "parts against one another"
    values = torch.cat([responses(job.subnetwork, images, label, edits) for images in held_out])
    # As in `execute`: what a collapsed circuit has in common with the feature is position, and preserves nothing.
    return values if effective else values.mean().expand_as(values)


def _overlaps(results: Sequence[Result]) -> list[Overlap]:
    """Return the overlap of each two circuits in all layers together, and then layer by layer."""
    names = {layer.path: layer.name for layer in results[0].summary.layers}
    circuits = [kept(result, kernels=True) for result in results]
    overlaps = []
    for one, other in combinations(range(len(results)), 2):
        shared = overlap(circuits[one], circuits[other])
        rows = {"": shared.total, **{names[path]: part for path, part in shared.layers.items()}}
        overlaps += [
            Overlap(parts=(one + 1, other + 1), layer=layer, iou=part.iou, chance=part.expected_iou)
            for layer, part in rows.items()
        ]
    return overlaps


def _plane(points: NDArray[np.float64]) -> tuple[tuple[float, float], list[tuple[float, float]]]:
    """The two directions in which points differ most: their shares of the variance, and where each point is."""
    around = points - points.mean(0)
    directions, lengths, _ = np.linalg.svd(around, full_matrices=False)
    places = np.zeros((len(points), 2))
    there = min(2, len(lengths))
    places[:, :there] = directions[:, :there] * lengths[:there]
    shares = np.zeros(2)
    shares[:there] = lengths[:there] ** 2 / max(float((lengths**2).sum()), 1e-300)
    return (float(shares[0]), float(shares[1])), [(float(x), float(y)) for x, y in places]
