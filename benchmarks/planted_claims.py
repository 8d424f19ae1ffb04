"""Which tests refute a wrong circuit: true and false claims about planted circuits, by `benchmarks/planted.py --tests`.

The true circuit is known, so that a test can be wrong in two ways: it refutes the true circuit, or it passes a false
one. Every false circuit is made of the true one, and has as many kernels of every layer where its size is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from benchmarks.planted_networks import Planted
from benchmarks.planted_sketch import Circuit
from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.random_circuits import random_circuit, with_weight
from circuitlang.engine.circuits.selection import count
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation.circuit_claim import BuiltClaim
from circuitlang.engine.evaluation.fidelity import responses
from circuitlang.engine.evaluation.significance import LEVEL
from circuitlang.plan.model import Choice
from circuitlang.plugins.hypothesis_tests import TESTS, HypothesisOutcome
from circuitlang.plugins.protocols import Batches, Edits, Masks

# The networks of each scenario, one for each seed.
Grounds = Mapping[str, Sequence[tuple[Planted, TargetSubnetwork]]]

# Stability has no p: a circuit is unstable where two halves of the images have less than this of it in common.
STABLE = 0.5

Falsify = Callable[[Builder, Masks, Generator], Masks]


@dataclass(frozen=True)
class Still:
    """Images that are there already."""

    images: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, _label: str) -> Iterator[Tensor]:
        return iter(torch.split(self.images, 16))


def masks_of(builder: Builder, circuit: Circuit) -> Masks:
    """The masks [out, in / groups] of a circuit, by layer."""
    masks = {path: torch.zeros_like(mask) for path, mask in builder.relevant.items()}
    for path, o, i in circuit:
        masks[path][o, i] = True
    return masks


def _drawn(mask: Tensor, number: int, generator: Generator) -> Tensor:
    """So many entries of a mask, at random, as a mask; all of them if there are fewer."""
    places = mask.nonzero()
    chosen = places[torch.randperm(len(places), generator=generator)[:number]]
    drawn = torch.zeros_like(mask)
    drawn[tuple(chosen.T)] = True
    return drawn


def _of_all(masks: Masks, number: int, generator: Generator) -> Masks:
    """So many kernels of all layers together, at random."""
    flat = torch.cat([mask.flatten() for mask in masks.values()])
    parts = _drawn(flat, number, generator).split([mask.numel() for mask in masks.values()])
    return {path: part.reshape(mask.shape) for (path, mask), part in zip(masks.items(), parts, strict=True)}


def swapped(share: float) -> Falsify:
    """A share of the kernels, at least one, is swapped for others of the same layer that don't matter."""

    def falsify(builder: Builder, masks: Masks, generator: Generator) -> Masks:
        removed = _of_all(masks, max(1, round(share * count(masks))), generator)
        idle = with_weight(builder)
        return {
            path: mask & ~removed[path] | _drawn(idle[path] & ~mask, int(removed[path].sum()), generator)
            for path, mask in masks.items()
        }

    return falsify


def smaller(share: float) -> Falsify:
    """A share of the kernels, at least one, is missing."""

    def falsify(_builder: Builder, masks: Masks, generator: Generator) -> Masks:
        removed = _of_all(masks, max(1, round(share * count(masks))), generator)
        return {path: mask & ~removed[path] for path, mask in masks.items()}

    return falsify


def larger(share: float) -> Falsify:
    """Kernels that don't matter are added, so many that the circuit is larger by a share."""

    def falsify(builder: Builder, masks: Masks, generator: Generator) -> Masks:
        idle = {path: mask & ~masks[path] for path, mask in with_weight(builder).items()}
        added = _of_all(idle, max(1, round(share * count(masks))), generator)
        return {path: mask | added[path] for path, mask in masks.items()}

    return falsify


CLAIMS: Mapping[str, Falsify] = {
    "true": lambda _builder, masks, _generator: masks,
    "10% swapped": swapped(0.1),
    "25% swapped": swapped(0.25),
    "50% swapped": swapped(0.5),
    "10% missing": smaller(0.1),
    "50% missing": smaller(0.5),
    "10% too large": larger(0.1),
    "50% too large": larger(0.5),
    "twice as large": larger(1),
    "random": random_circuit,
}


