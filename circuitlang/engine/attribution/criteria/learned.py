from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from circuitlang.engine.deferred import torch
from circuitlang.plugins.protocols import Count, CriterionName, Scores, Scoring, passes_of, schedule

if TYPE_CHECKING:
    from torch import Tensor

# The part of a direction that is kept from step to step, and how far one kernel may go, in typical steps.
_MOMENTUM = 0.9
_FARTHEST = 3.0
# The factor by which a step must be better, so that rounding does not choose between equal steps.
_BETTER = 1 - 1e-9


@schedule(passes=lambda steps, base, **_: steps + 1 + passes_of(base))
def learned(scoring: Scoring, *, steps: Count = 30, rate: float = 0.1, base: CriterionName = "greedy") -> Scores:
    """A mask of exactly the budget's size, learned so that the circuit's map follows the network's.

    Each kernel has a logit, at first ln(budget / its rank by `base`); what `base` gives zero stays out. Each step runs
    the circuit of the kernels with the highest logits, ablated as the spec says but not refitted, and takes the
    gradient of sum (f - s c(m) - b)^2 over images and positions with respect to the gains m of all kernels, removed
    ones too: f is the network's map, c the circuit's, s and b the line that fitted best in the step before. The logits
    go down as if they were m, by `rate` times the gradient over its root mean square per kept kernel, with momentum,
    and by less from step to step. Straight-through gradients: Bengio et al. 2013; for masks: Ramanujan et al.,
    "edge-popup", CVPR 2020, and Sanh et al., "Movement Pruning", NeurIPS 2020. The scores are exp(logit) as of the
    first step that lost the smallest share of the map's variance. Every step is over all images, so neither their order
    nor the batch size matters. A circuit that is cut off learns slowly or not at all: take `refill=live`. The mask fits
    the images it was learned from better than others: give it many. Cost: `steps` passes, one more to begin with, and
    those of `base`.
    """
    logits = _ranked(scoring.score(base), scoring.budget)
    velocity = {path: torch.zeros_like(values) for path, values in logits.items()}
    best, least = logits, math.inf
    with torch.no_grad():
        wanted = [scoring.feature(images) for images in scoring.batches("learning")]
        edits = scoring.ablated(_kept(scoring, logits))
        scale, shift, _ = _line([scoring.feature(images, edits) for images in scoring.batches("learning")], wanted)
    for step in range(steps):
        gains = {path: mask.double().requires_grad_() for path, mask in _kept(scoring, logits).items()}
        seen = []
        for images, f in zip(scoring.batches("learning"), wanted, strict=True):
            c = scoring.feature(images, scoring.ablated(gains))
            (scale * c + shift - f).square().sum().backward()  # type: ignore[no-untyped-call]
            seen.append(c.detach())
        scale, shift, lost = _line(seen, wanted)
        if lost < least * _BETTER:
            best, least = logits, lost
        slopes = {path: torch.zeros_like(gain) if gain.grad is None else gain.grad for path, gain in gains.items()}
        size = math.sqrt(sum(float(slope.square().sum()) for slope in slopes.values()) / max(scoring.budget, 1))
        if not 0 < size < math.inf:
            break
        velocity = {path: _MOMENTUM * old + (1 - _MOMENTUM) / size * slopes[path] for path, old in velocity.items()}
        pace = rate * (1 - step / steps)
        grown = 1 - _MOMENTUM ** (step + 1)
        logits = {
            path: logit - pace * (velocity[path] / grown).clamp(-_FARTHEST, _FARTHEST) for path, logit in logits.items()
        }
    return _positive(best)


def _ranked(scores: Scores, budget: int) -> dict[str, Tensor]:
    """The logarithm of budget / rank; of a score of zero, that of zero."""
    flat = torch.cat([score.flatten() for score in scores.values()])
    ranks = torch.empty_like(flat)
    ranks[flat.sort(descending=True, stable=True).indices] = torch.arange(1, len(flat) + 1).to(flat)
    logits = torch.where(flat > 0, max(budget, 1) / ranks, 0).log()
    parts = torch.split(logits, [score.numel() for score in scores.values()])
    return {path: part.reshape(scores[path].shape) for path, part in zip(scores, parts, strict=True)}


def _kept(scoring: Scoring, logits: Scores) -> dict[str, Tensor]:
    return dict(scoring.select(_positive(logits), scoring.budget))


def _positive(logits: Scores) -> dict[str, Tensor]:
    return {path: logit.exp() for path, logit in logits.items()}


def _line(circuit: Sequence[Tensor], network: Sequence[Tensor]) -> tuple[float, float, float]:
    """Scale and shift that bring the circuit's maps nearest to the network's, and the share of variance that is lost.

    The scale is 1 where nothing would be gained by a positive one.
    """
    c, f = (torch.cat([tensor.flatten() for tensor in maps]).double() for maps in (circuit, network))
    dc, df = c - c.mean(), f - f.mean()
    common, own, all_ = float(dc @ df), float(dc @ dc), float(df @ df)
    scale = common / own if common > 0 else 1.0
    lost = 1 - scale * common / all_ if common > 0 else 1.0
    return scale, float(f.mean() - scale * c.mean()), lost
