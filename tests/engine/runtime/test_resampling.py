"""Circuits of resampled images, against every list of images that could be drawn, each scored by itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations_with_replacement
from pathlib import Path

import pytest
import torch

from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.evaluation.hypothesis_tests.stability import mean_overlap, overlap_of, shares_of
from circuitlang.engine.images.hashed_images import HashedImages
from circuitlang.engine.runtime.jobs import prepare
from circuitlang.engine.runtime.options import Options
from circuitlang.engine.runtime.resampling import Resampling
from tests.helpers.specs import compiled

IMAGES = "[images/dogs/0.png, images/dogs/1.png, images/dogs/2.png]"


def job_of(here, line: str):
    spec = compiled(f"circuit face = preserve conv5:34 on {line} holdout=0 tests=stability")
    return prepare(spec.plan, spec.folder, spec.origins, Options()).jobs[0]


def flat(masks) -> tuple[int, ...]:
    return tuple(torch.cat([mask.flatten() for mask in masks.values()]).nonzero()[:, 0].tolist())


@pytest.mark.slow
@pytest.mark.parametrize("criterion", ["snip", "gn"])
def test_resamples_are_circuits_of_images_that_were_drawn_with_replacement(here, criterion):
    job = job_of(here, f"{IMAGES} kernels<=60 criterion={criterion}")
    naive = Counter()
    for drawn in combinations_with_replacement(range(3), 3):
        images = job.train.take(drawn)
        builder = Builder.of(job.plan, job.subnetwork, images)
        orders = 6 // (1, 1, 2, 6)[max(Counter(drawn).values())]
        naive[flat(builder.select(score(builder, criterion, {}, 60, job.plan.seed), 60))] += orders
    assert sum(naive.values()) == 27
    resampling = Resampling(job, 60)
    found = [flat(masks) for masks in resampling.resamples(200)]
    assert set(found) == set(naive)
    # As often as they should be, by a wide margin.
    for circuit, orders in naive.items():
        assert abs(found.count(circuit) / 200 - orders / 27) < 0.12
    assert [flat(masks) for masks in resampling.resamples(5)] == found[:5]
    assert [flat(masks) for masks in Resampling(job, 60).resamples(5)] == found[:5]
    shares = torch.cat([share.flatten() for share in resampling.shares().values()])
    counts = Counter(kernel for circuit in found[:100] for kernel in circuit)
    assert shares.tolist() == [counts[kernel] / 100 for kernel in range(len(shares))]


@pytest.mark.parametrize("line", [f"{IMAGES} kernels<=60 criterion=force(steps=1)", "images/dogs/0.png keep<=1%"])
def test_there_are_none_where_scores_are_no_sums_over_several_images(here, line):
    resampling = Resampling(job_of(here, line), 60)
    assert list(resampling.resamples(3)) == []
    assert (resampling.shares() is None) == ("force" not in line)


def test_overlap_of_pairs_and_shares():
    generator = torch.Generator().manual_seed(1)
    sizes = {"a": (40, 30), "b": (300, 400)}
    circuits = [
        {path: torch.rand(size, generator=generator) < 0.2 for path, size in sizes.items()} for _ in range(4)
    ] + [{path: torch.zeros(size, dtype=torch.bool) for path, size in sizes.items()}] * 2
    pairs = [overlap_of(circuits[i], circuits[j]) for i in range(6) for j in range(i)]
    assert mean_overlap(circuits) == pytest.approx(sum(pairs) / 15, rel=1e-12)
    shares = shares_of(circuits)
    assert shares["b"][7, 9] == sum(bool(masks["b"][7, 9]) for masks in circuits) / 6
    assert shares_of([]) == {}


@pytest.mark.parametrize(
    ("number", "most", "sizes"), [(5, 32, [1] * 5), (32, 32, [1] * 32), (50, 32, [2] * 25), (7, 3, [3, 3, 1])]
)
def test_blocks_of_images_are_equally_large_and_copies_stay_together(number, most, sizes):
    contents = [f"{place:03}" for place in range(number)]
    images = HashedImages(tuple(Path(one) for one in contents), tuple(contents))
    blocks = images.blocks(most, 3)
    assert [len(block) for block in blocks] == sizes
    assert sorted(one for block in blocks for one in block.digests) == contents
    assert blocks == images.blocks(most, 3)
    assert (blocks == images.blocks(most, 4)) == (number <= most)
    twice = replace(images, paths=images.paths * 2, digests=images.digests * 2)
    assert [sorted(set(block.digests)) for block in twice.blocks(most, 3)] == [sorted(b.digests) for b in blocks]
    assert [len(block) for block in twice.blocks(most, 3)] == [2 * size for size in sizes]