@dataclass(frozen=True)
class Judged:
    """The outcomes of tests of a claim, by test."""

    outcomes: Mapping[str, HypothesisOutcome]

    def refuted(self, test: str) -> bool:
        """Whether a test speaks against the circuit.

        Where a small p supports the claim, that is a p above the level; where it refutes it, a p up to the level.
        """
        outcome = self.outcomes[test]
        if outcome.p is None:
            return (outcome.statistic or 0) < STABLE
        return (outcome.p > LEVEL) == (TESTS.load(test).better == "lower")


def judge(
    part: TargetSubnetwork, planted: Planted, falsify: Falsify, seed: int, criterion: str, tests: Sequence[str]
) -> Judged:
    """Test a claim about a planted circuit, on the images that are held out."""
    train, held_out = Still(planted.train), Still(planted.test)
    builder = Builder(part, train, refill="live")
    truth = masks_of(builder, planted.truths[0])
    masks = falsify(builder, truth, Generator().manual_seed(seed))
    edits, size = builder.build(masks), count(masks)

    def run(_masks: Masks, edits: Edits) -> Tensor:
        return responses(part, held_out, "", edits)

    def halves(number: int) -> list[tuple[Masks, Masks]]:
        return [_on_halves(part, planted.train, criterion, size, own) for own in range(number)]

    own = responses(part, held_out, ""), run(masks, edits)
    claim = BuiltClaim(builder, masks, edits, *own, run, halves, seed, "kernel")
    return Judged({name: claim.test(Choice(name)) for name in tests})


def _on_halves(part: TargetSubnetwork, images: Tensor, criterion: str, size: int, seed: int) -> tuple[Masks, Masks]:
    order = torch.randperm(len(images), generator=Generator().manual_seed(seed))
    first, second = (_found(part, Still(images[half]), criterion, size, seed) for half in order.chunk(2))
    return first, second


def _found(part: TargetSubnetwork, images: Batches, criterion: str, size: int, seed: int) -> Masks:
    builder = Builder(part, images, refill="live")
    return builder.select(score(builder, criterion, {}, size, seed), size)


def refuted(grounds: Grounds, criterion: str, tests: Sequence[str]) -> dict[tuple[str, str], list[float]]:
    """The share of networks in which each test refutes a claim, by scenario and claim."""
    shares: dict[tuple[str, str], list[float]] = {}
    for scenario, some in grounds.items():
        for claim, falsify in CLAIMS.items():
            judged = [judge(part, net, falsify, seed, criterion, tests) for seed, (net, part) in enumerate(some)]
            shares[scenario, claim] = [sum(map(_refuting(test), judged)) / len(judged) for test in tests]
    return shares


def by_claim(shares: Mapping[tuple[str, str], list[float]]) -> dict[str, NDArray[np.float64]]:
    """The means over all scenarios of the shares that `refuted` returns, by claim."""
    scenarios = {scenario: None for scenario, _ in shares}
    return {claim: np.mean([shares[scenario, claim] for scenario in scenarios], axis=0) for claim in CLAIMS}


def claims_tables(grounds: Grounds, criterion: str) -> str:
    """Two Markdown tables of the share of circuits that tests refute: by claim, and the true ones by network."""
    tests = list(TESTS.declarations)
    shares = refuted(grounds, criterion, tests)
    true = {scenario: np.array(shares[scenario, "true"]) for scenario in grounds}
    tables = _table("the circuit is", by_claim(shares), tests), _table("true circuits of", true, tests)
    return "\n".join((*tables[0], "", *tables[1]))


def _refuting(test: str) -> Callable[[Judged], bool]:
    return lambda judged: judged.refuted(test)


def _table(title: str, rows: Mapping[str, NDArray[np.float64]], tests: Sequence[str]) -> Iterator[str]:
    yield f"| {title} | {' | '.join(tests)} |"
    yield f"|---|{'---|' * len(tests)}"
    for name, row in rows.items():
        yield f"| {name} | {' | '.join(f'{share:.0%}' for share in row.tolist())} |"
