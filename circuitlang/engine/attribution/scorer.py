"""Score the kernels of a subnetwork on images by one or several criteria."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from circuitlang.base.diagnostics import Finding, SpecError
from circuitlang.engine.attribution.block_sums import BlockSums, summed
from circuitlang.engine.attribution.multi_target import MultiTargetPass
from circuitlang.engine.cache.tensor_cache import ScoreCache, stage_cache
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.image_seeds import seeded
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_nodes import Layer
from circuitlang.plan.model import Choice
from circuitlang.plugins.progress import TrackProgress, no_progress
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
    Scoring,
    signs,
)
from circuitlang.plugins.registry import Value

if TYPE_CHECKING:
    from circuitlang.plugins.protocols import Cotangent

T = TypeVar("T")


def score(
    builder: Builder,
    criterion: str,
    parameters: Mapping[str, Value],
    budget: int,
    seed: int,
    contrast: Batches | None = None,
    cache: ScoreCache | None = None,
) -> Scores:
    """Return the score of every kernel of the builder's subnetwork on the builder's images, by layer.

    Scores are float64 [out, in / groups], or [out, in / groups, h, w] if single weights are scored, and 0 for kernels
    that are not relevant. With `contrast`, the mean score per contrast image is subtracted from the mean score per
    image. `cache` stores what several budgets share. Raises SpecError if there is no such criterion.
    """
    return Scorer(builder, budget, seed, contrast, cache).score(criterion, None, **parameters)


def score_all(builder: Builder, choices: Sequence[Choice], budget: int, seed: int) -> list[Scores]:
    """Return the scores by several criteria, bit for bit those of `score`.

    One-pass criteria share a forward pass, a backward pass for each cotangent, and intermediate values.
    """
    return Scorer(builder, budget, seed).score_all(choices)


def score_each(builder: Builder, choice: Choice, seed: int, label: str) -> Iterator[Scores]:
    """Yield the scores by a one-pass criterion on every image of the builder alone, in order; costs one pass."""
    yield from Scorer(builder, 0, seed).score_each(choice, label)


def block_sums(
    builder: Builder, choice: Choice, seed: int, parts: Sequence[Batches], cache: ScoreCache | None = None
) -> BlockSums:
    """Return the sums over parts of the images that the scores by a one-pass criterion follow from; costs one pass.

    Parts share a block where more would take too much memory. `cache` stores the sums if they are not too large.
    """
    return Scorer(builder, 0, seed, cache=cache).block_sums(choice, parts)


def score_together(requests: Sequence[tuple[Builder, Choice]], seed: int) -> list[Scores]:
    """Return the scores for several targets of one network by one-pass criteria, on the first builder's images.

    All share a forward pass; each target and cotangent takes a backward pass.
    """
    return Scorer(requests[0][0], 0, seed).score_together(requests)


@dataclass(frozen=True)
class _Request:
    """A one-pass criterion with its parameters, and the builder whose kernels it scores."""

    entry: Criterion
    parameters: Mapping[str, Value]
    builder: Builder

    @property
    def source(self) -> tuple[TargetSubnetwork, Cotangent]:
        """The subnetwork and the cotangent that a backward pass begins with."""
        return self.builder.subnetwork, self.entry.cotangent

    def finish(self, sums: Mapping[str, Tensor]) -> Scores:
        """Return the scores, from sums over all images."""
        return _relevant(self.builder, {path: self.entry.finish(sums[path]) for path in self.builder.relevant})


class Scorer:
    """The interface of schedules; implements `protocols.Scoring`."""

    def __init__(
        self,
        builder: Builder,
        budget: int,
        seed: int,
        contrast: Batches | None = None,
        cache: ScoreCache | None = None,
    ) -> None:
        self._builder = builder
        # Caches of what several budgets share: of all schedules, without edits and on all images, and of this one.
        self._cache, self._stages = cache, cache
        self._contrast = contrast
        self._subnetwork: TargetSubnetwork = builder.subnetwork
        self._images: Batches = builder.images
        self.relevant = builder.relevant
        self.weights = builder.weights
        self.budget = budget
        self.generator = torch.Generator().manual_seed(seed)
        # The edits that schedules score with: none, unless another schedule asks for some.
        self.edits: Edits | Masks | None = None

    @property
    def contrast(self) -> Batches | None:
        """See `protocols.Scoring`."""
        return self._contrast

    @property
    def ablation_values(self) -> Mapping[str, Tensor | None]:
        """See `protocols.Scoring`."""
        builder, target = self._builder, self._subnetwork.target.step.layer
        values: Mapping[str, Tensor] = builder.ablation_values
        if builder.structure == "weight":
            # Single weights have no ablation value.
            values = {path: torch.zeros(mask.shape).double() for path, mask in self.relevant.items()}
        return {
            path: None if builder.calibrate != "none" or (target and path == target.path) else constants
            for path, constants in values.items()
        }

    def score(self, criterion: str, edits: Edits | Masks | None = None, **parameters: Value) -> Scores:
        entry = _entry(criterion)
        # A schedule that combines scores of other criteria gets contrasted ones each time it asks.
        sums = isinstance(entry, Criterion) or entry.contrast == "sums"
        if self._contrast is None or not sums:
            return self._score(criterion, entry, edits, parameters)
        own, others = (
            self.on(images)._score(criterion, entry, edits, parameters) for images in (self._images, self._contrast)
        )
        numbers = len(self._images), len(self._contrast)
        return {path: own[path] / numbers[0] - others[path] / numbers[1] for path in own}

    def on(self, images: Batches) -> Scorer:
        inner = copy(self)
        inner._images, inner._contrast, inner._cache = images, None, None
        return inner

    def _score(
        self, criterion: str, entry: Criterion | Schedule, edits: Edits | Masks | None, parameters: Mapping[str, Value]
    ) -> Scores:
        if isinstance(entry, Criterion):
            requests = [_Request(entry, parameters, self._builder)]
            (scores,) = self._pass(criterion, requests, self.edits if edits is None else edits)
            return scores
        inner = copy(self)
        inner.edits = self.edits if edits is None else edits
        # The name of a stage says nothing of edits.
        inner._cache = None if inner.edits else self._cache
        inner._stages = inner._cache and stage_cache(inner._cache, Choice(criterion, dict(parameters)))
        return _relevant(self._builder, entry.run(inner, **parameters))

    def score_all(self, choices: Sequence[Choice]) -> list[Scores]:
        """See `score_all`."""
        entries = [_entry(choice.name) for choice in choices]
        requests = {
            number: _Request(entry, choices[number].parameters, self._builder)
            for number, entry in enumerate(entries)
            if isinstance(entry, Criterion)
        }
        label = ", ".join(choices[number].name for number in requests)
        scores = dict(zip(requests, self._pass(label, list(requests.values()), None), strict=True)) if requests else {}
        return [
            scores[number]
            if number in scores
            # It has a generator of its own, as if it were the only criterion.
            else score(self._builder, choice.name, choice.parameters, self.budget, self.generator.initial_seed())
            for number, choice in enumerate(choices)
        ]

    def score_together(self, requests: Sequence[tuple[Builder, Choice]]) -> list[Scores]:
        """See `score_together`."""
        entries = [(_entry(choice.name), choice.parameters, builder) for builder, choice in requests]
        single = [_Request(entry, own, builder) for entry, own, builder in entries if isinstance(entry, Criterion)]
        targets_pass = MultiTargetPass(builder.subnetwork for builder, _ in requests)
        label = ", ".join(dict.fromkeys(choice.name for _, choice in requests))
        number = len({builder.subnetwork for builder, _ in requests})
        return self._pass(f"{label} of {number} targets" if number > 1 else label, single, None, targets_pass)

    def score_each(self, choice: Choice, label: str) -> Iterator[Scores]:
        """See `score_each`."""
        entry = _entry(choice.name)
        assert isinstance(entry, Criterion)
        request = _Request(entry, choice.parameters, self._builder)
        targets_pass = MultiTargetPass([self._subnetwork])
        with self._subnetwork.edited(self.edits):
            for batch in self._images.batches(label):
                for image in torch.split(batch, 1):
                    sums: list[dict[str, Tensor]] = [{}]
                    self._observe(image, [request], sums, targets_pass)
                    yield request.finish(sums[0])

    def block_sums(self, choice: Choice, parts: Sequence[Batches]) -> BlockSums:
        """See `block_sums`."""
        entry, what = _entry(choice.name), f"sums over {len(parts)} parts"
        assert isinstance(entry, Criterion)
        request = _Request(entry, choice.parameters, self._builder)
        sums = self._cache.derived(what).read() if self._cache else None
        if sums is None:
            sums = summed((self.on(part)._sums(choice.name, [request], None)[0] for part in parts), len(parts))
            if self._cache:
                self._cache.keep(what, sums)
        return BlockSums(sums, request.finish)

    def sensitivities(self) -> Mapping[str, Tensor]:
        sums = {path: torch.zeros(len(mask)).double() for path, mask in self.relevant.items()}

        def observer(_: int, layer: Layer, kernels: LayerSignals) -> None:
            rows = self._subnetwork.rows(layer)
            squares = kernels.gradient.square().sum((0, 2, 3), dtype=torch.float64).cpu()
            sums[layer.path].index_add_(0, torch.arange(len(squares)) if rows is None else rows, squares)

        with self._subnetwork.edited(self.edits):
            for batch in self._images.batches("sensitivities"):
                for images in torch.split(batch, self._subnetwork.images_per_pass):
                    self._subnetwork.observe(images, [partial(self.cotangents, signs, images)], observer)
        return sums

    def visit_layer_inputs(self, callback: Callable[[str, LayerActivations], None]) -> None:
        whole = {path: None if _complete(mask) else Edit(mask.double()) for path, mask in self.relevant.items()}

        def fit(layer: Layer, activations: LayerActivations) -> Edit | None:
            callback(layer.path, activations)
            edit = self.edits[layer.path] if self.edits else whole[layer.path]
            return Edit(edit) if isinstance(edit, Tensor) else edit

        self._builder.through(fit, "layers", self._images)

    def stage(self, budget: int, compute: Callable[[Scoring], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
        inner = copy(self)
        inner.budget, inner.generator = budget, torch.Generator().manual_seed(self.generator.initial_seed())
        cache = self._stages
        return compute(inner) if cache is None else cache.scores(budget, partial(compute, inner))

    def select(self, scores: Scores, budget: int) -> Masks:
        return self._builder.select(scores, budget)

    def build(self, masks: Masks) -> Mapping[str, Edit]:
        return self._builder.build_layerwise(masks)

    def ablated(self, gains: Masks) -> Mapping[str, Edit]:
        return self._builder.ablated(gains)

    def batches(self, label: str) -> Iterator[Tensor]:
        return self._images.batches(label)

    def track(self, items: Iterator[T], label: str, total: int) -> Iterator[T]:
        # Image sets show progress; other images, such as tensors, need not.
        track: TrackProgress = getattr(self._images, "track", no_progress)
        return track(items, label, total)

    def feature(self, images: Tensor, edits: Edits | Masks | None = None) -> Tensor:
        with self._subnetwork.edited(edits):
            return self._subnetwork.feature_in_parts(images)

    def _pass(
        self,
        label: str,
        requests: Sequence[_Request],
        edits: Edits | Masks | None,
        targets_pass: MultiTargetPass | None = None,
    ) -> list[Scores]:
        """Return the scores of each request on all images."""
        sums = self._sums(label, requests, edits, targets_pass)
        return [request.finish(own) for request, own in zip(requests, sums, strict=True)]

    def _sums(
        self,
        label: str,
        requests: Sequence[_Request],
        edits: Edits | Masks | None,
        targets_pass: MultiTargetPass | None = None,
    ) -> list[dict[str, Tensor]]:
        """Sum the contributions of all batches for each request; memory does not grow with the number of images."""
        sums: list[dict[str, Tensor]] = [{} for _ in requests]
        targets_pass = targets_pass or MultiTargetPass([self._subnetwork])
        with self._subnetwork.edited(edits):
            for batch in self._images.batches(label):
                for images in torch.split(batch, targets_pass.images_per_pass):
                    self._observe(images, requests, sums, targets_pass)
        return sums

    def _observe(
        self,
        images: Tensor,
        requests: Sequence[_Request],
        sums: Sequence[dict[str, Tensor]],
        targets_pass: MultiTargetPass,
    ) -> None:
        """Add the contributions of a batch to the sums of each request."""
        sources = list(dict.fromkeys(request.source for request in requests))

        def observer(number: int, layer: Layer, kernels: LayerSignals) -> None:
            for place, part in self._parts(kernels):
                for request, own in zip(requests, sums, strict=True):
                    if request.source == sources[number]:
                        _add(request.builder, own, layer, place, request.entry.reduce(part, **request.parameters))

        starts = [(subnetwork, partial(self.cotangents, cotangent, images)) for subnetwork, cotangent in sources]
        targets_pass.observe(images, starts, observer)

    def _parts(self, kernels: LayerSignals) -> Iterator[tuple[tuple[Any, ...], LayerSignals]]:
        """Yield the signals to score, with the index at which their scores belong.

        These are all kernels at once; or, for single weights, the weights at each kernel position, as 1 x 1 kernels.
        """
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

    def cotangents(self, cotangent: Cotangent, images: Tensor, feature: Tensor) -> Tensor:
        """Return the cotangent of a batch, image by image so that it does not depend on the rest of the batch."""
        maps = zip(images, torch.split(feature, 1), strict=True)
        seed = self.generator.initial_seed()
        return torch.cat([cotangent(one, seeded(image, seed)) for image, one in maps])


def _relevant(builder: Builder, scores: Scores) -> Scores:
    """Return scores on the CPU as float64, 0 for kernels that are not relevant."""
    return {path: scores[path].cpu().double() * mask for path, mask in builder.relevant.items()}


def _add(builder: Builder, sums: dict[str, Tensor], layer: Layer, place: tuple[Any, ...], part: Tensor) -> None:
    """Add a contribution to the sums of a layer, at the index that `_parts` yielded."""
    part = part.cpu()
    if layer.path not in sums:
        shape = (*part.shape[:-2], *builder.relevant[layer.path].shape)
        sums[layer.path] = torch.zeros(shape, dtype=torch.float64)
    rows = builder.subnetwork.rows(layer)
    own = sums[layer.path][place]
    if rows is None:
        own += part
    else:
        own.index_add_(-2, rows, part.double())


def _complete(mask: Tensor) -> bool:
    """Return whether every output channel of a mask is either complete or empty."""
    own = mask.flatten(1)
    return bool((own.all(1) | ~own.any(1)).all())


def _entry(criterion: str) -> Criterion | Schedule:
    if criterion not in CRITERIA.declarations:
        raise SpecError(Finding("E103", f"unknown criterion '{criterion}'"))
    return CRITERIA.load(criterion)
