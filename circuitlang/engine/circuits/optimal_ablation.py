"""Train the constants that removed kernels put out, so that the circuit loses least of its feature."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from circuitlang.engine.circuits.refit_amounts import OPTIMAL_PASSES
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_nodes import Layer
from circuitlang.plugins.protocols import Batches, Edit, Edits

# The size of a step, in standard deviations of the channel, and the share of it that is left at the end.
_RATE, _LAST_RATE = 0.1, 0.05
# Decay of the moving averages of gradients and of their squares.
_MOMENTUM, _SQUARES = 0.9, 0.99


def optimal_ablation(
    subnetwork: TargetSubnetwork,
    images: Batches,
    wanted: Tensor,
    starts: Sequence[Edits],
    passes: int = OPTIMAL_PASSES,
) -> Edits:
    """Return the edits of a circuit with the constants of its removed kernels that lose least.

    The constants of the kernels that a channel lacks add up to one, the offset of the channel. The offsets of all
    channels are trained together by Adam, a step for each pass over the images, on the mean squared difference between
    the circuit's and the network's feature. The constants of the best pass are returned: on these images they lose no
    more than any of the starts. The loss isn't convex, so that others may lose less.

    Args:
        subnetwork: The network up to the feature.
        images: Images to train on.
        wanted: The network's responses to them, float64 [images, positions].
        starts: Edits with the gains of the circuit, such as those of ablation by zero and by the mean; the training
            begins with the one that loses least.
        passes: Passes over the images; the first measures the start.

    Reference: Li and Janson, "Optimal ablation for interpretability", NeurIPS 2024, section 2.
    """
    first = min(starts, key=lambda edits: _loss_of(subnetwork, images, wanted, edits))
    scales = _deviations(subnetwork, images)
    gains = {path: edit.gain for path, edit in first.items()}
    # A channel that keeps all of its kernels has nothing to replace.
    lacking = {path: (gain == 0).flatten(1).any(1).cpu() for path, gain in gains.items()}
    offsets = {path: _offset(edit) for path, edit in first.items()}
    slopes_mean = {path: torch.zeros_like(offset) for path, offset in offsets.items()}
    slopes_square = {path: torch.zeros_like(offset) for path, offset in offsets.items()}
    best: tuple[float, dict[str, Tensor]] | None = None
    for number in range(passes):
        loss, slopes = _slopes(subnetwork, images, wanted, gains, offsets)
        if best is None or loss < best[0]:
            best = loss, offsets
        rate = _RATE * (1 + number / max(passes - 1, 1) * (_LAST_RATE - 1))
        moved = {}
        for path, offset in offsets.items():
            slope = slopes[path] * scales[path]
            slopes_mean[path] = _MOMENTUM * slopes_mean[path] + (1 - _MOMENTUM) * slope
            slopes_square[path] = _SQUARES * slopes_square[path] + (1 - _SQUARES) * slope.square()
            mean = slopes_mean[path] / (1 - _MOMENTUM ** (number + 1))
            square = slopes_square[path] / (1 - _SQUARES ** (number + 1))
            step = rate * scales[path] * mean / (square.sqrt() + 1e-30)
            moved[path] = offset - torch.where(lacking[path] & step.isfinite(), step, 0.0)
        offsets = moved
    chosen = offsets if best is None else best[1]
    return {path: Edit(gain, chosen[path]) for path, gain in gains.items()}


def _offset(edit: Edit) -> Tensor:
    """Return the offset of each output channel [out], float64 on the CPU."""
    return torch.zeros(len(edit.gain)).double() if edit.offset is None else edit.offset.detach().cpu().double()


def _loss_of(subnetwork: TargetSubnetwork, images: Batches, wanted: Tensor, edits: Edits) -> float:
    """Return the mean squared difference between the circuit's feature and the network's."""
    total, start = 0.0, 0
    with torch.no_grad(), subnetwork.edited(edits):
        for batch in images.batches("circuits to compare"):
            responses = subnetwork.feature(batch).flatten(1).double().cpu()
            total += float((responses - wanted[start : start + len(batch)]).square().sum())
            start += len(batch)
    return total / wanted.numel()


def _slopes(
    subnetwork: TargetSubnetwork, images: Batches, wanted: Tensor, gains: dict[str, Tensor], offsets: dict[str, Tensor]
) -> tuple[float, dict[str, Tensor]]:
    """Return the loss and its gradient with respect to the offsets [out], by layer."""
    leaves = {path: offset.clone().requires_grad_() for path, offset in offsets.items()}
    edits = {path: Edit(gain, leaves[path]) for path, gain in gains.items()}
    total, start = 0.0, 0
    for batch in images.batches("optimal constants"):
        with torch.enable_grad(), subnetwork.edited(edits):
            responses = subnetwork.feature(batch).flatten(1).double()
            loss = (responses - wanted[start : start + len(batch)].to(responses)).square().sum() / wanted.numel()
            loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
        start += len(batch)
    zeros = {path: torch.zeros_like(offset) for path, offset in offsets.items()}
    return total, {path: zeros[path] if leaf.grad is None else leaf.grad for path, leaf in leaves.items()}


def _deviations(subnetwork: TargetSubnetwork, images: Batches) -> dict[str, Tensor]:
    """Return the standard deviation of each output channel in the network [out], by layer; 0 of those not computed."""
    # Numbers, sums and sums of squares.
    sums = {layer.path: torch.zeros(3, layer.out_channels).double() for layer in subnetwork.layers}
    rows = {layer.path: subnetwork.rows(layer) for layer in subnetwork.layers}

    def watcher(layer: Layer, _x: Tensor, y: Tensor) -> None:
        values, own = y.double(), rows[layer.path]
        number = torch.full((y.shape[1],), y.numel() / y.shape[1]).double()
        added = torch.stack([number, values.sum((0, 2, 3)).cpu(), values.square().sum((0, 2, 3)).cpu()])
        sums[layer.path][:, slice(None) if own is None else own] += added

    for batch in images.batches("sizes of channels"):
        subnetwork.watch(batch, watcher)
    moments = {path: values[1:] / values[0].clamp_min(1) for path, values in sums.items()}
    return {path: (square - mean.square()).clamp_min(0).sqrt() for path, (mean, square) in moments.items()}
