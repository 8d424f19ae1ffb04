"""Score the kernels of a subnetwork on images, by a criterion of any kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from circuitlang.base.diagnostics import Finding, SpecError
from circuitlang.engine.attribution.multi_target import MultiTargetPass
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.image_seeds import seeded
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_nodes import Layer
from circuitlang.plan.model import Choice
from circuitlang.plugins.protocols import (
    CRITERIA,
    Batches,
    Criterion,
    Edit,
    Edits,
    LayerActivations,
    LayerSignals,
    Masks,
    Schedule,
    Scores,
    signs,
)
from circuitlang.plugins.registry import Value

if TYPE_CHECKING:
    from circuitlang.plugins.protocols import Cotangent


def score(
    builder: Builder,
    criterion: str,
    parameters: Mapping[str, Value],
    budget: int,
    seed: int,
    contrast: Batches | None = None,
) -> Scores:
    """The score of every kernel of the builder's subnetwork by its images, float64 [out, in / groups] by layer, or of
    every weight [out, in / groups, h, w]; zero where it isn't relevant.

    Where there are images to contrast with, the mean score per image less theirs: negative for what does more on those.
    """
    return _Scoring(builder, budget, seed, contrast).score(criterion, None, **parameters)


def score_all(builder: Builder, choices: Sequence[Choice], budget: int, seed: int) -> list[Scores]:
    """What `score` finds by each of some criteria, to the last bit. Those of one pass share it: a forward pass, a
    backward pass for each of their cotangents, and what they need of a kernel alike."""
    return _Scoring(builder, budget, seed).score_all(choices)


def score_each(builder: Builder, choice: Choice, seed: int, label: str) -> Iterator[Scores]:
    """Of every image of the builder's, in order, what `score` finds by a one-pass criterion on that image alone; the
    whole costs as much as one pass."""
    yield from _Scoring(builder, 0, seed).score_each(choice, label)


def score_together(asked: Sequence[tuple[Builder, Choice]], seed: int) -> list[Scores]:
    """What `score` finds for each of some targets of one network by one-pass criteria, on the images of the first: one
    forward pass for all, and a backward pass for each target and cotangent."""
    return _Scoring(asked[0][0], 0, seed).score_together(asked)


@dataclass(frozen=True)
class _Asked:
    """A one-pass criterion and its parameters, and whose kernels it scores."""

    entry: Criterion
    parameters: Mapping[str, Value]
    builder: Builder

    @property
    def source(self) -> tuple[TargetSubnetwork, Cotangent]:
        """What a backward pass begins with."""
        return self.builder.subnetwork, self.entry.cotangent

    def finish(self, sums: Mapping[str, Tensor]) -> Scores:
        """The scores that sums over all images make."""
        return _relevant(self.builder, {path: self.entry.finish(sums[path]) for path in self.builder.relevant})


class _Scoring:
    """What schedules work with; see `contracts.Scoring`."""

    def __init__(self, builder: Builder, budget: int, seed: int, contrast: Batches | None = None) -> None:
        self._builder = builder
        self._contrast = contrast
        self._subnetwork: TargetSubnetwork = builder.subnetwork
        self._images: Batches = builder.images
        self.relevant = builder.relevant
        self.weights = builder.weights
        self.budget = budget
        self.generator = torch.Generator().manual_seed(seed)
        # What a procedure scores in: the whole network, unless another says otherwise.
        self._edits: Edits | Masks | None = None

    @property
    def ablation_values(self) -> Mapping[str, Tensor | None]:
        """See `contracts.Scoring`."""
        builder, target = self._builder, self._subnetwork.target.step.layer
        found: Mapping[str, Tensor] = builder.ablation_values
        if builder.structure == "weight":
            # Nothing stands in for single weights.
            found = {path: torch.zeros(mask.shape).double() for path, mask in self.relevant.items()}
        return {
            path: None if builder.calibrate != "none" or (target and path == target.path) else constants
            for path, constants in found.items()
        }

    def score(self, criterion: str, edits: Edits | Masks | None = None, **parameters: Value) -> Scores:
        entry = _entry(criterion)
        # What only lets others score has theirs contrasted, each time it asks.
        sums = isinstance(entry, Criterion) or entry.contrast == "sums"
        if self._contrast is None or not sums:
            return self._score(criterion, entry, edits, parameters)
        own, others = (
            self._of(images)._score(criterion, entry, edits, parameters) for images in (self._images, self._contrast)
        )
        numbers = len(self._images), len(self._contrast)
        return {path: own[path] / numbers[0] - others[path] / numbers[1] for path in own}

    def _of(self, images: Batches) -> _Scoring:
        """The same by other images, in the same network and with the same stand-ins, contrasted with none."""
        inner = copy(self)
        inner._images, inner._contrast = images, None
        return inner

    def _score(
        self, criterion: str, entry: Criterion | Schedule, edits: Edits | Masks | None, parameters: Mapping[str, Value]
    ) -> Scores:
        if isinstance(entry, Criterion):
            asked = [_Asked(entry, parameters, self._builder)]
            (scores,) = self._pass(criterion, asked, self._edits if edits is None else edits)
            return scores
        inner = copy(self)
        inner._edits = self._edits if edits is None else edits
        return _relevant(self._builder, entry.run(inner, **parameters))

    def score_all(self, choices: Sequence[Choice]) -> list[Scores]:
        """See `score_all`."""
        entries = [_entry(choice.name) for choice in choices]
        asked = {
            number: _Asked(entry, choices[number].parameters, self._builder)
            for number, entry in enumerate(entries)
            if isinstance(entry, Criterion)
        }
        label = ", ".join(choices[number].name for number in asked)
        found = dict(zip(asked, self._pass(label, list(asked.values()), None), strict=True)) if asked else {}
        return [
            found[number]
            if number in found
            # A generator of its own, as if it were asked for alone.
            else score(self._builder, choice.name, choice.parameters, self.budget, self.generator.initial_seed())
            for number, choice in enumerate(choices)
        ]

    def score_together(self, asked: Sequence[tuple[Builder, Choice]]) -> list[Scores]:
        """See `score_together`."""
        entries = [(_entry(choice.name), choice.parameters, builder) for builder, choice in asked]
        single = [_Asked(entry, own, builder) for entry, own, builder in entries if isinstance(entry, Criterion)]
        heads = MultiTargetPass(builder.subnetwork for builder, _ in asked)
        label = ", ".join(dict.fromkeys(choice.name for _, choice in asked))
        many = len({builder.subnetwork for builder, _ in asked})
        return self._pass(f"{label} of {many} targets" if many > 1 else label, single, None, heads)

    def score_each(self, choice: Choice, label: str) -> Iterator[Scores]:
        """See `score_each`."""
        entry = _entry(choice.name)
        assert isinstance(entry, Criterion)
        asked = _Asked(entry, choice.parameters, self._builder)
        heads = MultiTargetPass([self._subnetwork])
        with self._subnetwork.edited(self._edits):
            for batch in self._images.batches(label):
                for image in torch.split(batch, 1):
                    sums: list[dict[str, Tensor]] = [{}]
                    self._observe(image, [asked], sums, heads)
                    yield asked.finish(sums[0])

    def sensitivities(self) -> Mapping[str, Tensor]:
        sums = {path: torch.zeros(len(mask)).double() for path, mask in self.relevant.items()}

        def observer(_: int, layer: Layer, kernels: LayerSignals) -> None:
            rows = self._subnetwork.rows(layer)
            squares = kernels.gradient.square().sum((0, 2, 3), dtype=torch.float64).cpu()
            sums[layer.path].index_add_(0, torch.arange(len(squares)) if rows is None else rows, squares)

        with self._subnetwork.edited(self._edits):
            for batch in self._images.batches("sensitivities"):
                for images in torch.split(batch, self._subnetwork.together):
                    self._subnetwork.observe(images, [partial(self._cotangent, signs, images)], observer)
        return sums

    def visit_layer_inputs(self, see: Callable[[str, LayerActivations], None]) -> None:
        whole = {path: None if _complete(mask) else Edit(mask.double()) for path, mask in self.relevant.items()}

        def fit(layer: Layer, passage: LayerActivations) -> Edit | None:
            see(layer.path, passage)
            edit = self._edits[layer.path] if self._edits else whole[layer.path]
            return Edit(edit) if isinstance(edit, Tensor) else edit

        self._builder.through(fit, "layers", self._images)

    def select(self, scores: Scores, budget: int) -> Masks:
        return self._builder.select(scores, budget)

    def build(self, masks: Masks) -> Mapping[str, Edit]:
        return self._builder.build(masks)

    def ablated(self, gains: Masks) -> Mapping[str, Edit]:
        return self._builder.ablated(gains)

    def batches(self, label: str) -> Iterator[Tensor]:
        return self._images.batches(label)

    def feature(self, images: Tensor, edits: Edits | Masks | None = None) -> Tensor:
        with self._subnetwork.edited(edits):
            return self._subnetwork.feature(images)

    def _pass(
        self, label: str, asked: Sequence[_Asked], edits: Edits | Masks | None, heads: MultiTargetPass | None = None
    ) -> list[Scores]:
        """Add up what each batch contributes, by each criterion; memory does not grow with the number of images."""
        sums: list[dict[str, Tensor]] = [{} for _ in asked]
        heads = heads or MultiTargetPass([self._subnetwork])
        with self._subnetwork.edited(edits):
            for batch in self._images.batches(label):
                for images in torch.split(batch, heads.together):
                    self._observe(images, asked, sums, heads)
        return [each.finish(own) for each, own in zip(asked, sums, strict=True)]

    def _observe(
        self, images: Tensor, asked: Sequence[_Asked], sums: Sequence[dict[str, Tensor]], heads: MultiTargetPass
    ) -> None:
        """Add what some images contribute, by each criterion, to its sums."""
        sources = list(dict.fromkeys(each.source for each in asked))

        def observer(number: int, layer: Layer, kernels: LayerSignals) -> None:
            for place, part in self._parts(kernels):
                for each, own in zip(asked, sums, strict=True):
                    if each.source == sources[number]:
                        _add(each.builder, own, layer, place, each.entry.reduce(part, **each.parameters))

        starts = [(subnetwork, partial(self._cotangent, cotangent, images)) for subnetwork, cotangent in sources]
        heads.observe(images, starts, observer)

    def _parts(self, kernels: LayerSignals) -> Iterator[tuple[tuple[Any, ...], LayerSignals]]:
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
        seed = self.generator.initial_seed()
        return torch.cat([cotangent(one, seeded(image, seed)) for image, one in maps])


def _relevant(builder: Builder, scores: Scores) -> Scores:
    """The scores of kernels that may be kept, and zero for others."""
    return {path: scores[path].cpu().double() * mask for path, mask in builder.relevant.items()}


def _add(builder: Builder, sums: dict[str, Tensor], layer: Layer, place: tuple[Any, ...], found: Tensor) -> None:
    """Add what is found of a place in a layer's kernels."""
    found = found.cpu()
    if layer.path not in sums:
        shape = (*found.shape[:-2], *builder.relevant[layer.path].shape)
        sums[layer.path] = torch.zeros(shape, dtype=torch.float64)
    rows = builder.subnetwork.rows(layer)
    own = sums[layer.path][place]
    if rows is None:
        own += found
    else:
        own.index_add_(-2, rows, found.double())


def _complete(mask: Tensor) -> bool:
    """Whether all is there of the output channels of which anything is."""
    own = mask.flatten(1)
    return bool((own.all(1) | ~own.any(1)).all())


def _entry(criterion: str) -> Criterion | Schedule:
    if criterion not in CRITERIA.declarations:
        raise SpecError(Finding("E103", f"unknown criterion '{criterion}'"))
    return CRITERIA.load(criterion)
