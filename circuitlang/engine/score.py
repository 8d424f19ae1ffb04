"""Section and images → scores, by a criterion of any kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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

    def batches(self, label: str) -> Iterator[Tensor]:
        return self._images.batches(label)

    def feature(self, images: Tensor, edits: Edits | Masks | None = None) -> Tensor:
        with self._section.edited(edits):
            return self._section.feature(images)

    def _pass(
        self, name: str, entry: Criterion, edits: Edits | Masks | None, parameters: Mapping[str, Value]
    ) -> dict[str, Tensor]:
        """Add up what each batch contributes; memory does not grow with the number of images."""
        sums = {path: torch.zeros(mask.shape, dtype=torch.float64) for path, mask in self.relevant.items()}

        def observer(layer: Layer, kernels: Observation) -> None:
            part = entry.reduce(kernels, **parameters).double().cpu()
            rows = self._section.rows(layer)
            if rows is None:
                sums[layer.path] += part
            else:
                sums[layer.path].index_add_(0, rows, part)

        def cotangent(feature: Tensor, generator: Generator = self.generator) -> Tensor:
            return entry.cotangent(feature, generator)

        with self._section.edited(edits):
            for batch in self._images.batches(name):
                self._section.observe(batch, cotangent, observer)
        return sums
