"""Scores → masks → edits: a circuit as one plan wants it, its dead kernels replaced, its removed ones stood in for,
its kept ones refitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

from torch import Tensor

from circuitlang.compiler.plan import Choice
from circuitlang.engine.calibrate import refit
from circuitlang.engine.contracts import ABLATIONS, Batches, Edit, Masks, Scores
from circuitlang.engine.intervene import Section
from circuitlang.engine.select import refill, select

# Layers are refitted on this many images at most, all of which are held in memory at once.
IMAGES = 64
# And by this many places of their outputs.
_PLACES = 4096
_ZERO = Choice("zero")


@dataclass(frozen=True)
class _Removable:
    """What ablations work with; see `contracts.Removable`."""

    builder: Builder
    path: str

    @property
    def weight(self) -> Tensor:
        return self.builder.section.weights[self.path]

    @property
    def mean_output(self) -> Tensor:
        return self.builder.mean_outputs[self.path]


@dataclass(frozen=True)
class Builder:
    """Builds circuits of one section; `images` are those that stand-ins and refits are taken from."""

    section: Section
    images: Batches
    ablation: Choice = _ZERO
    calibrate: Literal["none", "bias", "affine", "kernels"] = "none"
    refill: Literal["none", "live"] = "none"

    def select(self, scores: Scores, budget: int) -> Masks:
        """The `budget` best relevant kernels; with `refill=live`, the best that are on a path."""
        if self.refill == "live":
            return refill(scores, self.section.relevant, budget, self.section.live, self.section.joinable)
        return select(scores, self.section.relevant, budget)

    def build(self, masks: Masks, fitted: bool = True) -> dict[str, Edit]:
        """What makes a network the circuit of these kernels, refitted where the plan wants it, unless told not to."""
        if self.calibrate == "none" or not fitted:
            return self.ablated(masks)
        batches, step = [], max(1, -(-len(self.images) // IMAGES))
        start = 0
        for batch in self.images.batches("refitting"):
            batches.append(batch[-start % step :: step])
            start += len(batch)
        fit = partial(refit, masks=masks, how=self.calibrate, rows=self.section.rows)
        return self.section.refit([batch for batch in batches if len(batch)], fit, _PLACES)

    def ablated(self, gains: Masks) -> dict[str, Edit]:
        """Kernels multiplied by gains, as much of a stand-in put for each as it lacks of 1; differentiable with respect
        to gains that are."""
        return {
            path: Edit(gain, (self.stand_ins[path] * (1 - _kernels(gain).double())).sum(1))
            for path, gain in gains.items()
        }

    @cached_property
    def stand_ins(self) -> Mapping[str, Tensor]:
        """By layer, what stands in for each kernel where it is removed [out, in / groups]."""
        stand_in = ABLATIONS.load(self.ablation.name)
        return {
            layer.path: stand_in(_Removable(self, layer.path), **self.ablation.parameters).cpu().double()
            for layer in self.section.layers
        }

    @cached_property
    def mean_outputs(self) -> Mapping[str, Tensor]:
        """By layer, each kernel's output in the whole network, averaged over images and positions."""
        return self.section.mean_outputs(self.images.batches("mean outputs"))


def _kernels(mask: Tensor) -> Tensor:
    """Of a mask of kernels or of single weights, the kernels that are there."""
    return mask if mask.dim() == 2 else mask.flatten(2).any(-1)
