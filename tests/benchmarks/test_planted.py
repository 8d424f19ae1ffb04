"""The planted circuits are what they are said to be, by plain PyTorch, and the criteria find those that they must."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks.planted import find, grounds, named, row, sizes, subnetwork, tables
from benchmarks.planted_claims import CLAIMS, Still, judge, masks_of
from benchmarks.planted_networks import (
    SCENARIOS,
    Planted,
    cancelling,
    distractors,
    either,
    feature,
    half,
    redundant,
    residual,
    shared,
    shared_half,
    superposed,
)
from benchmarks.planted_sketch import GREEN, RED, SIDE, UNIT, Circuit, Sketch, correlation, pictures, response
from circuitlang.engine.circuits.builder import Builder
from circuitlang.plan.clauses import PRESERVE
from circuitlang.plugins.protocols import CRITERIA

PAGE = Path(__file__).resolve().parents[2] / "docs" / "planted.md"

# The criterion of a spec that names none.
DEFAULT = PRESERVE["criterion"].extension
SEEDS = range(5)
CASES = [pytest.param(build, seed, id=f"{name}-{seed}") for name, build in SCENARIOS.items() for seed in SEEDS]
planted_cases = pytest.mark.parametrize(("build", "seed"), CASES)


def layers(module: nn.Module) -> list[str]:
    """The names of the layers whose kernels are planted or not."""
    return [name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)]


def every(module: nn.Module) -> Circuit:
    """All kernels of a network that aren't zero."""
    return frozenset(
        (layer, o, i)
        for layer in layers(module)
        for o, i in module.get_submodule(layer).weight.flatten(2).any(-1).nonzero().tolist()
    )


def is_preserved(original: Tensor, found: Tensor, scale: int) -> bool:
    """Whether they are the same, to the last bit, up to the scale and a constant."""
    return float((original - scale * found).std()) == 0


@planted_cases
def test_a_planted_circuit_alone_makes_the_feature_exactly(build, seed):
    planted = build(seed)
    for x in (planted.train, planted.test):
        original = response(planted.module, every(planted.module), x)
        assert float(original.std()) > 0
        for truth in planted.truths:
            assert is_preserved(original, response(planted.module, truth, x), planted.scale)


@planted_cases
def test_no_kernel_of_a_planted_circuit_can_be_spared(build, seed):
    planted = build(seed)
    original = response(planted.module, every(planted.module), planted.train)
    for truth in planted.truths:
        for kernel in truth:
            lacking = response(planted.module, truth - {kernel}, planted.train)
            assert abs(correlation(original, lacking)) < 0.99, kernel


@planted_cases
def test_most_kernels_are_not_planted_and_larger_and_on_a_path_all_the_same(build, seed):
    planted = build(seed)
    relevant = named(subnetwork(planted).relevant)
    sought = frozenset().union(*planted.truths)
    assert sought <= relevant
    idle = (relevant & every(planted.module)) - sought
    assert len(idle) > 4 * len(sought)

    def size(kernels: Circuit) -> float:
        weights = [planted.module.get_submodule(layer).weight[o, i].abs().mean() for layer, o, i in kernels]
        return float(torch.stack(weights).mean())

    assert size(idle) > size(sought)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_cancels_out_matters_one_by_one(seed):
    plain, planted = distractors(seed), cancelling(seed)
    original = response(planted.module, every(planted.module), planted.train)
    assert is_preserved(response(plain.module, every(plain.module), plain.train), original, 1)
    spoilt = [
        kernel
        for kernel in every(planted.module) - planted.truths[0]
        if abs(correlation(original, response(planted.module, every(planted.module) - {kernel}, planted.train))) < 0.99
    ]
    assert len(spoilt) >= 4


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("whole", "part"), [(either, half), (shared, shared_half)])
def test_the_other_half_does_nothing_on_the_pictures_of_one(whole, part, seed):
    both, one = whole(seed), part(seed)
    assert torch.equal(both.module.detect.weight, one.module.detect.weight)
    other = both.truths[0] - one.truths[0]
    assert len(other) == len(one.truths[0])
    alone = response(both.module, other, one.train)
    assert float(alone.std()) == 0
    assert float(response(both.module, other, both.train).std()) > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_redundant_path_is_one_of_two(seed):
    planted = redundant(seed)
    assert len(set(planted.truths)) == 4
    assert len(frozenset.intersection(*planted.truths)) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_sub_features_share_a_detector(seed):
    both, one = shared(seed).truths[0], shared_half(seed).truths[0]
    assert one < both
    detectors = [{i for layer, _, i in circuit if layer == "combine"} for circuit in (one, both - one)]
    (common,) = detectors[0] & detectors[1]
    assert {i for layer, o, i in both if (layer, o) == ("detect", common)} == {RED, GREEN}


@pytest.mark.parametrize("seed", SEEDS)
def test_no_channel_has_a_superposed_line_alone_and_another_feature_reads_the_same_channels(seed):
    planted = superposed(seed)
    module, truth = planted.module, planted.truths[0]
    x = torch.relu(module.detect(planted.train))
    # None is ever rectified: all that is in a channel is a sum.
    distributed = [o for name, o, _ in truth if name == "detect"]
    assert torch.equal(module.detect(planted.train)[:, distributed], x[:, distributed])
    for o in {o for name, o, _ in truth if name == "combine"}:
        read = [i for name, out, i in truth if (name, out) == ("combine", o)]
        assert len(read) == 4
        others = set(module.combine.weight[:, read].flatten(2).any(-1).all(1).nonzero().flatten().tolist()) - {o}
        assert any(bool(module.decide.weight[1 - UNIT, other].any()) for other in others)


