"""How well each criterion finds circuits that are known: `python benchmarks/planted.py`.

The networks are built, not trained: a few kernels make the feature, all others provably don't matter to it, though
many are larger, and what they read and feed is busy. All weights and pixels are whole numbers and sums are exact, so
that nil is nil. Pictures are bars, drawn by the seed.

Every criterion gets as many kernels as the planted circuit has. Printed as a Markdown table are, for each kind of
network, precision / recall / Pearson's r on pictures that kernels weren't scored on: means over the seeds.

With `--split` features are split into two parts instead: those that are two, and those that are one.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations, product
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from circuitlang.engine.analysis.split.clustering import clouds, kinds, valley
from circuitlang.engine.analysis.split.permutation_test import distinction
from circuitlang.engine.analysis.split.score_vectors import vectors, vectors_by
from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.selection import count
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation.fidelity import measure, responses
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.plan.clauses import PRESERVE
from circuitlang.plan.model import Choice
from circuitlang.plugins.protocols import CRITERIA, Masks
from circuitlang.results.split import SIGNIFICANT

# A layer's path, an output and an input channel.
Kernel = tuple[str, int, int]
Circuit = frozenset[Kernel]
Taps = NDArray[np.int64]
Refill = Literal["live", "none"]

SIDE = 16
RED, GREEN, BLUE = range(3)
# Blue is the same in every pixel of every picture, and so is all that is made of it alone.
LIGHT = 2
ANGLES = (0, 45, 90, 135)
LINE = {
    0: ((-1, -1, -1), (2, 2, 2), (-1, -1, -1)),
    45: ((-1, -1, 2), (-1, 2, -1), (2, -1, -1)),
    90: ((-1, 2, -1), (-1, 2, -1), (-1, 2, -1)),
    135: ((2, -1, -1), (-1, 2, -1), (-1, -1, 2)),
}
# Two lines make a crossing where together they are stronger than this.
THRESHOLD = 60
LAYERS = ("detect", "combine", "decide")
# The feature is this channel of the last layer.
UNIT = 1


def pictures(number: int, seed: int, colours: Sequence[int] = (RED, GREEN)) -> Tensor:
    """Bars of four orientations, one or two pixels wide, each of one of the colours, float64 [number, 3, 16, 16]."""
    random = np.random.default_rng(seed)
    down, across = np.mgrid[:SIDE, :SIDE]
    found = np.zeros((number, 3, SIDE, SIDE))
    found[:, BLUE] = LIGHT
    for picture in found:
        for _ in range(6):
            angle = np.deg2rad(random.choice(ANGLES))
            y, x = random.integers(SIDE, size=2)
            distance = np.abs((across - x) * np.sin(angle) + (down - y) * np.cos(angle))
            bar = (distance < random.choice((0.5, 1.0))) * random.integers(1, 4)
            colour = random.choice(colours)
            picture[colour] = np.maximum(picture[colour], bar)
    return torch.from_numpy(found)


class Net(nn.Module):
    """Detectors of lines, what they are combined to, and what is decided from that."""

    def __init__(self, detectors: int, combinations: int) -> None:
        super().__init__()
        self.detect = nn.Conv2d(3, detectors, 3)
        self.combine = nn.Conv2d(detectors, combinations, 3)
        self.decide = nn.Conv2d(combinations, UNIT + 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, 2, 10, 10] of images [N, 3, 16, 16]."""
        decision: Tensor = self.decide(torch.relu(self.combine(torch.relu(self.detect(x)))))
        return decision


@dataclass
class _Channel:
    """A channel in the making: its bias, and its kernels by the channel they read."""

    bias: int = 0
    kernels: dict[int, Taps] = field(default_factory=dict)


