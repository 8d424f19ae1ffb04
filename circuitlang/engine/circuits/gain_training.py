"""Train the gains of kept kernels, and constants of their output channels, end to end on a fixed mask."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from circuitlang.engine.circuits.map_loss import map_loss
from circuitlang.engine.circuits.refit_amounts import TRAINED
from circuitlang.engine.circuits.small_batches import Earlier, SmallBatches
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_nodes import Layer
from circuitlang.plugins.progress import TrackProgress, no_progress
from circuitlang.plugins.protocols import Batches, Edit, Edits, Masks

# Images of a step.
_BATCH = 4
# The weight of the squared error in the loss.
_SCALE = 0.1
# Decay of the moving averages of gradients and of their squares.
_MOMENTUM, _SQUARES = 0.9, 0.99
# The size of a step of a gain, and of a constant in standard deviations of its channel; the share of it that is left at
# the end.
_GAIN_RATE, _CONSTANT_RATE, _LAST_RATE = 0.02, 0.01, 0.2
# The largest gain that training gives a kernel.
_LARGEST = 3.0


class _ChannelSums:
    """Sums over images and positions of the outputs of every layer, float64."""

    def __init__(self, subnetwork: TargetSubnetwork) -> None:
        self._rows = {layer.path: subnetwork.rows(layer) for layer in subnetwork.layers}
        # Numbers, sums and sums of squares [3, out].
        self._sums = {layer.path: torch.zeros(3, layer.out_channels).double() for layer in subnetwork.layers}

    def add(self, layer: Layer, _x: Tensor, y: Tensor) -> None:
        """Add the output [N, O, H, W] of a layer."""
        values, rows = y.double(), self._rows[layer.path]
        number = torch.full((y.shape[1],), y.numel() / y.shape[1]).double()
        sums = torch.stack([number, values.sum((0, 2, 3)).cpu(), values.square().sum((0, 2, 3)).cpu()])
        self._sums[layer.path][:, slice(None) if rows is None else rows] += sums

    def deviations(self) -> dict[str, Tensor]:
        """Return the standard deviation of each channel [out], by layer; 0 for channels that aren't computed."""
        means = {path: sums[1:] / sums[0].clamp_min(1) for path, sums in self._sums.items()}
        return {path: (square - mean.square()).clamp_min(0).sqrt() for path, (mean, square) in means.items()}


def train_gains(
    subnetwork: TargetSubnetwork, images: Batches, masks: Masks, starts: Sequence[Edits], passes: int, seed: int
) -> dict[str, Edit]:
    """Return the edits of a mask, trained so that the circuit's map follows the network's.

    A gain for each kept kernel and a constant for each output channel that has one change by Adam, from the start of
    the smaller loss 1 - r + 0.1 (squared error / variance of the feature). At last the target's own channels are scaled
    and shifted by the least-squares line. If that, or the training, makes the loss over all images no smaller, it is
    undone. Images are mirrored and shifted at random all the while. Adam: Kingma and Ba, ICLR 2015.
    """

    def feature(images: Tensor, edits: Edits | None) -> Tensor:
        with subnetwork.edited(edits):
            return subnetwork.feature(images)

    batches = SmallBatches(feature, images.batches("images to learn from"), _BATCH, TRAINED, seed, augment=True)

    def ranked(edits: Edits) -> list[tuple[float, Edits]]:
        """Return the loss of a circuit, and that of the same circuit on the least-squares line."""
        maps = batches.maps(edits)
        circuits = (maps, edits), *_on_the_line(subnetwork, edits, maps, batches.wanted)
        return [(_loss(batches, maps), edits) for maps, edits in circuits]

    before = min(map(ranked, starts), key=lambda circuits: min(loss for loss, _ in circuits))
    after = ranked(_train(subnetwork, images, batches, masks, before[0][1], passes))
    return dict(min([*before, *after], key=lambda circuit: circuit[0])[1])


def _loss(batches: SmallBatches, maps: Tensor) -> float:
    loss = float(map_loss(maps, batches.wanted, _SCALE, batches.variance))
    # Rounded, so that the first is taken of circuits that differ in the last bits.
    return round(loss, 9) if math.isfinite(loss) else math.inf


def _train(
    subnetwork: TargetSubnetwork, images: Batches, batches: SmallBatches, masks: Masks, start: Edits, passes: int
) -> Edits:
    sums = _ChannelSums(subnetwork)
    for part in batches.batches(""):
        subnetwork.watch(part, sums.add)
    training = _Training(subnetwork, masks, start, sums.deviations())
    earlier: Earlier = {}
    # Image sets show progress; other images, such as tensors, need not.
    track: TrackProgress = getattr(images, "track", no_progress)
    steps = passes * batches.steps
    for step, batch in enumerate(track(islice(batches.passes(), steps), "training", steps)):
        with torch.enable_grad():
            values = training.values.clone().requires_grad_()
            with subnetwork.edited(training.edits(values)):
                circuit = subnetwork.feature(batch.images)
            loss = map_loss(*batches.compared(batch, circuit, earlier), _SCALE, batches.variance)
            # A circuit that is cut off depends on none of the values.
            (slope,) = torch.autograd.grad(loss, values) if loss.requires_grad else (torch.zeros_like(values),)
        training.step(slope, 1 + step / max(steps - 1, 1) * (_LAST_RATE - 1))
    return training.edits(training.values)


