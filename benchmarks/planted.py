"""How well each criterion finds circuits that are known: `python benchmarks/planted.py`.

The networks are built, not trained: a few kernels make the feature, all others provably don't matter to it, though
many are larger, and what they read and feed is busy. All weights and pixels are whole numbers and sums are exact, so
that nil is nil. Pictures are bars, drawn by the seed.

Every criterion gets as many kernels as the planted circuit has. Printed as a Markdown table are, for each kind of
network, precision / recall / Pearson's r on pictures that kernels weren't scored on: means over the seeds.

With `--tests` the planted circuit and false ones are tested instead, and the table has the share of networks in which
a test refutes the circuit; the criterion, `taylor` or the one that is named, is for stability alone. With `--split`
features are split into two parts instead: those that are two, and those that are one.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, permutations
from typing import Literal

import numpy as np
import torch

from benchmarks.planted_claims import Grounds, Still, claims_tables
from benchmarks.planted_networks import SCENARIOS, Planted, distractors, either, half, halves_of_or
from benchmarks.planted_sketch import SIDE, UNIT, Circuit
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

Refill = Literal["live", "none"]
# Columns of a table.
WIDTH = 6


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
    return halves_of_or(seed)[1:]


# Features that are split: the networks, the circuits that are to be found, and how many kernels each part gets.
Sought = Callable[[int, Planted], tuple[Sequence[Circuit], int]]
SPLITS: Mapping[str, tuple[Callable[[int], Planted], Sought]] = {
    "OR": (either, lambda seed, _: (_halves(seed), len(_halves(seed)[0]))),
    "OR, half the images": (half, lambda _, planted: (planted.truths, len(planted.truths[0]))),
    "distractors": (distractors, lambda _, planted: (planted.truths, len(planted.truths[0]))),
    "distractors, half the kernels": (distractors, lambda _, planted: (planted.truths, len(planted.truths[0]) // 2)),
}


def grounds(seeds: int, scenarios: Sequence[str] = tuple(SCENARIOS)) -> Grounds:
    """The networks of each scenario, one for each seed."""
    planted = {name: [SCENARIOS[name](seed) for seed in range(seeds)] for name in scenarios}
    return {name: [(network, subnetwork(network)) for network in some] for name, some in planted.items()}


def tables(grounds: Grounds) -> list[Grounds]:
    """The scenarios of each table, at most six."""
    return [dict(islice(grounds.items(), first, first + WIDTH)) for first in range(0, len(grounds), WIDTH)]


def sizes(grounds: Grounds) -> str:
    """Of each scenario how many kernels are planted and how many are relevant, as a row of a Markdown table."""
    first = [some[0] for some in grounds.values()]
    cells = (f"{len(planted.truths[0])} of {count(part.relevant)}" for planted, part in first)
    return f"| kernels | {' | '.join(cells)} |"


def means(criterion: str, some: Sequence[tuple[Planted, TargetSubnetwork]], refill: Refill = "live") -> list[float]:
    """Precision, recall and Pearson's r of a criterion in networks of one scenario: means over the seeds."""
    found = [find(part, planted, criterion, seed, refill) for seed, (planted, part) in enumerate(some)]
    averages = np.mean([(outcome.precision, outcome.recall, outcome.pearson) for outcome in found], axis=0)
    return [float(average) for average in averages]


def row(criterion: str, grounds: Grounds, refill: Refill = "live") -> str:
    """Of each scenario the means over the seeds, as a row of a Markdown table."""
    cells = [criterion]
    for some in grounds.values():
        # No minus before nothing.
        cells.append(" / ".join(f"{round(mean, 2) + 0.0:.2f}" for mean in means(criterion, some, refill)))
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
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), help="kinds of networks")
    parser.add_argument("--tests", action="store_true", help="test the planted circuit and false ones")
    parser.add_argument("--split", action="store_true", help="split features into two parts")
    options = parser.parse_args()
    if options.split:
        print("| | precision / recall | r, own | r, others | p of the circuits | p of the kinds | splits |")
        print(f"|---|{'---|' * 6}")
        for name in SPLITS:
            print(split_row(name, options.seeds), flush=True)
        return
    there = grounds(options.seeds, options.scenarios)
    if options.tests:
        print(claims_tables(there, options.criteria[0] if len(options.criteria) == 1 else "taylor"))
        return
    for number, part in enumerate(tables(there)):
        print("\n" * bool(number) + f"| | {' | '.join(part)} |\n|---|{'---|' * len(part)}\n{sizes(part)}")
        for criterion in options.criteria:
            print(row(criterion, part, options.refill), flush=True)


if __name__ == "__main__":
    main()
