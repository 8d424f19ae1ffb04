"""The circuits that a job finds on halves and on resamples of its images: how far they depend on the images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitlang.engine.attribution.block_sums import BlockSums
from circuitlang.engine.attribution.scorer import block_sums
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.evaluation.circuit_claim import derived_seed
from circuitlang.engine.evaluation.hypothesis_tests.stability import shares_of
from circuitlang.engine.images.hashed_images import held_out
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.engine.runtime.amounts import BLOCKS
from circuitlang.engine.runtime.circuit_finder import CircuitFinder
from circuitlang.engine.runtime.jobs import Job
from circuitlang.engine.runtime.steps.scores import summed
from circuitlang.plan.clauses import STABILITY
from circuitlang.plugins.hypothesis_tests import TESTS
from circuitlang.plugins.protocols import Masks, passes_of

_Pair = tuple[Masks, Masks]
# The numbers of random choices, beyond those of halvings and of random circuits.
_BLOCKS, _RESAMPLES = 1 << 30, 1 << 31


@dataclass(frozen=True)
class Resampling:
    """Circuits of `size` kernels that the criterion of a job finds on other draws of its images; each is found once.

    The scores of a one-pass criterion are sums over images. Sums over blocks of the images are kept from one pass, and
    halves and resamples are made of blocks. Of any other criterion only the halves are known, which take its passes.
    """

    job: Job
    size: int
    _found: list[_Pair] = field(default_factory=list)
    # The numbers of the kernels that are kept, which take less memory than masks.
    _resampled: list[NDArray[np.int64]] = field(default_factory=list)

    def shares(self) -> Mapping[str, Tensor] | None:
        """Return the share of circuits of other draws of the images that have each kernel, by layer.

        These are those of bootstrap resamples, or of halves where there are none. None if the plan asks for no
        stability, and for one image alone.
        """
        parameters = next((test.parameters for test in self.job.plan.tests if test.name == STABILITY), None)
        if parameters is None:
            return None
        # A plan of an earlier version lacks parameters that were added later.
        number = {one.name: one.default for one in TESTS.declarations[STABILITY].parameters} | parameters
        shares = shares_of(self.resamples(int(number["resamples"])))
        return shares or shares_of(chain.from_iterable(self.halves(int(number["halvings"])))) or None

    def halves(self, number: int) -> Sequence[_Pair]:
        """Return the circuits of both halves for so many random halvings; none if there is one image alone.

        Copies of an image stay in one half.
        """
        while len(self._found) < number:
            seed = derived_seed(self.job.plan.seed, len(self._found))
            pair = self._of_blocks(seed) if summed(self.job.plan) else self._of_images(seed)
            if pair is None:
                break
            self._found.append(pair)
        return self._found[:number]

    def resamples(self, number: int) -> Iterator[Masks]:
        """Yield the circuits of so many bootstrap resamples: as many blocks as there are, drawn with replacement.

        Nothing for one image alone, and for criteria whose scores are no sums over images.
        """
        if not summed(self.job.plan) or not self._several:
            return
        relevant = self._builder.relevant
        random = Random(derived_seed(self.job.plan.seed, _RESAMPLES))
        for place in range(number):
            blocks = random.choices(range(len(self._blocks)), k=len(self._blocks))
            if place == len(self._resampled):
                masks = self._selected([blocks.count(block) for block in range(len(self._blocks))])
                kept = torch.cat([mask.flatten() for mask in masks.values()])
                self._resampled.append(kept.numpy().nonzero()[0])
            flat = torch.zeros(sum(mask.numel() for mask in relevant.values()), dtype=torch.bool)
            flat[torch.from_numpy(self._resampled[place])] = True
            parts = torch.split(flat, [mask.numel() for mask in relevant.values()])
            yield {path: part.view(mask.shape) for (path, mask), part in zip(relevant.items(), parts, strict=True)}

    @property
    def _several(self) -> bool:
        return len(set(self.job.train.contents)) > 1

    @cached_property
    def _builder(self) -> Builder:
        return self.job.builder()

    @cached_property
    def _blocks(self) -> BlockSums:
        job = self.job
        images = job.train.blocks(BLOCKS, derived_seed(job.plan.seed, _BLOCKS))
        with job.arithmetic():
            return block_sums(self._builder, job.plan.criterion, job.plan.seed, images, job.score_cache)

    def _selected(self, weights: Sequence[int]) -> Masks:
        return self._builder.select(self._blocks.scores(weights), self.size)

    def _of_blocks(self, seed: int) -> _Pair | None:
        """Return the circuits of two halves of the blocks."""
        if not self._several:
            return None
        number = len(self._blocks)
        out = set(Random(seed).sample(range(number), held_out(0.5, number)))
        first, second = ([int((block in out) == side) for block in range(number)] for side in (False, True))
        return self._selected(first), self._selected(second)

    def _of_images(self, seed: int) -> _Pair | None:
        """Return the circuits of two halves of the images, each found as the circuit of the job is."""
        first, second = self.job.train.split(0.5, seed)
        return (self._search(first), self._search(second)) if second else None

    def _search(self, images: ImageSet) -> Masks:
        plan = self.job.plan
        # Scores that cost no pass are not worth caching.
        costs = passes_of(plan.criterion.name, plan.criterion.parameters)
        cache = self.job.score_cache.derived(f"found on {images.digest}") if costs else None
        builder = self.job.builder(images)
        how = self.job.contrast, self.job.arithmetic
        return CircuitFinder(builder, plan.criterion, plan.seed, cache, *how).masks(self.size)
