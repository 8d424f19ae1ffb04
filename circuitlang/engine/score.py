"""Section and images → scores, by a criterion of any kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from hashlib import blake2b
from typing import Protocol

import torch
from torch import Generator, Tensor

from circuitlang.engine import select
from circuitlang.engine.contracts import CRITERIA, Criterion, Masks, Observation, Scores
from circuitlang.engine.graph import Layer
from circuitlang.engine.intervene import Section
from circuitlang.errors import Finding, SpecError
from circuitlang.registry import Value


class Batches(Protocol):
    """Images that can be gone through again and again."""

    def batches(self, label: str) -> Iterator[Tensor]: ...


def score(
    section: Section, images: Batches, criterion: str, parameters: Mapping[str, Value], budget: int, seed: int
) -> Scores:
    """The score of every kernel of a section, float64 [out, in / groups] by layer; zero where it isn't relevant."""
    scoring = _Scoring(section, images, budget, seed)
    return scoring.score(criterion, None, **parameters)


class _Scoring:
    """What schedules work with; see `contracts.Scoring`."""

    def __init__(self, section: Section, images: Batches, budget: int, seed: int) -> None:
        self.relevant = section.relevant
        self.weights = section.weights
        self.budget = budget
        self.generator = torch.Generator().manual_seed(seed)
        self._section = section
        self._images = images

    def score(self, criterion: str, masks: Masks | None = None, **parameters: Value) -> Scores:
        if criterion not in CRITERIA.declarations:
            raise SpecError(Finding("E103", f"unknown criterion '{criterion}'"))
        entry = CRITERIA.load(criterion)
        if isinstance(entry, Criterion):
            scores: Scores = self._pass(criterion, entry, masks, parameters)
        else:
            with self._section.masked(masks):
                scores = entry.run(self, **parameters)
        return {path: scores[path].cpu().double() * mask for path, mask in self.relevant.items()}

    def select(self, scores: Scores, budget: int) -> Masks:
        return select.select(scores, self.relevant, budget)

    def _pass(
        self, name: str, entry: Criterion, masks: Masks | None, parameters: Mapping[str, Value]
    ) -> dict[str, Tensor]:
        """Add up what each batch contributes; memory does not grow with the number of images."""
        sums: dict[str, Tensor] = {}

        def observer(layer: Layer, kernels: Observation) -> None:
            part = entry.reduce(kernels, **parameters).double().cpu()
            shape, unit = self.relevant[layer.path].shape, self._section.target.unit
            if layer.path not in sums:
                sums[layer.path] = torch.zeros((*part.shape[:-2], *shape), dtype=torch.float64)
            rows = slice(unit, unit + 1) if part.shape[-2] < shape[0] else slice(None)
            sums[layer.path][..., rows, :] += part

        with self._section.masked(masks):
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
