"""Tests of circuits against other networks that are cut out naively, in float64, one for each circuit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import comb

import pytest
import torch
from torch import Tensor, nn

from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.selection import count
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation.circuit_claim import BuiltClaim
from circuitlang.engine.evaluation.fidelity import responses
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.plan.clauses import Choice
from circuitlang.plugins.hypothesis_tests import TESTS, HypothesisOutcome
from tests.helpers.reference_circuits import naive_ablate, naive_refit
from tests.helpers.toy_networks import SIZE, Branches, Chain, Fixed, Residual, build, images, naive_trace

NETS = [(Chain, "conv2", 2), (Branches, "head", 4), (Residual, "head", 2)]


@dataclass
class Setting:
    """A circuit of a small network, and the network to cut others out of by hand."""

    module: nn.Module
    path: str
    unit: int
    x: Tensor
    builder: Builder
    claim: BuiltClaim
    mean: bool

    def error(self, masks) -> float:
        """The error of the circuit of these kernels, by a copy of the network without the others."""
        twin = naive_ablate(self.module, self.path, self.unit, self.x, masks, self.mean)
        return self.off(naive_trace(twin, self.path, self.unit, self.x)[0].detach())

    def off(self, circuit: Tensor) -> float:
        network = naive_trace(self.module, self.path, self.unit, self.x)[0].detach()
        return float((circuit - network).norm() / network.norm())

    def test(self, name: str, **parameters) -> HypothesisOutcome:
        return self.claim.test(Choice(name, parameters))


def setting(net=Chain, path="conv2", unit=2, budget=9, best=True, **settings) -> Setting:
    module, x = build(net), images()
    graph = trace(module, (SIZE, SIZE))
    part = TargetSubnetwork(graph, Target(graph.find(path), (unit,)))
    settings = {"refill": "live", **settings}
    builder = Builder(part, Fixed(x), **settings)
    sign = 1 if best else -1
    scores = {path: weight.abs().sum((-2, -1)) ** sign for path, weight in builder.weights.items()}
    masks = builder.select(scores, budget)
    edits = builder.build(masks)

    def run(_masks, edits):
        return responses(part, Fixed(x), "", edits)

    def halves(number):
        """Random circuits in place of those that are found on two halves."""
        weights = {path: weight.abs().sum((-2, -1)) for path, weight in builder.weights.items()}
        drawn = [{path: random_of(seed, weight) for path, weight in weights.items()} for seed in range(number)]
        return [(builder.select(scores, budget), masks) for scores in drawn]

    network, circuit = run(None, None), run(None, edits)
    claim = BuiltClaim(builder, masks, edits, network, circuit, run, halves, 3, "kernel")
    return Setting(module, path, unit, x, builder, claim, settings.get("ablation") == Choice("mean"))


def random_of(seed: int, like: Tensor) -> Tensor:
    return torch.rand(like.shape, generator=torch.Generator().manual_seed(seed)).double()


def without(setting: Setting, masks):
    return {path: relevant & ~masks[path] for path, relevant in setting.builder.relevant.items()}


@pytest.mark.parametrize(("net", "path", "unit"), NETS)
@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_sufficiency_and_necessity_count_naive_circuits(net, path, unit, ablation):
    case = setting(net, path, unit, ablation=Choice(ablation))
    drawn = list(case.claim.random_circuits(12))
    own = case.error(case.claim.masks)
    as_good = sum(case.error(masks) <= own for masks in drawn)
    outcome = case.test("sufficiency", circuits=12)
    assert (outcome.statistic, outcome.p) == (pytest.approx(as_good / 12), pytest.approx((as_good + 1) / 13))
    lost = case.error(without(case, case.claim.masks))
    as_bad = sum(case.error(without(case, masks)) >= lost for masks in drawn)
    outcome = case.test("necessity", circuits=12)
    assert (outcome.statistic, outcome.p) == (pytest.approx(as_bad / 12), pytest.approx((as_bad + 1) / 13))


def test_random_circuits_are_refitted_like_the_circuit():
    case = setting(calibrate="bias")
    for masks in case.claim.random_circuits(3):
        twin = naive_refit(case.module, case.path, case.unit, case.x, masks, "bias")
        naive = case.off(naive_trace(twin, case.path, case.unit, case.x)[0].detach())
        assert case.claim.built_error(masks) == pytest.approx(naive, rel=1e-9)


@pytest.mark.slow
def test_the_best_circuit_is_better_than_chance_and_the_worst_is_not():
    best, worst = (setting(budget=10, best=best).test("sufficiency", circuits=60).p for best in (True, False))
    assert best < 0.2 < 0.5 < worst


@pytest.mark.parametrize(
    ("net", "path", "unit", "ablation"),
    [
        (*NETS[0], "mean"),
        pytest.param(*NETS[1], "zero", marks=pytest.mark.slow),
        pytest.param(*NETS[2], "mean", marks=pytest.mark.slow),
    ],
)
def test_minimality_counts_naive_knock_outs(net, path, unit, ablation):
    case = setting(net, path, unit, ablation=Choice(ablation))
    generator = case.claim.generator(1)
    losses = []
    for _ in range(8):
        inflated, less = case.claim.inflated(generator)
        added = {path: mask & ~case.claim.masks[path] for path, mask in inflated.items()}
        removed = {path: mask & ~less[path] for path, mask in inflated.items()}
        assert all((mask <= added[path]).all() for path, mask in removed.items())
        assert count(removed) == 1
        assert all(not (mask & ~inflated[path]).any() for path, mask in case.claim.masks.items())
        losses.append(case.error(less) - case.error(inflated))
    own, p_values = case.error(case.claim.masks), []
    for path, mask in case.claim.masks.items():
        for o, i in mask.nonzero().tolist():
            other = {name: kept.clone() for name, kept in case.claim.masks.items()}
            other[path][o, i] = False
            exceeds = sum(case.error(other) - own > loss for loss in losses)
            exact = sum(comb(8, k) * Fraction(9, 10) ** k * Fraction(1, 10) ** (8 - k) for k in range(exceeds + 1))
            p_values.append(float(exact))
    size, largest, adjusted = len(p_values), 0.0, []
    for rank, p in enumerate(sorted(p_values)):
        largest = max(largest, min(1.0, p * (size - rank)))
        adjusted.append(largest)
    outcome = case.test("minimality", references=8, kernels=300, quantile=0.9)
    assert outcome.p == pytest.approx(min(adjusted), rel=1e-6)
    assert outcome.statistic == pytest.approx(sum(p <= 0.05 for p in adjusted) / size)


def test_a_refit_stays_where_kernels_are_added_and_removed():
    case = setting(calibrate="affine", ablation=Choice("mean"))
    claim = case.claim
    assert claim.changed_error(claim.masks) == claim.error(claim.circuit)
    inflated, less = claim.inflated(claim.generator(1))
    # Adding and removing the same kernels leads back.
    back = BuiltClaim(
        claim.builder,
        inflated,
        {path: claim.changed(path, edit, inflated[path]) for path, edit in claim.edits.items()},
        claim.network,
        claim.circuit,
        claim.run,
        claim.halves,
        3,
        "kernel",
    )
    assert back.changed_error(claim.masks) == pytest.approx(claim.changed_error(claim.masks), rel=1e-12)
    assert back.changed_error(less) == pytest.approx(claim.changed_error(less), rel=1e-12)


@pytest.mark.parametrize(
    ("budget", "parameters", "reason"),
    [
        (12, {"kernels": 11, "quantile": 0.9}, "12 kernels are more than the 11"),
        (12, {"kernels": 300, "quantile": 1.0}, "quantile"),
        (10_000, {"kernels": 10_000, "quantile": 0.9}, "no kernel outside"),
        (0, {"kernels": 300, "quantile": 0.9}, "empty"),
    ],
)
def test_minimality_says_why_it_is_left_out(budget, parameters, reason):
    outcome = setting(budget=budget).test("minimality", references=5, **parameters)
    assert outcome.statistic is outcome.p is None
    assert reason in outcome.verdict


def test_equivalence_is_a_sign_test_of_strongest_responses():
    case = setting()
    signs = (case.claim.circuit.amax(1) > case.claim.network.amax(1)).tolist()
    outcome = case.test("equivalence")
    assert outcome.statistic == sum(signs) / len(signs)
    whole = setting(budget=10_000).test("equivalence")
    assert whole.p == 1


def kernels_of(masks) -> set[tuple]:
    return {(path, *place) for path, mask in masks.items() for place in mask.nonzero().tolist()}


def test_stability_is_the_mean_overlap_of_circuits_of_two_halves():
    case = setting()
    pairs = [tuple(map(kernels_of, pair)) for pair in case.claim.found_on_halves(4)]
    assert len({frozenset(first) for first, _ in pairs}) > 1
    own, random = kernels_of(case.claim.masks), list(map(kernels_of, case.claim.random_circuits(20)))
    outcome = case.test("stability", halvings=4)
    assert outcome.statistic == pytest.approx(sum(len(a & b) / len(a | b) for a, b in pairs) / 4)
    assert outcome.p is None
    chance = sum(len(a & b) / len(a | b) for a, b in pairwise(random)) / 19
    always = own.intersection(*(circuit for pair in pairs for circuit in pair))
    assert 0 < len(always) < len(own)
    # Half of the circuits are the circuit itself.
    share = sum(sum(kernel in circuit for pair in pairs for circuit in pair) / 8 for kernel in own) / len(own)
    assert 0.5 < share < 1
    assert outcome.share == pytest.approx(share, rel=1e-12)
    says = f"kernels are on {share:.0%} of the halves, {len(always)} of {len(own)} on all"
    assert outcome.verdict == f"{says}; chance {chance:.2f}"


def test_one_image_has_no_halves():
    case = setting()
    outcome = replace(case, claim=replace(case.claim, halves=lambda _number: [])).test("stability", halvings=4)
    assert outcome == HypothesisOutcome(verdict="left out: one image can't be halved")


@pytest.mark.parametrize("name", TESTS.declarations)
def test_every_test_is_seeded(name):
    parameters = {
        parameter.name: 8 if parameter.name in ("circuits", "references") else parameter.default
        for parameter in TESTS.declarations[name].parameters
    }
    case = setting()
    again = replace(case, claim=replace(case.claim, drawn=[]))
    first, second = (one.test(name, **parameters) for one in (case, again))
    assert first == second
    assert first.statistic is not None


def test_random_circuits_differ_and_the_first_are_those_of_every_test():
    case = setting(budget=10)
    drawn = [str(masks) for masks in case.claim.random_circuits(20)]
    assert len(set(drawn)) > 10
    assert drawn[:5] == [str(masks) for masks in case.claim.random_circuits(5)]
    other = replace(case.claim, seed=case.claim.seed + 1, drawn=[])
    assert drawn[:5] != [str(masks) for masks in other.random_circuits(5)]