class Sketch:
    """A network in the making, whose channels are numbered as they come; `module` shuffles them."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.channels: dict[str, list[_Channel]] = {"detect": [], "combine": [], "decide": [_Channel(), _Channel()]}

    @property
    def target(self) -> dict[int, Taps]:
        """The kernels of the feature's own channel."""
        return self.channels["decide"][UNIT].kernels

    def add(self, layer: str, kernels: Mapping[int, Taps], bias: int = 0) -> int:
        """A new channel of a layer."""
        self.channels[layer].append(_Channel(bias, dict(kernels)))
        return len(self.channels[layer]) - 1

    def taps(self, low: int, high: int) -> Taps:
        """A kernel of whole numbers, both ends included."""
        return self.random.integers(low, high, size=(3, 3), endpoint=True)

    def module(self) -> tuple[nn.Module, Callable[[Circuit], Circuit]]:
        """The network in float64, and what its kernels are called there."""
        sizes = {layer: len(channels) for layer, channels in self.channels.items()}
        place = {layer: self.random.permutation(size) for layer, size in sizes.items()}
        # Pixels and features keep their places: whoever breaks ties by number must not find the planted first.
        place["decide"] = np.arange(sizes["decide"])
        before = dict(zip(LAYERS, (np.arange(3), place["detect"], place["combine"]), strict=True))
        module = Net(sizes["detect"], sizes["combine"]).double().requires_grad_(False)
        for layer, channels in self.channels.items():
            convolution = module.get_submodule(layer)
            assert isinstance(convolution, nn.Conv2d)
            assert convolution.bias is not None
            convolution.weight.zero_()
            for number, channel in enumerate(channels):
                convolution.bias[place[layer][number]] = channel.bias
                for source, taps in channel.kernels.items():
                    convolution.weight[place[layer][number], before[layer][source]] = torch.from_numpy(taps).double()

        def called(kernels: Circuit) -> Circuit:
            return frozenset((layer, int(place[layer][o]), int(before[layer][i])) for layer, o, i in kernels)

        return module.eval(), called


def feature(
    sketch: Sketch, angles: Sequence[int], colours: Mapping[int, int], pairs: Sequence[tuple[int, int]], seed: int
) -> Circuit:
    """Plant crossings of lines: a detector for each angle, which sees colours with a sign, and a channel for each pair
    of detectors that is active where both together are strong enough; the target adds these up, the second negatively.
    The same seed gives the same weights again."""
    random = np.random.default_rng(seed)
    planted: set[Kernel] = set()
    detectors = [
        sketch.add("detect", {colour: sign * np.array(LINE[angle]) for colour, sign in colours.items()})
        for angle in angles
    ]
    planted |= {("detect", detector, colour) for detector in detectors for colour in colours}
    for number, pair in enumerate(pairs):
        blobs = {detectors[which]: random.integers(1, 4, size=(3, 3)) for which in pair}
        crossing = sketch.add("combine", blobs, -THRESHOLD)
        sketch.target[crossing] = (-1) ** number * random.integers(1, 4, size=(3, 3))
        planted |= {("combine", crossing, detector) for detector in blobs} | {("decide", UNIT, crossing)}
    return frozenset(planted)


def cancel(sketch: Sketch) -> None:
    """Pairs of channels that are the same, active, and read with opposite signs: each matters, both together don't.

    Their weights are drawn as those of crossings are.
    """
    twins = []
    for crossing in list(sketch.channels["combine"]):
        line = np.array(LINE[int(sketch.random.choice(ANGLES))])
        twins.append([sketch.add("detect", {RED: line, GREEN: -line}) for _ in range(2)])
        taps = sketch.taps(1, 3)
        crossing.kernels.update({twin: sign * taps for twin, sign in zip(twins[-1], (1, -1), strict=True)})
    blobs, taps = [sketch.taps(1, 3) for _ in twins], sketch.taps(1, 3)
    for sign in (1, -1):
        seen = {pair[0]: blob for pair, blob in zip(twins, blobs, strict=True)}
        sketch.target[sketch.add("combine", seen, -THRESHOLD)] = sign * taps


def distract(sketch: Sketch) -> None:
    """Surround what is there by channels that are large, and busy or dead, and never matter to the feature."""
    crossings = list(sketch.channels["combine"])
    busy = [sketch.add("detect", {colour: sketch.taps(-4, 8) for colour in range(3)}) for _ in range(6)]
    # Pixels aren't negative, so these never are active.
    dead = [sketch.add("detect", {colour: sketch.taps(-8, -1) for colour in range(3)}) for _ in range(4)]
    for crossing in crossings:
        crossing.kernels.update({detector: sketch.taps(-8, 8) for detector in dead})
    for _ in range(4):
        seen = range(len(sketch.channels["detect"]))
        silent = sketch.add("combine", {detector: sketch.taps(-8, -1) for detector in seen})
        sketch.target[silent] = sketch.taps(-8, 8)
    # Another feature of the same layer, made of what is busy, is nobody's concern.
    for _ in range(2):
        other = sketch.add("combine", {detector: sketch.taps(-4, 4) for detector in busy})
        sketch.channels["decide"][1 - UNIT].kernels[other] = sketch.taps(-4, 4)


