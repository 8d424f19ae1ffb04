from __future__ import annotations

from typing import TYPE_CHECKING

from circuitlang.engine.circuits.covariance import covariance_of
from circuitlang.engine.deferred import torch
from circuitlang.engine.loops import backend
from circuitlang.plugins.protocols import LayerActivations, Scores, Scoring, schedule

if TYPE_CHECKING:
    from torch import Tensor

# The most kernels of an output channel that are compared with one another.
_TOGETHER = 1024
# The elements of a block of matrices that is computed at once.
_BLOCK = 1 << 24
# The least factor by which a kernel that is removed later scores more than an earlier one.
_LATER = 1 + 1e-9


@schedule("sums", passes=lambda: 2, nested=True)
def greedy(scoring: Scoring) -> Scores:
    """Score kernels by what is lost when they are removed one by one, always the one the rest can best do without.

    In each output channel, e is the difference between the network's map y before the nonlinearity and what the
    remaining kernels R make of it, e = y - b - sum_R a_k, less what stands in for removed ones; in turn the kernel goes
    whose removal makes the mean of e^2 over images and positions grow least. What it grows by, or by an earlier one's
    where that is more, times the sum over images of |dF/dy|^2, is the score, with F the feature times random signs, as
    in `gn`. Unlike scores of single kernels this knows that two kernels that cancel out can go together, and that of
    two that do the same the second is missed more than the first. Where constants make no difference, in the target's
    own layer and where the circuit will be refitted, it is e's variance that counts, if there is more than one number.

    Removing units by what the next layer's sums lose: Luo et al., "ThiNet", ICCV 2017; the weighting by gradients is
    circuitlang's own. As a base of `path` it sees what kernels make of the circuit's maps, and e is measured from the
    network's. Layers are seen at about 4,096 places of 64 images at most, and of a layer that is used again at its
    first use; the kernels of an output channel are compared with 1,023 others at most. Cost: one pass, and one to see
    the layers.
    """
    importance = scoring.sensitivities()
    scores: dict[str, Tensor] = {}

    def add_costs(path: str, activations: LayerActivations) -> None:
        relevant = scoring.relevant[path][activations.rows.cpu()]
        costs = _costs(activations, relevant, scoring.ablation_values[path])
        weighted = costs.cpu() * importance[path][activations.rows.cpu()].reshape(-1, *[1] * (costs.dim() - 1))
        scores[path] = (
            torch.zeros(scoring.relevant[path].shape).double().index_copy(0, activations.rows.cpu(), weighted)
        )

    scoring.visit_layer_inputs(add_costs)
    return scores


def _costs(activations: LayerActivations, relevant: Tensor, ablation_values: Tensor | None) -> Tensor:
    """Return the cost of removing each kernel, or each weight, in the shape of `relevant` [O, inner, ...]."""
    positions, groups, inner, taps = activations.patches.shape
    features, per_kernel = (inner * taps, 1) if relevant.dim() > 2 else (inner, taps)
    weights = activations.weight.double().reshape(-1, features, per_kernel)
    alive = relevant.reshape(len(weights), features).to(weights.device)
    costs = torch.zeros(len(weights), features).to(weights)
    if ablation_values is not None:
        ablation_values = ablation_values.to(weights)[activations.rows].reshape(len(weights), features)
    rows = len(weights) // groups
    for group in range(groups):
        own = slice(group * rows, (group + 1) * rows)
        patches = activations.patches[:, group].reshape(positions, features, per_kernel).double()
        wanted = (activations.wanted[:, own] - activations.bias[own]).double()
        missing = wanted - patches.flatten(1) @ (weights[own] * alive[own, :, None]).flatten(1).T
        for first in range(0, features, _TOGETHER):
            block = slice(first, first + _TOGETHER)
            values = None if ablation_values is None else ablation_values[own, block]
            costs[own, block] = _block(weights[own, block], patches[:, block], missing, values, alive[own, block])
    return costs.reshape(relevant.shape)


def _block(weights: Tensor, patches: Tensor, missing: Tensor, ablation_values: Tensor | None, alive: Tensor) -> Tensor:
    """Return the costs [O, n] of kernels [O, n, taps].

    `patches` [R, n, taps] are their inputs, and `missing` [R, O] is the difference of wanted and actual outputs.
    """
    taps, costs = patches.shape[2], torch.zeros(alive.shape).to(weights)
    if taps > 1 and 2 * len(weights) < taps**2:
        # For few output channels, products of kernel outputs are cheaper than products of their inputs.
        outputs = torch.einsum("pkt,rkt->rpk", patches, weights)[..., None]
        one = torch.ones(1, patches.shape[1], 1).to(weights)
        for number, output in enumerate(outputs):
            row = slice(number, number + 1)
            constants = None if ablation_values is None else ablation_values[row]
            costs[row] = _block(one, output, missing[:, row], constants, alive[row])
        return costs
    mean, gap = patches.mean(0), missing.mean(0)
    if ablation_values is None and len(patches) == 1:
        # A single value has no variance, so the value itself counts.
        mean, gap = torch.zeros_like(mean), torch.zeros_like(gap)
    patches, missing = patches - mean, missing - gap
    covariance = covariance_of(patches)
    common = torch.einsum("pkt,pr->ktr", patches, missing) / len(patches)
    lacking = torch.einsum("rkt,ktr->rk", weights, common)
    constants = torch.zeros_like(lacking)
    if ablation_values is not None:
        # Constants count: the difference of a kernel's mean and its ablation value.
        constants = (weights * mean).sum(-1) - ablation_values
        lacking = lacking + constants * gap[:, None]
    if weights.device.type == "cpu" and (native := backend.compiled("elimination")):
        costs.copy_(native.costs(weights, covariance, constants, lacking, alive, _LATER))
        return costs
    step = max(1, _BLOCK // covariance[:, :, :, 0].numel())
    for start in range(0, len(weights), step):
        rows = slice(start, start + step)
        w, constant = weights[rows], constants[rows]
        gram = torch.einsum("rkt,ktls,rls->rkl", w, covariance, w) + constant[:, :, None] * constant[:, None, :]
        costs[rows] = _removed(gram, lacking[rows], alive[rows])
    return costs


def _removed(gram: Tensor, lacking: Tensor, alive: Tensor) -> Tensor:
    """Return the costs [O, n] of removing kernels one by one, never less than the cost of an earlier one.

    `gram` [O, n, n] are products of the kernels' outputs, `lacking` [O, n] those with what is missing from the start.
    """
    rows = torch.arange(len(gram), device=gram.device)
    own = gram.diagonal(dim1=1, dim2=2)
    # Removing a kernel without an output costs nothing.
    left = alive & (own > 0)
    costs, linear, last = torch.zeros_like(own), lacking, 1e-12 * own.amax(1)
    for _ in range(int(left.sum(1).max())):
        cost, kernel = torch.where(left, own + 2 * linear, torch.inf).min(1)
        there = cost.isfinite()
        last = torch.where(there, torch.maximum(cost, _LATER * last), last)
        costs[rows, kernel] = torch.where(there, last, costs[rows, kernel])
        left[rows, kernel] = False
        linear = linear + there[:, None] * gram[rows, kernel]
    return costs
