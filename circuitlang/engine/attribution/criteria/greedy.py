import torch
from torch import Tensor

from circuitlang.engine.circuits.covariance import covariance_of
from circuitlang.engine.loops import backend
from circuitlang.plugins.protocols import LayerActivations, Scores, Scoring, schedule

# Kernels of an output channel beyond these are removed without regard to one another.
_TOGETHER = 1024
# Numbers in a block of matrices that are worked on at once.
_BLOCK = 1 << 24
# By how much a kernel that is removed later scores more, where it costs nothing more.
_LATER = 1 + 1e-9


@schedule("sums", passes=lambda: 2, nested=True)
def greedy(scoring: Scoring) -> Scores:
    """What is lost when kernels are removed one by one, always the one that the rest can best do without.

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
    found: dict[str, Tensor] = {}

    def see(path: str, passage: LayerActivations) -> None:
        relevant = scoring.relevant[path][passage.rows.cpu()]
        costs = _costs(passage, relevant, scoring.ablation_values[path])
        weighted = costs.cpu() * importance[path][passage.rows.cpu()].reshape(-1, *[1] * (costs.dim() - 1))
        found[path] = torch.zeros(scoring.relevant[path].shape).double().index_copy(0, passage.rows.cpu(), weighted)

    scoring.visit_layer_inputs(see)
    return found


def _costs(passage: LayerActivations, relevant: Tensor, stand_ins: Tensor | None) -> Tensor:
    """Of every kernel (or weight, as in `relevant` [O, inner, ...]) what its removal costs."""
    places, groups, inner, taps = passage.patches.shape
    features, each = (inner * taps, 1) if relevant.dim() > 2 else (inner, taps)
    weights = passage.weight.double().reshape(-1, features, each)
    alive = relevant.reshape(len(weights), features).to(weights.device)
    found = torch.zeros(len(weights), features).to(weights)
    if stand_ins is not None:
        stand_ins = stand_ins.to(weights)[passage.rows].reshape(len(weights), features)
    rows = len(weights) // groups
    for group in range(groups):
        own = slice(group * rows, (group + 1) * rows)
        seen = passage.patches[:, group].reshape(places, features, each).double()
        wanted = (passage.wanted[:, own] - passage.bias[own]).double()
        missing = wanted - seen.flatten(1) @ (weights[own] * alive[own, :, None]).flatten(1).T
        for first in range(0, features, _TOGETHER):
            some = slice(first, first + _TOGETHER)
            held = None if stand_ins is None else stand_ins[own, some]
            found[own, some] = _block(weights[own, some], seen[:, some], missing, held, alive[own, some])
    return found.reshape(relevant.shape)


def _block(weights: Tensor, seen: Tensor, missing: Tensor, stand_ins: Tensor | None, alive: Tensor) -> Tensor:
    """The costs of kernels [O, n, taps] that look at inputs [R, n, taps], where outputs are `missing` [R, O]."""
    taps, found = seen.shape[2], torch.zeros(alive.shape).to(weights)
    if taps > 1 and 2 * len(weights) < taps**2:
        # What the kernels of few output channels put out is less to multiply than what their weights see.
        outputs = torch.einsum("pkt,rkt->rpk", seen, weights)[..., None]
        one = torch.ones(1, seen.shape[1], 1).to(weights)
        for number, output in enumerate(outputs):
            row = slice(number, number + 1)
            constants = None if stand_ins is None else stand_ins[row]
            found[row] = _block(one, output, missing[:, row], constants, alive[row])
        return found
    mean, gap = seen.mean(0), missing.mean(0)
    if stand_ins is None and len(seen) == 1:
        # A single number has no variance: it is all that there is to keep.
        mean, gap = torch.zeros_like(mean), torch.zeros_like(gap)
    seen, missing = seen - mean, missing - gap
    covariance = covariance_of(seen)
    common = torch.einsum("pkt,pr->ktr", seen, missing) / len(seen)
    lacking = torch.einsum("rkt,ktr->rk", weights, common)
    constants = torch.zeros_like(lacking)
    if stand_ins is not None:
        # Constants count: what a kernel's mean is more than what stands in for it.
        constants = (weights * mean).sum(-1) - stand_ins
        lacking = lacking + constants * gap[:, None]
    if weights.device.type == "cpu" and (native := backend.compiled("elimination")):
        found.copy_(native.costs(weights, covariance, constants, lacking, alive, _LATER))
        return found
    step = max(1, _BLOCK // covariance[:, :, :, 0].numel())
    for start in range(0, len(weights), step):
        rows = slice(start, start + step)
        w, constant = weights[rows], constants[rows]
        gram = torch.einsum("rkt,ktls,rls->rkl", w, covariance, w) + constant[:, :, None] * constant[:, None, :]
        found[rows] = _removed(gram, lacking[rows], alive[rows])
    return found


def _removed(gram: Tensor, lacking: Tensor, alive: Tensor) -> Tensor:
    """The costs [O, n] of removing kernels one by one, never less than what an earlier one has cost.

    `gram` [O, n, n] are products of the kernels' outputs, `lacking` [O, n] those with what is missing from the start.
    """
    rows = torch.arange(len(gram), device=gram.device)
    own = gram.diagonal(dim1=1, dim2=2)
    # A kernel without an output can go for nothing.
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
