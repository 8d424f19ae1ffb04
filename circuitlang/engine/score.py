"""Section and images → scores, by a criterion of any kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor

from circuitlang.engine.build import Builder
from circuitlang.engine.contracts import (
    CRITERIA,
    Batches,
    Criterion,
    Edit,
    Edits,
    Masks,
    Observation,
    Passage,
    Scores,
    signs,
)
from circuitlang.engine.graph import Layer
from circuitlang.engine.intervene import Section
from circuitlang.errors import Finding, SpecError
from circuitlang.registry import Value

if TYPE_CHECKING:
    from circuitlang.engine.contracts import Cotangent


def score(builder: Builder, criterion: str, parameters: Mapping[str, Value], budget: int, seed: int) -> Scores:
    """The score of every kernel of the builder's section by its images, float64 [out, in / groups] by layer, or of
    every weight [out, in / groups, h, w]; zero where it isn't relevant."""
    return _Scoring(builder, budget, seed).score(criterion, None, **parameters)


class _Scoring:
    """What schedules work with; see `contracts.Scoring`."""

    def __init__(self, builder: Builder, budget: int, seed: int) -> None:
        self._builder = builder
        self._section: Section = builder.section
        self._images: Batches = builder.images
        self.relevant = builder.relevant
        self.weights = builder.weights
        self.budget = budget
        self.generator = torch.Generator().manual_seed(seed)
        # What a procedure scores in: the whole network, unless another says otherwise.
        self._edits: Edits | Masks | None = None

    @property
    def stand_ins(self) -> Mapping[str, Tensor | None]:
        """See `contracts.Scoring`."""
        builder, target = self._builder, self._section.target.step.layer
        found: Mapping[str, Tensor] = builder.stand_ins
        if builder.structure == "weight":
            # Nothing stands in for single weights.
            found = {path: torch.zeros(mask.shape).double() for path, mask in self.relevant.items()}
        return {
            path: None if builder.calibrate != "none" or (target and path == target.path) else constants
            for path, constants in found.items()
        }

    def score(self, criterion: str, edits: Edits | Masks | None = None, **parameters: Value) -> Scores:
        if criterion not in CRITERIA.declarations:
            raise SpecError(Finding("E103", f"unknown criterion '{criterion}'"))
        entry = CRITERIA.load(criterion)
        if isinstance(entry, Criterion):
            scores: Scores = self._pass(criterion, entry, self._edits if edits is None else edits, parameters)
        else:
            inner = copy(self)
            inner._edits = self._edits if edits is None else edits
            scores = entry.run(inner, **parameters)
        return {path: scores[path].cpu().double() * mask for path, mask in self.relevant.items()}

    def sensitivities(self) -> Mapping[str, Tensor]:
        sums = {path: torch.zeros(len(mask)).double() for path, mask in self.relevant.items()}

        def observer(layer: Layer, kernels: Observation) -> None:
            rows = self._section.rows(layer)
            squares = kernels.gradient.square().sum((0, 2, 3), dtype=torch.float64).cpu()
            sums[layer.path].index_add_(0, torch.arange(len(squares)) if rows is None else rows, squares)

        with self._section.edited(self._edits):
            for batch in self._images.batches("sensitivities"):
                self._section.observe(batch, partial(self._cotangent, signs, batch), observer)
        return sums

    def passages(self, see: Callable[[str, Passage], None]) -> None:
        whole = {path: Edit(mask.double()) for path, mask in self.relevant.items()}

        def fit(layer: Layer, passage: Passage) -> Edit:
            see(layer.path, passage)
            edit = self._edits[layer.path] if self._edits else whole[layer.path]
            return Edit(edit) if isinstance(edit, Tensor) else edit

        self._builder.through(fit, "layers")

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
            for place, part in self._parts(kernels):
                found = entry.reduce(part, **parameters).double().cpu()
                if layer.path not in sums:
                    sums[layer.path] = torch.zeros((*found.shape[:-2], *self.relevant[layer.path].shape)).double()
                rows = self._section.rows(layer)
                own = sums[layer.path][place]
                if rows is None:
                    own += found
                else:
                    own.index_add_(-2, rows, found)

        with self._section.edited(edits):
            for batch in self._images.batches(name):
                self._section.observe(batch, partial(self._cotangent, entry.cotangent, batch), observer)
        return {path: entry.finish(sums[path]) for path in self.relevant}

    def _parts(self, kernels: Observation) -> Iterator[tuple[tuple[Any, ...], Observation]]:
        """What is scored of a layer, and where its scores belong: all kernels at once, or for every place in them the
        weights there, which are kernels of 1 x 1 on what they see."""
        if self._builder.structure != "weight":
            yield (...,), kernels
            return
        height, width = kernels.weight.shape[2:]
        rows, columns = (
            (size - 1) * step + 1 for size, step in zip(kernels.gradient.shape[2:], kernels.stride, strict=True)
        )
        for i, j in product(range(height), range(width)):
            top, left = i * kernels.dilation[0], j * kernels.dilation[1]
            seen = kernels.input[..., top : top + rows : kernels.stride[0], left : left + columns : kernels.stride[1]]
            weight = kernels.weight[..., i : i + 1, j : j + 1]
            yield (..., i, j), replace(kernels, weight=weight, input=seen, stride=(1, 1), dilation=(1, 1))

    def _cotangent(self, cotangent: Cotangent, images: Tensor, feature: Tensor) -> Tensor:
        """Image by image, so that nothing depends on what else is in the batch."""
        maps = zip(images, torch.split(feature, 1), strict=True)
        return torch.cat([cotangent(one, self._generator_for(image)) for image, one in maps])

    def _generator_for(self, image: Tensor) -> Generator:
        """Random numbers that follow from the circuit's seed and what is in the image, not from its place."""
        seed = self.generator.initial_seed().to_bytes(8, "little")
        content = blake2b(image.cpu().numpy().tobytes(), digest_size=7, key=seed)
        return torch.Generator().manual_seed(int.from_bytes(content.digest(), "little"))
