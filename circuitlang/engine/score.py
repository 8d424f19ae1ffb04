"""Section and images → scores, by a criterion of any kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from hashlib import blake2b

import torch
from torch import Generator, Tensor

from circuitlang.engine.build import Builder
from circuitlang.engine.contracts import CRITERIA, Batches, Criterion, Edit, Edits, Masks, Observation, Scores
from circuitlang.engine.graph import Layer
from circuitlang.engine.intervene import Section
from circuitlang.errors import Finding, SpecError
from circuitlang.registry import Value


def score(builder: Builder, criterion: str, parameters: Mapping[str, Value], budget: int, seed: int) -> Scores:
    """The score of every kernel of the builder's section by its images, float64 [out, in / groups] by layer; zero
    where it isn't relevant."""
    return _Scoring(builder, budget, seed).score(criterion, None, **parameters)


class _Scoring:
    """What schedules work with; see `contracts.Scoring`."""

    def __init__(self, builder: Builder, budget: int, seed: int) -> None:
        self._builder = builder
        self._section: Section = builder.section
        self._images: Batches = builder.images
        self.relevant = self._section.relevant
        self.weights = self._section.weights
        self.budget = budget
        self.generator = torch.Generator().manual_seed(seed)

    def score(self, criterion: str, edits: Edits | Masks | None = None, **parameters: Value) -> Scores:
        if criterion not in CRITERIA.declarations:
            raise SpecError(Finding("E103", f"unknown criterion '{criterion}'"))
        entry = CRITERIA.load(criterion)
        if isinstance(entry, Criterion):
            scores: Scores = self._pass(criterion, entry, edits, parameters)
        else:
            scores = entry.run(self, **parameters)
        return {path: scores[path].cpu().double() * mask for path, mask in self.relevant.items()}

    def select(self, scores: Scores, budget: int) -> Masks:
        return self._builder.select(scores, budget)

    def build(self, masks: Masks) -> Mapping[str, Edit]:
        return self._builder.build(masks)

    def ablated(self, gains: Masks) -> Mapping[str, Edit]:
        return self._builder.ablated(gains)

    def batches(self, label: str) -> Iterator[Tensor]:
        return self._images.batches(label)

    def feature(self, images: Tensor, edits: Edits | Masks | None = None) -> Tensor:
        with self._section.edited(edits):
            return self._section.feature(images)

    def _pass(
        self, name: str, entry: Criterion, edits: Edits | Masks | None, parameters: Mapping[str, Value]
    ) -> dict[str, Tensor]:
        """Add up what each batch contributes; memory does not grow with the number of images."""
        sums: dict[str, Tensor] = {}

        def observer(layer: Layer, kernels: Observation) -> None:
            part = entry.reduce(kernels, **parameters).double().cpu()
            rows = self._section.rows(layer)
            if layer.path not in sums:
                sums[layer.path] = torch.zeros((*part.shape[:-2], *self.relevant[layer.path].shape)).double()
            if rows is None:
                sums[layer.path] += part
            else:
                sums[layer.path].index_add_(-2, rows, part)

        with self._section.edited(edits):
            for batch in self._images.batches(name):
                self._section.observe(batch, partial(self._cotangent, entry, batch), observer)
        return {path: entry.finish(sums[path]) for path in self.relevant}

    def _cotangent(self, entry: Criterion, images: Tensor, feature: Tensor) -> Tensor:
        """Image by image, so that nothing depends on what else is in the batch."""
        maps = zip(images, torch.split(feature, 1), strict=True)
        return torch.cat([entry.cotangent(one, self._generator_for(image)) for image, one in maps])

    def _generator_for(self, image: Tensor) -> Generator:
        """Random numbers that follow from the circuit's seed and what is in the image, not from its place."""
        seed = self.generator.initial_seed().to_bytes(8, "little")
        content = blake2b(image.cpu().numpy().tobytes(), digest_size=7, key=seed)
        return torch.Generator().manual_seed(int.from_bytes(content.digest(), "little"))