def hold(sketch: Sketch) -> None:
    """Channels that are the same everywhere in every picture: they move the feature's mean, and nothing else."""
    steady = [sketch.add("detect", {BLUE: sketch.taps(1, 3)}) for _ in range(2)]
    for sign in (1, 1, -1):
        held = sketch.add("combine", {detector: sketch.taps(1, 3) for detector in steady})
        sketch.target[held] = sign * sketch.taps(1, 3)


@dataclass(frozen=True)
class Planted:
    """A network, pictures to score kernels on and others, and the circuits that alone make what the whole network
    makes of them, divided by `scale` and up to a constant."""

    module: nn.Module
    train: Tensor
    test: Tensor
    truths: tuple[Circuit, ...]
    scale: int = 1


def _drawn(seed: int, *colours: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Pictures to score on and others; for each of some palettes equally many."""
    made = [
        torch.cat(
            [pictures(24 // len(colours), 1000 * seed + 10 * half + n, colour) for n, colour in enumerate(colours)]
        )
        for half in range(2)
    ]
    return made[0], made[1]


def _angles(sketch: Sketch) -> list[int]:
    return [int(angle) for angle in sketch.random.permutation(ANGLES)]


def _opponent(seed: int, *more: Callable[[Sketch], None]) -> Planted:
    sketch = Sketch(seed)
    truth = feature(sketch, _angles(sketch)[:3], {RED: 1, GREEN: -1}, [(0, 1), (1, 2)], seed)
    for change in (*more, distract):
        change(sketch)
    module, called = sketch.module()
    return Planted(module, *_drawn(seed, (RED, GREEN)), (called(truth),))


def distractors(seed: int) -> Planted:
    """Two crossings of lines that are red and not green, among what is large and idle."""
    return _opponent(seed)


def constants(seed: int) -> Planted:
    """The same, and channels that never vary."""
    return _opponent(seed, hold)


def cancelling(seed: int) -> Planted:
    """The same, and active channels that cancel out."""
    return _opponent(seed, cancel)


def redundant(seed: int) -> Planted:
    """A red and a green crossing, each computed twice: one of either kind will do, and makes half of the sum."""
    sketch = Sketch(seed)
    angles = _angles(sketch)
    parts = [
        [feature(sketch, own, {colour: 1}, [(0, 1)], 2 * seed + number) for _ in range(2)]
        for number, (own, colour) in enumerate(((angles[:2], RED), (angles[2:], GREEN)))
    ]
    distract(sketch)
    module, called = sketch.module()
    truths = tuple(called(frozenset().union(*chosen)) for chosen in product(*parts))
    return Planted(module, *_drawn(seed, (RED, GREEN)), truths, scale=2)


def _either(seed: int) -> tuple[nn.Module, Circuit, Circuit]:
    """A feature that is there for a red crossing and for a green one, and the circuits of both."""
    sketch = Sketch(seed)
    angles = _angles(sketch)
    red = feature(sketch, angles[:2], {RED: 1}, [(0, 1)], 2 * seed)
    green = feature(sketch, angles[2:], {GREEN: 1}, [(0, 1)], 2 * seed + 1)
    distract(sketch)
    module, called = sketch.module()
    return module, called(red), called(green)


def either(seed: int) -> Planted:
    """The OR of a red and a green crossing, on pictures of red bars and others of green ones."""
    module, red, green = _either(seed)
    return Planted(module, *_drawn(seed, (RED,), (GREEN,)), (red | green,))


def half(seed: int) -> Planted:
    """The same networks, on the pictures of red bars alone: what the green half is made of is not wanted."""
    module, red, _ = _either(seed)
    return Planted(module, *_drawn(seed, (RED,)), (red,))


SCENARIOS = {
    "distractors": distractors,
    "constants": constants,
    "cancelling": cancelling,
    "redundant": redundant,
    "OR": either,
    "OR, half the images": half,
}


@dataclass(frozen=True)
class Still:
    """Images that are there already."""

    images: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, _label: str) -> Iterator[Tensor]:
        return iter(torch.split(self.images, 16))


@dataclass(frozen=True)
class Found:
    """What a criterion made of a planted circuit."""

    kernels: Circuit
    precision: float
    recall: float
    pearson: float


def subnetwork(planted: Planted) -> TargetSubnetwork:
    """The network up to its feature."""
    graph = trace(planted.module, (SIDE, SIDE))
    return TargetSubnetwork(graph, Target(graph.find("decide"), (UNIT,)))


def find(part: TargetSubnetwork, planted: Planted, criterion: str, seed: int, refill: Refill = "live") -> Found:
    """The circuit of the planted one's size that a criterion with its defaults finds, as a spec's defaults build it;
    of several truths it is held to the one that it has most of."""
    builder = Builder(part, Still(planted.train), refill=refill)
    size = len(planted.truths[0])
    masks = builder.select(score(builder, criterion, {}, size, seed), size)
    kernels = named(masks)
    hits = max(len(kernels & truth) for truth in planted.truths)
    held_out = Still(planted.test)
    original = responses(part, held_out, "")
    kept = responses(part, held_out, "", masks) if count(part.connected(masks)) else torch.zeros_like(original)
    r = measure(original, kept).metrics["pearson"]
    return Found(kernels, hits / max(len(kernels), 1), hits / size, r)


def named(masks: Masks) -> Circuit:
    """The kernels of a mask."""
    return frozenset((path, int(o), int(i)) for path, mask in masks.items() for o, i in mask.nonzero())


@dataclass(frozen=True)
class Parted:
    """What a split into two made of a planted feature: the kernels of each part, Pearson's r of their circuits on held-
    out pictures of their own part and of the other, and the p of the circuits and of the kinds of pictures.

    Where all held-out pictures are of one part there is nothing to be told apart: the p of the circuits is 1.
    """

    kernels: tuple[Circuit, Circuit]
    own: float
    other: float
    circuits: float
    kinds: float

    @property
    def splits(self) -> bool:
        """Whether both tests say so, as in a report."""
        return max(self.circuits, self.kinds) < SIGNIFICANT


def parted(
    part: TargetSubnetwork, planted: Planted, size: int, seed: int, criterion: str = PRESERVE["criterion"].extension
) -> Parted:
    """A feature split into two, a circuit of `size` kernels each, by the steps of a run."""
    train, test = (
        points.numpy()
        for points in vectors(part, [Still(planted.train), Still(planted.test)], vectors_by(Choice(criterion)), seed)
    )
    heard, heard_test = train.any(1), test.any(1)
    found = kinds(train[heard], 2, seed)
    seen, judged = planted.train[torch.from_numpy(heard)], Still(planted.test[torch.from_numpy(heard_test)])
    masks = []
    for kind in range(2):
        builder = Builder(part, Still(seen[torch.from_numpy(found.labels == kind)]), refill="live")
        masks.append(builder.select(score(builder, criterion, {}, size, seed), size))
    whole = Builder(part, Still(seen), refill="live")
    masks.append(whole.select(score(whole, criterion, {}, size, seed), size))
    original, *made = (responses(part, judged, "", mask) for mask in (None, *masks))
    nearest = found.nearest(test[heard_test])
    said = distinction(original, made[:2], made[2], nearest, seed)
    null = clouds(train[heard], test[heard_test], 2, seed)
    own_valley = valley(np.concatenate([train[heard], test[heard_test]]), np.append(found.labels, nearest))
    p = (1 + int((null <= own_valley).sum())) / (1 + len(null))
    own, other, circuits = (said.own, said.other, said.p) if said else (math.nan, math.nan, 1.0)
    return Parted((named(masks[0]), named(masks[1])), own, other, circuits, p)


def _halves(seed: int) -> tuple[Circuit, Circuit]:
    """The two circuits of `either`."""
    return _either(seed)[1:]


# Features that are split: the networks, the circuits that are to be found, and how many kernels each part gets.
Sought = Callable[[int, Planted], tuple[Sequence[Circuit], int]]
SPLITS: Mapping[str, tuple[Callable[[int], Planted], Sought]] = {
    "OR": (either, lambda seed, _: (_halves(seed), len(_halves(seed)[0]))),
    "OR, half the images": (half, lambda _, planted: (planted.truths, len(planted.truths[0]))),
    "distractors": (distractors, lambda _, planted: (planted.truths, len(planted.truths[0]))),
    "distractors, half the kernels": (distractors, lambda _, planted: (planted.truths, len(planted.truths[0]) // 2)),
}


Grounds = Mapping[str, Sequence[tuple[Planted, TargetSubnetwork]]]


def grounds(seeds: int) -> Grounds:
    """The networks of each scenario, one for each seed."""
    planted = {name: [build(seed) for seed in range(seeds)] for name, build in SCENARIOS.items()}
    return {name: [(network, subnetwork(network)) for network in some] for name, some in planted.items()}


def sizes(grounds: Grounds) -> str:
    """Of each scenario how many kernels are planted and how many are relevant, as a row of a Markdown table."""
    first = [some[0] for some in grounds.values()]
    cells = (f"{len(planted.truths[0])} of {count(part.relevant)}" for planted, part in first)
    return f"| kernels | {' | '.join(cells)} |"


def row(criterion: str, grounds: Grounds, refill: Refill = "live") -> str:
    """Of each scenario the means over the seeds, as a row of a Markdown table."""
    cells = [criterion]
    for some in grounds.values():
        found = [find(part, planted, criterion, seed, refill) for seed, (planted, part) in enumerate(some)]
        means = np.mean([(outcome.precision, outcome.recall, outcome.pearson) for outcome in found], axis=0)
        # No minus before nothing.
        cells.append(" / ".join(f"{round(mean, 2) + 0.0:.2f}" for mean in means.tolist()))
    return f"| {' | '.join(cells)} |"


def split_row(name: str, seeds: int) -> str:
    """Of one kind of network what a split finds, means over the seeds, as a row of a Markdown table."""
    build, sought = SPLITS[name]
    found, scores = [], []
    for seed in range(seeds):
        planted = build(seed)
        truths, size = sought(seed, planted)
        found.append(parted(subnetwork(planted), planted, size, seed))
        scores += _scores(found[-1].kernels, truths)
    precision, recall = np.mean(scores, axis=0)
    own, other = (np.nanmean([getattr(outcome, word) for outcome in found]) for word in ("own", "other"))
    cells = [name, f"{precision:.2f} / {recall:.2f}", f"{own:.2f}", f"{other + 0.0:.2f}"]
    for values in ([outcome.circuits for outcome in found], [outcome.kinds for outcome in found]):
        cells.append(f"{min(values):.2g} to {max(values):.2g}")
    return f"| {' | '.join([*cells, f'{sum(outcome.splits for outcome in found)} of {seeds}'])} |"


def _scores(found: tuple[Circuit, Circuit], truths: Sequence[Circuit]) -> list[tuple[float, float]]:
    """Of each part precision and recall: of two truths it is held to one, whichever way round fits."""
    sought = list(truths) * (2 // len(truths))
    ways = [list(zip(order, sought, strict=True)) for order in permutations(found)]
    best = max(ways, key=lambda pairs: sum(len(kernels & truth) for kernels, truth in pairs))
    return [(len(kernels & truth) / max(len(kernels), 1), len(kernels & truth) / len(truth)) for kernels, truth in best]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=5, help="networks of each kind (default 5)")
    parser.add_argument("--criteria", nargs="+", choices=CRITERIA.declarations, default=list(CRITERIA.declarations))
    parser.add_argument("--refill", choices=("live", "none"), default="live", help="as in a spec (default live)")
    parser.add_argument("--split", action="store_true", help="split features into two parts")
    options = parser.parse_args()
    if options.split:
        print("| | precision / recall | r, own | r, others | p of the circuits | p of the kinds | splits |")
        print(f"|---|{'---|' * 6}")
        for name in SPLITS:
            print(split_row(name, options.seeds), flush=True)
        return
    there = grounds(options.seeds)
    print(f"| | {' | '.join(there)} |\n|---|{'---|' * len(there)}\n{sizes(there)}")
    for criterion in options.criteria:
        print(row(criterion, there, options.refill), flush=True)


if __name__ == "__main__":
    main()