@pytest.mark.parametrize("seed", SEEDS)
def test_residual_networks_have_norms_of_their_own_and_a_path_past_the_block(seed):
    planted = residual(seed)
    norms = [layer for layer in planted.module.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert [len(set(norm.running_var.tolist())) > 1 for norm in norms] == [True, True]
    written = {o for layer, o, _ in planted.truths[0] if layer == "write"}
    read = {i for layer, _, i in planted.truths[0] if layer == "decide"}
    assert written < read


def test_a_truth_that_is_not_one_is_noticed():
    planted = distractors(0)
    everything = every(planted.module)
    original = response(planted.module, everything, planted.train)
    kernel = next(iter(planted.truths[0]))
    assert not is_preserved(original, response(planted.module, everything - {kernel}, planted.train), 1)


def test_numbers_are_whole_so_that_sums_are_exact():
    planted: Planted = cancelling(0)
    for tensor in (planted.train, planted.test, *planted.module.parameters()):
        assert tensor.dtype == torch.float64
        assert torch.equal(tensor, tensor.round())


def test_pictures_follow_from_the_seed_and_have_the_colours():
    x = pictures(3, 1, (RED,))
    assert x.shape == (3, 3, SIDE, SIDE)
    assert torch.equal(x, pictures(3, 1, (RED,)))
    assert not torch.equal(x, pictures(3, 2, (RED,)))
    assert x[:, RED].any()
    assert not x[:, GREEN].any()


def test_the_same_seed_plants_the_same_weights_again():
    sketch = Sketch(0)
    one, other = (feature(sketch, (0, 90), {RED: 1}, [(0, 1)], 3) for _ in range(2))
    assert not one & other
    x = pictures(2, 0)
    module, called = sketch.module()
    assert torch.equal(response(module, called(one), x), response(module, called(other), x))


@pytest.mark.slow
@pytest.mark.parametrize("build", [distractors, half])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_default_criterion_finds_the_circuit(build, seed):
    planted = build(seed)
    found = find(subnetwork(planted), planted, DEFAULT, seed)
    assert found.kernels == planted.truths[0]
    assert (found.precision, found.recall) == (1, 1)
    assert found.pearson == pytest.approx(1)


@pytest.mark.parametrize("name", [name for name in CLAIMS if name not in ("true", "random")])
def test_false_claims_have_the_size_that_they_are_named_for(name):
    planted = distractors(0)
    part = subnetwork(planted)
    builder = Builder(part, Still(planted.train), refill="live")
    truth = masks_of(builder, planted.truths[0])
    false = named(CLAIMS[name](builder, truth, torch.Generator().manual_seed(0)))
    right, size = planted.truths[0], len(planted.truths[0])
    share = {"10%": 1, "25%": 3, "50%": 6, "twice": 12}[name.split()[0]]
    wanted = {"swapped": (size - share, size), "missing": (size - share,) * 2, "large": (size, size + share)}
    assert (len(false & right), len(false)) == wanted[name.split()[-1]]
    # What is swapped or added does nothing.
    whole = response(planted.module, right & false, planted.test)
    assert is_preserved(whole, response(planted.module, false, planted.test), 1)


@pytest.mark.slow
def test_tests_pass_the_true_circuit_and_refute_false_ones():
    planted = distractors(0)
    part = subnetwork(planted)
    true = judge(part, planted, CLAIMS["true"], 0, "snip", ["equivalence", "minimality", "sufficiency"])
    assert [true.refuted(test) for test in true.outcomes] == [False, False, False]
    larger = judge(part, planted, CLAIMS["10% too large"], 0, "snip", ["equivalence", "minimality", "sufficiency"])
    assert [larger.refuted(test) for test in larger.outcomes] == [False, True, False]
    swapped = judge(part, planted, CLAIMS["50% swapped"], 0, "snip", ["equivalence", "sufficiency"])
    assert [swapped.refuted(test) for test in swapped.outcomes] == [True, True]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.slow
def test_the_page_has_every_criterion_and_the_numbers_of_the_default():
    """The default is measured on one structure of each table; the leaderboard has it on all."""
    _, printed = PAGE.read_text(encoding="utf-8").split("`python benchmarks/planted.py`\n\n")
    for there, text in zip(tables(grounds(5)), printed.split("\n\n")[:2], strict=True):
        title, _, counted, *rows = (cells(line) for line in text.split("\n"))
        assert title[1:] == list(there)
        assert counted == cells(sizes(there))
        shown = {name: numbers for name, *numbers in rows}
        assert shown.keys() == set(CRITERIA.declarations)
        first = next(iter(there))
        _, measured = cells(row(DEFAULT, {first: there[first]}))
        numbers = [[float(number) for number in cell.split("/")] for cell in (shown[DEFAULT][0], measured)]
        assert numbers[0] == pytest.approx(numbers[1], abs=0.02)
