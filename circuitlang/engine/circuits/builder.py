"""Build circuits: select kernels by their scores, set removed kernels to their ablation values, refit kept ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from circuitlang.engine import device
from circuitlang.engine.circuits.gain_training import train_gains
from circuitlang.engine.circuits.layer_walk import refit_layers
from circuitlang.engine.circuits.refit import refit
from circuitlang.engine.circuits.refit_amounts import REFITTED
from circuitlang.engine.circuits.selection import Ranks, channels, ranks, refill, select
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_nodes import Layer
from circuitlang.engine.graph.channel_origins import channel_origins
from circuitlang.engine.graph.reachability import strongest_path
from circuitlang.plan.clauses import Calibrate, Choice, Circuit, EndToEnd, Refill, Structure
from circuitlang.plugins.protocols import ABLATIONS, Batches, Edit, LayerActivations, Masks, Scores

# The approximate number of output positions, over all images, that a layer is refitted on.
PLACES = 4096
_ZERO = Choice("zero")


@dataclass(frozen=True)
class _LayerContext:
    """A layer as ablations see it; implements `protocols.AblationContext`."""

    builder: Builder
    path: str

    @property
    def weight(self) -> Tensor:
        return self.builder.subnetwork.weights[self.path]

    @property
    def mean_output(self) -> Tensor:
        return self.builder.mean_outputs[self.path]


@dataclass(frozen=True)
class _Singly:
    """Images one at a time."""

    images: Batches

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, label: str, /) -> Iterator[Tensor]:
        for batch in self.images.batches(label):
            yield from torch.split(batch, 1)


@dataclass(frozen=True)
class Builder:
    """Builds circuits of one subnetwork; ablation values and refits are computed from `images`."""

    subnetwork: TargetSubnetwork
    images: Batches
    ablation: Choice = _ZERO
    calibrate: Calibrate | EndToEnd = "none"
    refill: Refill = "none"
    structure: Structure = "kernel"
    seed: int = 0
    # The kernels [out, in / groups] that a circuit is found among; all of them if None.
    within: Masks | None = None

    @classmethod
    def of(cls, plan: Circuit, subnetwork: TargetSubnetwork, images: Batches, within: Masks | None = None) -> Builder:
        """Return the builder for a circuit of a plan."""
        return cls(subnetwork, images, plan.ablation, plan.calibrate, plan.refill, plan.structure, plan.seed, within)

    @cached_property
    def relevant(self) -> Masks:
        """The kernels [out, in / groups], or single weights [out, in / groups, h, w], that may be kept, by layer."""
        return self._units(self.subnetwork.relevant if self.within is None else self.within)

    @cached_property
    def in_network(self) -> Masks:
        """Those on which the feature depends in the network, whatever the circuit is within."""
        return self._units(self.subnetwork.relevant)

    def _units(self, masks: Masks) -> Masks:
        """Return masks of kernels as masks of what is selected."""
        if self.structure != "weight":
            return masks
        return {
            layer.path: masks[layer.path][..., None, None].expand(-1, -1, *layer.size)
            for layer in self.subnetwork.layers
        }

    @cached_property
    def weights(self) -> Mapping[str, Tensor]:
        """The weights [out, in / groups, h, w] of the kernels that may be kept, by layer.

        If single weights are selected, each is a 1 x 1 kernel of its own: [out, in / groups, h, w, 1, 1].
        """
        if self.structure != "weight":
            return self.subnetwork.weights
        return {path: weight[..., None, None] for path, weight in self.subnetwork.weights.items()}

    def connected(self, masks: Masks) -> Masks:
        """Return the part of a mask that is on a path from the image to the target within it."""
        return self._alike(masks, self.subnetwork.connected(_kernels(masks)))

    def would_be_connected(self, masks: Masks) -> Masks:
        """Return the kernels or weights that are, or would be if they were added alone, on a path within a mask."""
        kernels = self.subnetwork.would_be_connected(_kernels(masks))
        return {path: kept & self.relevant[path] for path, kept in self._alike(self.relevant, kernels).items()}

    def activation_rank(self, ranks: Masks) -> Masks:
        """Return the smallest rank at which a path from the image to the target through each kernel or weight is
        complete."""
        first = {path: rank if rank.dim() == 2 else rank.flatten(2).amin(-1) for path, rank in ranks.items()}
        bottleneck = self.subnetwork.path_bottleneck_rank(first)
        return {path: rank.maximum(_like(bottleneck[path], rank)) for path, rank in ranks.items()}

    def path(self, scores: Scores, masks: Masks, through: Masks) -> Masks:
        """Return the strongest path from the image to the target within a mask, through one kernel of `through`."""
        subnetwork, units = self.subnetwork, torch.tensor(self.subnetwork.target.units)
        step = subnetwork.target.step.name
        if self.structure != "weight":
            return strongest_path(subnetwork.graph, step, units, scores, masks, through)
        # Each kernel counts by its strongest weight, except that a weight in `through` precedes all others.
        ranked = {name: torch.where(masks[name], scores[name], -1.0) for name in masks}
        ranked = {name: torch.where(through[name], torch.inf, values).flatten(2) for name, values in ranked.items()}
        best = {name: values.amax(-1) for name, values in ranked.items()}
        finite = {name: values.clamp_max(torch.finfo(values.dtype).max / 4) for name, values in best.items()}
        kernels = strongest_path(subnetwork.graph, step, units, finite, _kernels(masks), _kernels(through))
        masks_by_path = {}
        for name, values in ranked.items():
            strongest = nn.functional.one_hot(values.argmax(-1), values.shape[-1]).bool()
            masks_by_path[name] = (strongest & kernels[name][..., None]).reshape(masks[name].shape)
        return masks_by_path

    def _alike(self, masks: Masks, kernels: Masks) -> Masks:
        """Return the part of a mask that belongs to some kernels."""
        return {path: mask & _like(kernels[path], mask) for path, mask in masks.items()}

    def select(self, scores: Scores, budget: int) -> Masks:
        """Return the `budget` best relevant kernels or weights.

        With `refill=live`, they are connected within the selection; with `structure=channel`, they form whole channels.
        """
        if self.structure == "channel":
            return channels(scores, self.relevant, self.ends, budget, self.connected)
        if self.refill == "live":
            return refill(scores, self.relevant, partial(self._ranks, scores), budget, self)
        return select(scores, self.relevant, budget)

    def _ranks(self, scores: Scores, first: int) -> Ranks:
        """Return the ranks of so many kernels or more, computed once for consecutive calls with the same scores."""
        if self._ranked and self._ranked[0][0] is scores:
            known = self._ranked[0][1]
            if known.complete or first <= known.first:
                return known
        self._ranked[:] = [(scores, ranks(scores, self.relevant, first))]
        return self._ranked[0][1]

    @cached_property
    def _ranked(self) -> list[tuple[Scores, Ranks]]:
        """The scores that were ranked last, with their ranks; empty before the first call."""
        return []

    def build(self, masks: Masks, fitted: bool = True) -> dict[str, Edit]:
        """Return the edits that make the network the circuit of a mask, refitted if `fitted` and the plan says so."""
        if not (fitted and isinstance(self.calibrate, EndToEnd)):
            return self.build_layerwise(masks) if fitted else self.ablated(masks)
        # The batches of the device change the last bits of a map.
        starts = self.ablated(masks), replace(self, images=_Singly(self.images)).build_layerwise(masks)
        with device.arithmetic(self.subnetwork.device):
            return train_gains(self.subnetwork, self.images, masks, starts, self.calibrate.passes, self.seed)

    def build_layerwise(self, masks: Masks) -> dict[str, Edit]:
        """Return the edits of a mask, refitted layer by layer where the plan asks for any refit."""
        if self.calibrate == "none":
            return self.ablated(masks)
        how = "kernels" if isinstance(self.calibrate, EndToEnd) else self.calibrate
        return self.through(partial(refit, masks=masks, how=how), "refitting", self.images)

    def through(
        self, fit: Callable[[Layer, LayerActivations], Edit | None], label: str, images: Batches
    ) -> dict[str, Edit]:
        """Edit the layers one after the other by their inputs on some images; see `layer_walk.refit_layers`."""
        batches, step = [], max(1, -(-len(images) // REFITTED))
        start = 0
        for batch in images.batches(label):
            batches.append(batch[-start % step :: step])
            start += len(batch)
        return refit_layers(self.subnetwork, [batch for batch in batches if len(batch)], fit, PLACES)

    def ablated(self, gains: Masks) -> dict[str, Edit]:
        """Return edits that multiply kernels by gains, without a refit; differentiable with respect to the gains.

        Each kernel adds (1 - gain) times its ablation value to its output channel. Single weights, and kernels that
        read constant channels, have no ablation value.
        """
        gains = {path: self.subnetwork.keeping(path, gain).gain for path, gain in gains.items()}
        lacking = {path: 1 - gain.double() for path, gain in gains.items() if gain.dim() == 2}
        return {
            path: Edit(gain, (self.ablation_values[path] * lacking[path]).sum(1) if path in lacking else None)
            for path, gain in gains.items()
        }

    @cached_property
    def ends(self) -> Masks:
        """The channels [out] that carry the target, by layer."""
        graph, target = self.subnetwork.graph, self.subnetwork.target
        unit, origin, channel = channel_origins(graph, target.step.name)
        mine = torch.isin(unit, torch.tensor(target.units))
        ends = {layer.path: torch.zeros(layer.out_channels, dtype=torch.bool) for layer in graph.layers}
        for layer, row in zip(origin[mine].tolist(), channel[mine].tolist(), strict=True):
            if layer >= 0:
                ends[graph.layers[layer].path][row] = True
        return ends

    @cached_property
    def ablation_values(self) -> Mapping[str, Tensor]:
        """The ablation values [out, in / groups] of each kernel, float64 on the CPU, by layer."""
        ablation = ABLATIONS.load(self.ablation.name)
        return {
            layer.path: ablation(_LayerContext(self, layer.path), **self.ablation.parameters).cpu().double()
            for layer in self.subnetwork.layers
        }

    @cached_property
    def mean_outputs(self) -> Mapping[str, Tensor]:
        """Each kernel's mean output in the whole network over images and positions [out, in / groups], by layer."""
        # They are part of the circuit, whose arithmetic does not depend on that of the scores.
        with device.arithmetic(self.subnetwork.device):
            return self.subnetwork.mean_outputs(self.images.batches("mean outputs"))


def _kernels(masks: Masks) -> Masks:
    """Return the kernels of masks of kernels or of single weights: those with any weight in the mask."""
    return {path: mask if mask.dim() == 2 else mask.flatten(2).any(-1) for path, mask in masks.items()}


def _like(kernels: Tensor, other: Tensor) -> Tensor:
    """Return values of kernels, with dimensions for single weights if another tensor has them."""
    return kernels if other.dim() == 2 else kernels[..., None, None]
