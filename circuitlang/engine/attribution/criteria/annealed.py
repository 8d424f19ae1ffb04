"""Masks learned with stochastic gradients while the budget is annealed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, repeat
from typing import TYPE_CHECKING

from circuitlang.engine.circuits.map_loss import map_loss
from circuitlang.engine.circuits.small_batches import BATCHES, Earlier, SmallBatches
from circuitlang.engine.deferred import torch
from circuitlang.engine.device import one_thread
from circuitlang.plugins.protocols import Count, CriterionName, Scores, Scoring, Stage, passes_of, schedule

if TYPE_CHECKING:
    from torch import Tensor

# Decay of the moving averages of gradients, of their squares and of the loss.
_MOMENTUM, _SQUARES, _LOSSES = 0.9, 0.98, 0.9
# The size of a step relative to the scale of log ranks: above `_FEW` of all kernels, and below.
_FEW, _RATE_MANY, _RATE_FEW = 0.15, 0.05, 0.1
# The weight of the curvature term for each independent value of a map, the fewest and the most such values, the
# farthest step of one kernel, and the least loss that curvature is divided by.
_CURVATURE, _DIMENSIONS, _FARTHEST, _LEAST_LOSS = 0.625, (2.0, 18.0), 3.0, 0.02
# The share of the logits that a step forgets at 1% of the kernels, its growth towards smaller circuits, its maximum.
_FORGET, _FORGET_GROWTH, _FORGET_MOST = 0.04, 1.3, 0.2
# The correlation of a circuit that is the same everywhere is smaller than this, of either sign.
_ROUNDING = 1e-6
# Below this loss, the rate falls with it: what is left of the gradients is noise.
_SMALL_LOSS = 0.1
# The share of the rate that is left at the end of the hold.
_LAST_RATE = 0.1
# Every circuit is reached by a ladder of sizes: these tenths of the relevant kernels, as many hundredths, and so on.
_LADDER = (5, 2, 1)
# An eighth of the passes leads from one rung to the next; a circuit of a hundredth takes five of them.
_EIGHTHS, _RUNGS = 8, 5


def _ladder(relevant: int) -> Iterator[int]:
    """Yield the rungs from half of the relevant kernels down, without end."""
    for digits in count(1):
        yield from (max(1, part * relevant // 10**digits) for part in _LADDER)


@dataclass(frozen=True)
class _Course:
    """The way down to a budget: the rungs that it passes, the passes between two of them, from the last of them to the
    budget, and at the budget."""

    rungs: Sequence[int]
    between: int
    anneal: int
    hold: int


def _course(relevant: int, budget: int, passes: int) -> _Course:
    """Return the way down to a budget."""
    between = max(1, passes // _EIGHTHS)
    rungs: list[int] = []
    for below in _ladder(relevant):
        if rungs and below < max(budget, 1):
            break
        rungs.append(below)
        if below == 1:
            break
    last = rungs[-1]
    anneal = 0
    if below < budget < last:
        anneal = min(between, math.ceil(between * math.log(last / budget) / math.log(last / below)))
    return _Course(rungs, between, anneal, max(1, passes - _RUNGS * between))


def _stages(
    relevant: int, budget: int, *, passes: int, augment: bool, images: int, base: str, **_: object
) -> list[Stage]:
    """Return the base and the ladder, which all budgets share, and what is learned for this budget alone."""
    course = _course(relevant, budget, passes)
    first, *others = course.rungs
    steps = partial(Stage, images=images, least=BATCHES, beside=int(augment))
    return [
        Stage(first, passes_of(base), images),
        *(steps(rung, course.between) for rung in others),
        steps(budget, course.anneal + course.hold, forwards=3),
    ]


@schedule("own", passes=lambda passes, base, **_: passes + passes_of(base), stages=_stages)
def annealed(
    scoring: Scoring,
    *,
    passes: Count = 16,
    batch: Count = 4,
    scale: float = 0.1,
    augment: bool = False,
    images: Count = 1024,
    base: CriterionName = "gn",
) -> Scores:
    """A mask of exactly the budget's size, learned in small batches while the budget shrinks to that size.

    Each kernel has a logit, at first -ln(rank by `base`). Each step keeps the K kernels of the highest logits and
    takes, for a few images, the gradient of 1 - r + `scale` * (squared error / variance of the feature) with respect to
    the gains of all kernels, removed ones too; r is the correlation of the circuit's and the network's map over the
    images and positions of the batch. With a contrast, r on a batch of the other images is added, unless it is
    negative.

    K comes down a ladder from half of the N relevant kernels, by way of 20%, 10%, 5%, 2%, 1%, 0.5% and so on: from one
    rung to the next it falls exponentially in an eighth of `passes`. From the last rung that is not below the budget it
    falls to the budget, in up to as many passes, and stays there for three eighths of `passes`, while the rate falls
    linearly to a tenth. Circuits of several sizes share the way down the ladder, which is cached. With 16 passes, a
    circuit of 20% takes 8 of its own or of the ladder, one of 1% takes 16, and 20%, 10%, 5% and 1% together take 34.

    With g the gradient, v and h the bias-corrected moving averages of g (0.9) and of its square (0.98), mu that of the
    loss (0.9), which all begin anew at each rung, and m the mask: while K >= 0.15 N, logits change by -0.05 v /
    sqrt(h). For smaller K they shrink by the share min(0.04 (0.01 N / K)^1.3, 0.2), and change by 0.1 S, where S = -v
    + (2m - 1) 0.625 d h / max(mu, 0.02) is divided by its root mean square per kept kernel and is 3 at most. The
    curvature term, with h as Fisher information, holds what is kept and keeps out what is removed. It counts the
    independent values of a map, d = trace(G)^2 / ||G||^2 within 2 and 18, with G the products of the centred maps of
    all images: 1 before the limits for a single number, 10 and more amid a network of photographs. While mu is below
    0.1, what is left of the gradients is noise, and rates and share fall with it. What `base` gives zero stays out.

    A batch has `batch` images, more where these have fewer than 8 values in all, or fewer where that leaves fewer than
    12 batches to a pass, in which fewer than 12 images come several times, in an order that follows from the circuit's
    seed and the content of the images. To `augment` is to mirror them and shift them by up to a sixteenth, at random
    for each step; it takes another forward pass of the network for each pass. Neither their order, nor the batch size
    of the device, nor the number of threads matters: on a CPU, parts of a batch that follow from the network alone have
    one thread each. Of more than `images` images, so many are drawn by the seed. Maps of fewer than 16 values are
    compared together with those of the last steps, 16 in all. In the end the mask of `base` is taken instead if its
    loss over all images is smaller. A feature that is the same everywhere is scored by `greedy`. The mask fits the
    images it was learned from best: give it many, and with 30 passes or more, augment them. Cost: these, `base`, and a
    forward pass of the network and of both masks.

    Straight-through gradients: Bengio et al. 2013; for masks: Ramanujan et al., "edge-popup", CVPR 2020, and Sanh et
    al., "Movement Pruning", NeurIPS 2020; budgets that shrink: Zhu and Gupta, "To prune, or not to prune", 2017; Fisher
    information as curvature: Theis et al., "Faster gaze prediction", 2018. The combination is circuitlang's own.
    """
    # A difference in the last bit of a map would grow with every step.
    with one_thread():
        seed, ours = scoring.generator.initial_seed(), scoring.batches("images to learn from")
        samples = SmallBatches(scoring.feature, ours, batch, images, seed, augment=augment)
        if samples.constant:
            return scoring.score("greedy" if scoring.contrast is None else "gn")
        others = _others(scoring, samples.steps, images, augment)
        logits = _Logits(scoring, _dimensions(samples.wanted))
        course = _course(logits.size, scoring.budget, passes)
        learning = _Learning(scoring, logits, samples, others, scale, base, course.between)
        start = learning.rung(course.rungs[:1])["logits"]
        # The mask of the base instead, where that does better.
        return logits.scores(min(learning.circuit(course, scoring.budget), start, key=learning.loss))


def _others(scoring: Scoring, steps: int, most: int, augment: bool) -> SmallBatches | None:
    """Return the images that the circuit is contrasted with, in so many batches, if a correlation can tell them apart.

    It can't where the feature is the same everywhere.
    """
    if scoring.contrast is None:
        return None
    images, seed = scoring.contrast.batches("images to tell apart"), scoring.generator.initial_seed()
    others = SmallBatches(scoring.feature, images, 1, most, seed, augment=augment, steps=steps)
    return None if others.constant else others


@dataclass(frozen=True)
class _Learning:
    """The way down the ladder, and from it to circuits.

    A state has `logits` of the relevant kernels. If maps of the last steps are compared, it has these `maps` and the
    `numbers` of their images, and those of the images that the circuit is contrasted with, as `other maps` and `other
    numbers`.
    """

    scoring: Scoring
    logits: _Logits
    samples: SmallBatches
    others: SmallBatches | None
    scale: float
    base: str
    between: int

    def rung(self, rungs: Sequence[int]) -> Scores:
        """Return the state on the last of some rungs, which are the first of the ladder."""
        *above, size = rungs

        def compute(scoring: Scoring) -> Scores:
            if not above:
                return {"logits": self.logits.ranked(scoring.on(self.samples).score(self.base))}
            steps = _anneal(above[-1], size, self.between * self.samples.steps)
            return self._learn(self.rung(above), steps, (len(above) - 1) * self.between)

        return self.scoring.stage(size, compute)

    def circuit(self, course: _Course, budget: int) -> Tensor:
        """Return the logits of a circuit."""
        anneal, hold = course.anneal * self.samples.steps, course.hold * self.samples.steps
        held = [(budget, 1 + step / max(hold - 1, 1) * (_LAST_RATE - 1)) for step in range(hold)]
        steps = [*_anneal(course.rungs[-1], budget, anneal), *held]
        return self._learn(self.rung(course.rungs), steps, (len(course.rungs) - 1) * self.between)["logits"]

    def _learn(self, state: Scores, steps: Sequence[tuple[int, float]], passes: int) -> Scores:
        """Return the state after steps with budgets and rates; `passes` were made before."""
        logits, samples, scoring, flat = state["logits"], self.samples, self.scoring, self.logits.flat
        moments = _Moments(torch.zeros_like(logits), torch.zeros_like(logits))
        seen, apart = (_restored(state, kind, samples.wanted.device) for kind in _KINDS)
        contrasted = self.others.passes(passes) if self.others else repeat(None)
        batches = zip(samples.passes(passes), contrasted, steps, strict=False)
        for own, other, (kept, phase) in scoring.track(batches, "learning", len(steps)):
            mask = scoring.select(self.logits.scores(logits), kept)
            gains = {path: kernels.to(scoring.weights[path].dtype).requires_grad_() for path, kernels in mask.items()}
            images = torch.cat([own.images, other.images]) if other else own.images
            circuit = scoring.feature(images, scoring.ablated(gains))
            circuit, against = circuit[: len(own.numbers)], circuit[len(own.numbers) :]
            loss = map_loss(*samples.compared(own, circuit, seen), self.scale, samples.variance)
            if self.others and other and other.numbers:
                loss = loss + _likeness(*self.others.compared(other, against, apart), self.others.variance)
            loss.backward()  # type: ignore[no-untyped-call]
            slopes = {path: torch.zeros_like(gain) if gain.grad is None else gain.grad for path, gain in gains.items()}
            logits = self.logits.step(logits, moments.add(flat(slopes), loss.item()), flat(mask), kept, phase)
        maps = [_stored(earlier, kind) for earlier, kind in zip((seen, apart), _KINDS, strict=True)]
        return {"logits": logits, **maps[0], **maps[1]}

    def loss(self, logits: Tensor) -> float:
        """Return the loss, over all images, of the circuit of some logits."""
        mask = self.scoring.select(self.logits.scores(logits), self.scoring.budget)
        edits, samples, others = self.scoring.ablated(mask), self.samples, self.others
        loss = map_loss(samples.maps(edits), samples.wanted, self.scale, samples.variance)
        return float(loss + _likeness(others.maps(edits), others.wanted, others.variance) if others else loss)


# Kinds of earlier maps in a state: of the circuit's images, and of those that it is contrasted with.
_KINDS = "", "other "


def _stored(earlier: Earlier, kind: str) -> Scores:
    """Return maps of earlier steps as a part of a state, oldest first."""
    if not earlier:
        return {}
    maps = torch.stack(list(earlier.values())).cpu()
    return {f"{kind}maps": maps, f"{kind}numbers": torch.tensor(list(earlier))}


def _restored(state: Scores, kind: str, device: torch.device) -> Earlier:
    """Return maps of earlier steps from a state."""
    if f"{kind}maps" not in state:
        return {}
    return dict(zip(state[f"{kind}numbers"].tolist(), state[f"{kind}maps"].to(device), strict=True))


def _likeness(circuit: Tensor, network: Tensor, variance: float) -> Tensor:
    """Return the correlation of maps, 0 if it is negative or too small to tell it from rounding."""
    return (1 - _ROUNDING - map_loss(circuit, network, 0, variance)).relu()


def _anneal(above: int, below: int, steps: int) -> list[tuple[int, float]]:
    """Return the budgets of steps from one down to another, evenly spaced on a logarithmic scale, and their rate."""
    ratio = math.log(max(below, 1) / above)
    return [(round(above * math.exp((step + 1) / steps * ratio)), 1.0) for step in range(steps)]


def _dimensions(maps: Tensor) -> float:
    """Return the effective number of dimensions, the participation ratio, of the maps of all images; 2 to 18."""
    centred = maps.double().flatten(1) - maps.double().mean()
    products = centred @ centred.T
    fewest, most = _DIMENSIONS
    return min(max(float(products.trace().square() / products.square().sum()), fewest), most)


@dataclass
class _Moments:
    """Moving averages, and their weights for the correction of their bias."""

    gradient: Tensor
    square: Tensor
    loss: float = 0.0
    steps: int = 0

    def add(self, slope: Tensor, loss: float) -> tuple[Tensor, Tensor, float] | None:
        """Take in a step; return the corrected averages, or None if it is not finite."""
        if not (math.isfinite(loss) and bool(slope.isfinite().all())):
            return None
        # In place: with millions of kernels a step takes as long as their vectors take to read and write.
        self.gradient.mul_(_MOMENTUM).add_(slope, alpha=1 - _MOMENTUM)
        self.square.mul_(_SQUARES).addcmul_(slope, slope, value=1 - _SQUARES)
        self.loss = _LOSSES * self.loss + (1 - _LOSSES) * loss
        self.steps += 1
        return (
            self.gradient / (1 - _MOMENTUM**self.steps),
            self.square / (1 - _SQUARES**self.steps),
            self.loss / (1 - _LOSSES**self.steps),
        )


class _Logits:
    """Logits of the relevant kernels, as one vector, and their optimiser."""

    def __init__(self, scoring: Scoring, dimensions: float) -> None:
        self._masks = scoring.relevant
        self._budget = scoring.budget
        self._dimensions = dimensions
        self.size = sum(int(mask.sum()) for mask in self._masks.values())

    def flat(self, values: Scores) -> Tensor:
        """Return values of the relevant kernels as one vector, float64."""
        return torch.cat([self._relevant(path, values[path]) for path in self._masks])

    def _relevant(self, path: str, values: Tensor) -> Tensor:
        return values.detach().cpu().double()[self._masks[path]]

    def ranked(self, base: Scores) -> Tensor:
        """Return the first logits: - ln(rank), and - infinity for kernels on which the feature does not depend."""
        values = self.flat(base)
        order = values.sort(descending=True, stable=True).indices
        ranks = torch.empty_like(values)
        ranks[order] = torch.arange(1, len(values) + 1).to(values)
        return torch.where(values > 0, -ranks.log(), -math.inf)

    def scores(self, logits: Tensor) -> Scores:
        """Return the budget times exp(logit), and 0 for kernels that are not relevant or that the base gives zero."""
        values = (logits + math.log(max(self._budget, 1))).clamp_max(500).exp()
        parts = torch.split(values, [int(mask.sum()) for mask in self._masks.values()])
        scores = {}
        for (path, mask), part in zip(self._masks.items(), parts, strict=True):
            scores[path] = torch.zeros(mask.shape).double()
            scores[path][mask] = part
        return scores

    def step(
        self, logits: Tensor, moments: tuple[Tensor, Tensor, float] | None, mask: Tensor, kept: int, phase: float
    ) -> Tensor:
        """Return the logits after a step with a mask of `kept` kernels, by averages of gradients and of the loss."""
        if moments is None:
            return logits
        v, h, mu = moments
        phase *= min(1.0, mu / _SMALL_LOSS)
        share = kept / self.size
        if share >= _FEW:
            return logits - v.div_(h.sqrt_().add_(1e-8)).mul_(_RATE_MANY * phase)
        curvature = h.mul_(_CURVATURE * self._dimensions / max(mu, _LEAST_LOSS))
        change = torch.where(mask > 0, curvature, -curvature).sub_(v)
        size = math.sqrt(float(change @ change) / max(kept, 1))
        if not 0 < size < math.inf:
            return logits
        forgotten = min(_FORGET * math.pow(0.01 / share, _FORGET_GROWTH), _FORGET_MOST)
        change.div_(size).clamp_(-_FARTHEST, _FARTHEST)
        return (logits * (1 - phase * forgotten)).add_(change, alpha=_RATE_FEW * phase)
