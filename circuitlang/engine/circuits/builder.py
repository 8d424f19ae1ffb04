"""Scores → masks → edits: a circuit as one plan wants it, its dead kernels replaced, its removed ones stood in for,
its kept ones refitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import torch
from torch import Tensor, nn

from circuitlang.engine import device
from circuitlang.engine.circuits.layer_walk import refit_layers
from circuitlang.engine.circuits.refit import refit
from circuitlang.engine.circuits.selection import channels, ranks, refill, select
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_nodes import Layer
from circuitlang.engine.graph.channel_origins import channel_origins
from circuitlang.engine.graph.reachability import strongest_path
from circuitlang.plan.model import Choice
from circuitlang.plugins.protocols import ABLATIONS, Batches, Edit, LayerActivations, Masks, Scores

# Layers are refitted on this many images at most, all of which are held in memory at once.
IMAGES = 64
# And by this many places of their outputs.
_PLACES = 4096
_ZERO = Choice("zero")


@dataclass(frozen=True)
class _Removable:
    """What ablations work with; see `protocols.AblationContext`."""

    builder: Builder
    path: str

    @property
    def weight(self) -> Tensor:
        return self.builder.subnetwork.weights[self.path]

    @property
    def mean_output(self) -> Tensor:
        return self.builder.mean_outputs[self.path]


@dataclass(frozen=True)
class Builder:
    """Builds circuits of one subnetwork; `images` are those that stand-ins and refits are taken from."""

    subnetwork: TargetSubnetwork
    images: Batches
    ablation: Choice = _ZERO
    calibrate: Literal["none", "bias", "affine", "kernels"] = "none"
    refill: Literal["none", "live"] = "none"
    structure: Literal["kernel", "weight", "channel"] = "kernel"

    @cached_property
    def relevant(self) -> Masks:
        """What may be kept: kernels [out, in / groups], or single weights [out, in / groups, h, w]."""
        if self.structure != "weight":
            return self.subnetwork.relevant
        masks = self.subnetwork.relevant
        return {
            layer.path: masks[layer.path][..., None, None].expand(-1, -1, *layer.size)
            for layer in self.subnetwork.layers
        }

    @cached_property
    def weights(self) -> Mapping[str, Tensor]:
        """By layer the weight of all that may be kept, [out, in / groups, h, w]; a single weight is its own kernel of
        1 x 1, [out, in / groups, h, w, 1, 1]."""
        if self.structure != "weight":
            return self.subnetwork.weights
        return {path: weight[..., None, None] for path, weight in self.subnetwork.weights.items()}

    def live(self, masks: Masks) -> Masks:
        """What of a mask is on a path from the image to the target within it."""
        return self._alike(masks, self.subnetwork.live(_kernels(masks)))

    def would_be_connected(self, masks: Masks) -> Masks:
        """What is, or would be if it were added alone, on a path within a mask."""
        found = self.subnetwork.would_be_connected(_kernels(masks))
        return {path: kept & self.relevant[path] for path, kept in self._alike(self.relevant, found).items()}

    def since(self, places: Masks) -> Masks:
        """Of each kernel or weight the last place that a path through it needs, on the path where that comes first."""
        first = {path: each if each.dim() == 2 else each.flatten(2).amin(-1) for path, each in places.items()}
        around = self.subnetwork.around(first)
        return {path: each.maximum(_like(around[path], each)) for path, each in places.items()}

    def path(self, scores: Scores, masks: Masks, through: Masks) -> Masks:
        """Of what is live, a path from the image to the target through one of them."""
        subnetwork, units = self.subnetwork, torch.tensor(self.subnetwork.target.units)
        step = subnetwork.target.step.name
        if self.structure != "weight":
            return strongest_path(subnetwork.graph, step, units, scores, masks, through)
        # Of each kernel its strongest weight, but where a path must go through another.
        ranked = {name: torch.where(masks[name], scores[name], -1.0) for name in masks}
        ranked = {name: torch.where(through[name], torch.inf, values).flatten(2) for name, values in ranked.items()}
        best = {name: values.amax(-1) for name, values in ranked.items()}
        finite = {name: values.clamp_max(torch.finfo(values.dtype).max / 4) for name, values in best.items()}
        kernels = strongest_path(subnetwork.graph, step, units, finite, _kernels(masks), _kernels(through))
        found = {}
        for name, values in ranked.items():
            strongest = nn.functional.one_hot(values.argmax(-1), values.shape[-1]).bool()
            found[name] = (strongest & kernels[name][..., None]).reshape(masks[name].shape)
        return found

    def _alike(self, masks: Masks, kernels: Masks) -> Masks:
        """What of a mask belongs to some kernels."""
        return {path: mask & _like(kernels[path], mask) for path, mask in masks.items()}

    def select(self, scores: Scores, budget: int) -> Masks:
        """The `budget` best that are relevant; with `refill=live`, the best that are on a path; with
        `structure=channel`, whole channels."""
        if self.structure == "channel":
            return channels(scores, self.relevant, self._ends, budget, self.live)
        if self.refill == "live":
            return refill(scores, self.relevant, self._ranks(scores), budget, self)
        return select(scores, self.relevant, budget)

    def _ranks(self, scores: Scores) -> Masks:
        """The kernels' places by their scores; circuits of several sizes are mostly taken one after the other."""
        if not self._ranked or self._ranked[0][0] is not scores:
            self._ranked[:] = [(scores, ranks(scores, self.relevant))]
        return self._ranked[0][1]

    @cached_property
    def _ranked(self) -> list[tuple[Scores, Masks]]:
        """The scores that were ranked last, and how."""
        return []

    def build(self, masks: Masks, fitted: bool = True) -> dict[str, Edit]:
        """What makes a network the circuit of these kernels, refitted where the plan wants it, unless told not to."""
        if self.calibrate == "none" or not fitted:
            return self.ablated(masks)
        return self.through(partial(refit, masks=masks, how=self.calibrate), "refitting", self.images)

    def through(
        self, fit: Callable[[Layer, LayerActivations], Edit | None], label: str, images: Batches
    ) -> dict[str, Edit]:
        """Edit the layers one after the other by their inputs on some images; see `layer_walk.refit_layers`."""
        batches, step = [], max(1, -(-len(images) // IMAGES))
        start = 0
        for batch in images.batches(label):
            batches.append(batch[-start % step :: step])
            start += len(batch)
        return refit_layers(self.subnetwork, [batch for batch in batches if len(batch)], fit, _PLACES)

    def ablated(self, gains: Masks) -> dict[str, Edit]:
        """Kernels multiplied by gains, as much of a stand-in put for each as it lacks of 1; differentiable with respect
        to gains that are. For single weights nothing stands in, nor for kernels that read constant channels."""
        gains = {path: self.subnetwork.keeping(path, gain).gain for path, gain in gains.items()}
        lacking = {path: 1 - gain.double() for path, gain in gains.items() if gain.dim() == 2}
        return {
            path: Edit(gain, (self.ablation_values[path] * lacking[path]).sum(1) if path in lacking else None)
            for path, gain in gains.items()
        }

    @cached_property
    def _ends(self) -> Masks:
        """Of each layer, the channels [out] that carry the target."""
        graph, target = self.subnetwork.graph, self.subnetwork.target
        unit, origin, channel = channel_origins(graph, target.step.name)
        mine = torch.isin(unit, torch.tensor(target.units))
        found = {layer.path: torch.zeros(layer.out_channels, dtype=torch.bool) for layer in graph.layers}
        for layer, row in zip(origin[mine].tolist(), channel[mine].tolist(), strict=True):
            if layer >= 0:
                found[graph.layers[layer].path][row] = True
        return found

    @cached_property
    def ablation_values(self) -> Mapping[str, Tensor]:
        """By layer, what stands in for each kernel where it is removed [out, in / groups]."""
        stand_in = ABLATIONS.load(self.ablation.name)
        return {
            layer.path: stand_in(_Removable(self, layer.path), **self.ablation.parameters).cpu().double()
            for layer in self.subnetwork.layers
        }

    @cached_property
    def mean_outputs(self) -> Mapping[str, Tensor]:
        """By layer, each kernel's output in the whole network, averaged over images and positions."""
        # They are part of the circuit, which is computed alike whatever scores are computed in.
        with device.arithmetic(self.subnetwork.device):
            return self.subnetwork.mean_outputs(self.images.batches("mean outputs"))


def _kernels(masks: Masks) -> Masks:
    """Of masks of kernels or of single weights, the kernels of which anything is there."""
    return {path: mask if mask.dim() == 2 else mask.flatten(2).any(-1) for path, mask in masks.items()}


def _like(kernels: Tensor, other: Tensor) -> Tensor:
    """What is said of kernels, for kernels or for single weights as another tensor is."""
    return kernels if other.dim() == 2 else kernels[..., None, None]
