"""Masks learned with stochastic gradients while the budget is annealed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from circuitlang.engine.circuits.image_seeds import seeded
from circuitlang.plugins.protocols import Count, CriterionName, Edits, Scores, Scoring, passes_of, schedule

# The share of the relevant kernels that the anneal begins with, and the share of passes that it takes.
_FIRST, _ANNEAL = 0.5, 0.625
# Decay of the moving averages of gradients, of their squares and of the loss.
_MOMENTUM, _SQUARES, _LOSSES = 0.9, 0.98, 0.9
# The size of a step relative to the scale of log ranks: above `_FEW` of all kernels, and below.
_FEW, _RATE_MANY, _RATE_FEW = 0.15, 0.05, 0.1
# The weight of the curvature term, the farthest step of one kernel, and the least loss that curvature is divided by.
_CURVATURE, _FARTHEST, _LEAST_LOSS = 50.0, 3.0, 0.02
# The share of the logits that a step forgets at 1% of the kernels, its growth towards smaller circuits, its maximum.
_FORGET, _FORGET_GROWTH, _FORGET_MOST = 0.04, 1.3, 0.2
# Below this loss, the rate falls with it: what is left of the gradients is noise.
_SMALL_LOSS = 0.1
# The share of the rate that is left at the end of the hold.
_LAST_RATE = 0.1
# Maps with fewer values than this are compared together with those of earlier steps.
_VALUES = 16
# A batch is smaller than `batch` where that leaves fewer steps a pass than this.
_STEPS = 12


@schedule(passes=lambda passes, base, **_: passes + 2 + passes_of(base))
def annealed(
    scoring: Scoring,
    *,
    passes: Count = 16,
    batch: Count = 4,
    scale: float = 0.1,
    images: Count = 1024,
    base: CriterionName = "gn",
) -> Scores:
    """A mask of exactly the budget's size, learned in small batches while the budget shrinks to that size.

    Each kernel has a logit, at first ln(budget / its rank by `base`). Each step keeps the K kernels of the highest
    logits and takes, for a few images, the gradient of 1 - r + `scale` * (squared error / variance of the feature) with
    respect to the gains of all kernels, removed ones too; r is the correlation of the circuit's and the network's map
    over the images and positions of the batch. K falls exponentially from N / 2 to the budget in five eighths of the
    passes and stays there, while the rate falls linearly to a tenth. N is the number of kernels that `base` scores;
    what it gives zero stays out.

    With g the gradient, v and h the bias-corrected moving averages of g (0.9) and of its square (0.98), mu that of the
    loss (0.9) and m the mask: while K >= 0.15 N, logits change by -0.05 v / sqrt(h). For smaller K they shrink by the
    share min(0.04 (0.01 N / K)^1.3, 0.2), and change by 0.1 S, where S = -v + (2m - 1) 50 h / (4 max(mu, 0.02)) is
    divided by its root mean square per kept kernel and is 3 at most. The curvature term, with h as Fisher information,
    holds what is kept and keeps out what is removed. While mu is below 0.1, what is left of the gradients is noise, and
    rates and share fall with it.

    A batch has `batch` images, or fewer where that leaves fewer than 12 batches, in an order that follows from the
    circuit's seed and the content of the images: neither their order nor the batch size of the device matters. Of more
    than `images` images, so many are drawn by the seed and kept in memory. If maps have fewer than 16 values, those of
    earlier steps for the other images are compared as well. In the end the mask of `base` is taken instead if its loss
    over all images is smaller. The mask fits the images it was learned from better than others: give it many. Cost:
    `passes`, those of `base`, and two for the maps of the network and of both masks.

    Straight-through gradients: Bengio et al. 2013; for masks: Ramanujan et al., "edge-popup", CVPR 2020, and Sanh et
    al., "Movement Pruning", NeurIPS 2020; budgets that shrink: Zhu and Gupta, "To prune, or not to prune", 2017; Fisher
    information as curvature: Theis et al., "Faster gaze prediction", 2018. The combination is circuitlang's own.
    """
    start = scoring.score(base)
    logits = _Logits(scoring, start)
    samples = _Samples(scoring, batch, images)
    steps = _schedule(len(samples), passes, logits.relevant, scoring.budget)
    pairs = zip(samples.epochs(passes), steps, strict=True)
    for chosen, (kept, phase) in scoring.track(pairs, "learning", len(samples) * passes):
        mask = scoring.select(logits.scores(), kept)
        gains = {path: own.to(scoring.weights[path].dtype).requires_grad_() for path, own in mask.items()}
        circuit = scoring.feature(samples.images[chosen], scoring.ablated(gains))
        loss = _loss(*samples.compared(chosen, circuit), scale, samples.variance)
        loss.backward()  # type: ignore[no-untyped-call]
        slopes = {path: torch.zeros_like(gain) if gain.grad is None else gain.grad for path, gain in gains.items()}
        logits.step(logits.flat(mask), logits.flat(slopes), loss.item(), kept, phase)
    return min(logits.scores(), start, key=lambda scores: samples.loss(scoring, scores, scale))


def _schedule(batches: int, passes: int, relevant: int, budget: int) -> Iterator[tuple[int, float]]:
    """Yield the budget and the rate of each step: K falls from half of the kernels, then the rate falls."""
    steps = batches * passes
    anneal = round(_ANNEAL * steps)
    first = max(_FIRST * relevant, budget)
    for step in range(steps):
        if step < anneal:
            u = step / max(anneal - 1, 1)
            yield round(math.exp((1 - u) * math.log(first) + u * math.log(max(budget, 1)))), 1.0
        else:
            done = (step - anneal) / max(steps - anneal - 1, 1)
            yield budget, 1 + done * (_LAST_RATE - 1)


def _loss(circuit: Tensor, wanted: Tensor, scale: float, variance: float) -> Tensor:
    """Return 1 - r + scale |c - f|^2 / |f - mean f|^2 over a batch of maps.

    `variance` is that of all maps: batches that hardly vary are measured by a hundredth of it.
    """
    c, f = circuit.flatten().double(), wanted.flatten().double()
    dc, df = c - c.mean(), f - f.mean()
    own = df.square().sum() + 0.01 * variance * len(f)
    # The circuit's own variation is floored too: a constant map has no direction in which its correlation grows.
    r = (dc @ df) / ((dc.square().sum() + 1e-6 * own).sqrt() * own.sqrt())
    return 1 - r + scale * (c - f).square().sum() / own


class _Samples:
    """The images with the network's maps, drawn in small batches."""

    def __init__(self, scoring: Scoring, batch: int, most: int) -> None:
        self._generator = scoring.generator
        seed = scoring.generator.initial_seed()
        images: list[tuple[int, Tensor]] = []
        for part in scoring.batches("images to learn from"):
            images += [(seeded(image, seed).initial_seed(), image.clone()) for image in part]
            # Sorted by content, so that the order of the images does not matter.
            images = sorted(images, key=lambda entry: entry[0])[:most]
        self.images = torch.stack([image for _, image in images])
        size = max(1, min(batch, len(images) // _STEPS))
        self._batches = -(-len(images) // size)
        self._wanted = self._maps(scoring, None)
        self.variance = float(self._wanted.double().var(unbiased=False))
        # The circuit's maps as of the last step with each image, where a batch has too few values of its own.
        self._few = self._wanted[0].numel() < _VALUES
        self._seen: dict[int, Tensor] = {}

    def __len__(self) -> int:
        """The number of batches in a pass."""
        return self._batches

    def _maps(self, scoring: Scoring, edits: Edits | None) -> Tensor:
        # In batches that do not depend on the device: their size changes the last bits of a map.
        with torch.no_grad():
            return torch.cat([scoring.feature(part, edits) for part in self.images.tensor_split(self._batches)])

    def loss(self, scoring: Scoring, scores: Scores, scale: float) -> float:
        """Return the loss, over all images, of the circuit that some scores give."""
        edits = scoring.ablated(scoring.select(scores, scoring.budget))
        return float(_loss(self._maps(scoring, edits), self._wanted, scale, self.variance))

    def epochs(self, passes: int) -> Iterator[list[int]]:
        """Yield the numbers of the images of each batch, in another order in each pass."""
        for _ in range(passes):
            order = torch.randperm(len(self.images), generator=self._generator)
            for part in order.tensor_split(self._batches):
                yield part.tolist()

    def compared(self, chosen: list[int], circuit: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps to compare, of the circuit and of the network.

        They are those of the batch. For maps of few positions, those that circuits of earlier steps gave for the other
        images are added as constants, because a correlation of a handful of values says little.
        """
        if not self._few:
            return circuit, self._wanted[chosen]
        earlier = [number for number in self._seen if number not in chosen]
        maps = torch.cat([circuit, *(self._seen[number][None] for number in earlier)])
        self._seen |= dict(zip(chosen, circuit.detach(), strict=True))
        return maps, self._wanted[[*chosen, *earlier]]


@dataclass
class _Moments:
    """Moving averages, and their weights for the correction of their bias."""

    gradient: Tensor
    square: Tensor
    loss: float = 0.0
    steps: int = 0

    def add(self, slope: Tensor, loss: float) -> tuple[Tensor, Tensor, float]:
        """Take in a step; return the corrected averages."""
        self.gradient = _MOMENTUM * self.gradient + (1 - _MOMENTUM) * slope
        self.square = _SQUARES * self.square + (1 - _SQUARES) * slope.square()
        self.loss = _LOSSES * self.loss + (1 - _LOSSES) * loss
        self.steps += 1
        return (
            self.gradient / (1 - _MOMENTUM**self.steps),
            self.square / (1 - _SQUARES**self.steps),
            self.loss / (1 - _LOSSES**self.steps),
        )


class _Logits:
    """The logits of the relevant kernels, in one vector, and their optimiser."""

    def __init__(self, scoring: Scoring, base: Scores) -> None:
        self._masks = scoring.relevant
        ranked = self.flat(base)
        # Kernels on which the feature does not depend.
        self._idle = ranked <= 0
        self.relevant = max(1, int((~self._idle).sum()))
        order = ranked.sort(descending=True, stable=True).indices
        ranks = torch.empty_like(ranked)
        ranks[order] = torch.arange(1, len(ranked) + 1).to(ranked)
        self._logits = math.log(max(scoring.budget, 1)) - ranks.log()
        self._moments = _Moments(torch.zeros_like(ranked), torch.zeros_like(ranked))

    def flat(self, values: Scores) -> Tensor:
        """Return values of the relevant kernels as one vector, float64."""
        return torch.cat([self._relevant(path, values[path]) for path in self._masks])

    def _relevant(self, path: str, values: Tensor) -> Tensor:
        return values.detach().cpu().double()[self._masks[path]]

    def scores(self) -> Scores:
        """Return exp(logit), and 0 for kernels that are not relevant or that the base gives zero."""
        values = torch.where(self._idle, 0, self._logits.clamp(-500, 500).exp())
        parts = torch.split(values, [int(mask.sum()) for mask in self._masks.values()])
        scores = {}
        for (path, mask), part in zip(self._masks.items(), parts, strict=True):
            scores[path] = torch.zeros(mask.shape).double()
            scores[path][mask] = part
        return scores

    def step(self, mask: Tensor, slope: Tensor, loss: float, kept: int, phase: float) -> None:
        """Move the logits, by the mask of this step [N], the gradient of the loss [N] and the loss."""
        if not (math.isfinite(loss) and bool(slope.isfinite().all())):
            return
        v, h, mu = self._moments.add(slope, loss)
        phase *= min(1.0, mu / _SMALL_LOSS)
        share = kept / self.relevant
        if share >= _FEW:
            self._logits = self._logits - _RATE_MANY * phase * v / (h.sqrt() + 1e-8)
            return
        change = (2 * mask - 1) * _CURVATURE * h / (4 * max(mu, _LEAST_LOSS)) - v
        size = math.sqrt(float(change.square().sum()) / max(kept, 1))
        if not 0 < size < math.inf:
            return
        forgotten = min(_FORGET * (0.01 / share) ** _FORGET_GROWTH, _FORGET_MOST)
        self._logits = (1 - phase * forgotten) * self._logits
        self._logits += _RATE_FEW * phase * (change / size).clamp(-_FARTHEST, _FARTHEST)