class _Training:
    """Gains of the kept kernels and constants of the channels that have some, in one vector, and their optimiser."""

    def __init__(self, subnetwork: TargetSubnetwork, masks: Masks, start: Edits, deviations: dict[str, Tensor]) -> None:
        self._subnetwork, self._masks, self._start, self._deviations = subnetwork, masks, start, deviations
        # The kernels of each layer [out, in / groups] that have a gain, and its output channels that have a constant.
        self._kept = {path: mask if mask.dim() == 2 else mask.flatten(2).any(-1) for path, mask in masks.items()}
        self._rows = {path: kept.any(1) for path, kept in self._kept.items()}
        gains = [_kernel_gains(start[path].gain, mask)[self._kept[path]] for path, mask in masks.items()]
        constants = [torch.zeros(int(rows.sum())).double() for rows in self._rows.values()]
        self._sizes = [len(part) for part in (*gains, *constants)]
        self.values = torch.cat([*gains, *constants])
        number = sum(map(len, gains))
        self._rates = torch.full_like(self.values, _CONSTANT_RATE)
        self._rates[:number] = _GAIN_RATE
        self._largest = torch.full_like(self.values, torch.inf)
        # Gains that a start has made larger may stay so.
        self._largest[:number] = self.values[:number].abs().clamp_min(_LARGEST)
        self._gradient, self._square = torch.zeros_like(self.values), torch.zeros_like(self.values)
        self._steps = 0

    def edits(self, values: Tensor) -> dict[str, Edit]:
        """Return the edits with some values of the gains and constants, differentiable with respect to them."""
        parts = torch.split(values, self._sizes)
        gains, constants = parts[: len(self._masks)], parts[len(self._masks) :]
        edits = {}
        for (path, mask), own, added in zip(self._masks.items(), gains, constants, strict=True):
            kept, rows, offset = self._kept[path], self._rows[path], self._start[path].offset
            gain = values.new_zeros(kept.shape).index_put(kept.nonzero(as_tuple=True), own)
            gain = gain if mask.dim() == 2 else gain[..., None, None] * mask
            shift = values.new_zeros(rows.shape).index_put(rows.nonzero(as_tuple=True), added)
            shift = shift * self._deviations[path]
            edits[path] = self._subnetwork.keeping(path, Edit(gain, shift if offset is None else offset + shift))
        return edits

    def step(self, slope: Tensor, phase: float) -> None:
        """Move the values against the gradient of the loss; `phase` is the share of the rates."""
        if not bool(slope.isfinite().all()):
            return
        self._steps += 1
        self._gradient = _MOMENTUM * self._gradient + (1 - _MOMENTUM) * slope
        self._square = _SQUARES * self._square + (1 - _SQUARES) * slope.square()
        gradient = self._gradient / (1 - _MOMENTUM**self._steps)
        square = self._square / (1 - _SQUARES**self._steps)
        moved = self.values - phase * self._rates * gradient / (square.sqrt() + 1e-10)
        self.values = moved.clamp(-self._largest, self._largest)


def _kernel_gains(gain: Tensor, mask: Tensor) -> Tensor:
    """Return the gain of each kernel [out, in / groups], float64 on the CPU; all kept weights of a kernel share it."""
    gain = gain.detach().cpu().double()
    if mask.dim() == 2:
        return gain
    return (gain * mask).flatten(2).sum(-1) / mask.flatten(2).sum(-1).clamp_min(1)


def _on_the_line(
    subnetwork: TargetSubnetwork, edits: Edits, maps: Tensor, wanted: Tensor
) -> Iterator[tuple[Tensor, Edits]]:
    """Yield a circuit whose target channels are scaled and shifted to come closest to the network, and its maps.

    There is none if the target isn't what a layer puts out, if it has a bias or is rectified, if the circuit uses this
    layer elsewhere too, or if kernels that read constants are a part of it.
    """
    target, layer = subnetwork.target, subnetwork.target.step.layer
    if target.bias or target.rectified:
        return
    if layer is None or len(subnetwork.graph.uses(layer)) > 1 or layer.path in subnetwork.constant:
        return
    c, f = (values.double().cpu().transpose(0, 1).flatten(1) for values in (maps, wanted))
    deviation, variance = c - c.mean(1, keepdim=True), c.var(1, unbiased=False)
    covariance = (deviation * f).mean(1)
    scale = torch.where(variance > 1e-10 * c.square().mean(1), covariance / variance, 1.0)
    shift = f.mean(1) - scale * c.mean(1)
    lined = maps * scale.to(maps)[:, None, None] + shift.to(maps)[:, None, None]
    if target.coefficients:
        coefficients = torch.tensor([*target.coefficients]).double()
        shift = shift * coefficients / coefficients.square().sum()
    scale = scale.expand(len(target.units))
    units, edit = torch.tensor(target.units), edits[layer.path]
    bias = subnetwork.graph.module.get_submodule(layer.path).bias
    own = bias.detach().cpu().double()[units] if isinstance(bias, Tensor) else torch.zeros(len(units)).double()
    gain = edit.gain.double().clone()
    gain[units] *= scale.reshape(-1, *[1] * (gain.dim() - 1))
    offset = torch.zeros(layer.out_channels).double() if edit.offset is None else edit.offset.clone()
    offset[units] = scale * (offset[units] + own) + shift - own
    yield lined, {**edits, layer.path: Edit(gain, offset)}
