"""The planted circuits are what they are said to be, by plain PyTorch, and the criteria find those that they must."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks.planted import (
    GREEN,
    LAYERS,
    RED,
    SCENARIOS,
    SIDE,
    UNIT,
    Circuit,
    Planted,
    Sketch,
    cancelling,
    distractors,
    either,
    feature,
    find,
    grounds,
    half,
    named,
    pictures,
    redundant,
    row,
    sizes,
    subnetwork,
)
from circuitlang.plan.clauses import PRESERVE
from circuitlang.plugins.protocols import CRITERIA

PAGE = Path(__file__).resolve().parents[2] / "docs" / "planted.md"

# The criterion of a spec that names none.
DEFAULT = PRESERVE["criterion"].extension
SEEDS = range(5)
CASES = [pytest.param(build, seed, id=f"{name}-{seed}") for name, build in SCENARIOS.items() for seed in SEEDS]
planted_cases = pytest.mark.parametrize(("build", "seed"), CASES)


def every(module: nn.Module) -> Circuit:
    """All kernels of a network that aren't zero."""
    return frozenset(
        (layer, o, i)
        for layer in LAYERS
        for o, i in module.get_submodule(layer).weight.flatten(2).any(-1).nonzero().tolist()
    )


def response(module: nn.Module, kernels: Circuit, x: Tensor) -> Tensor:
    """The feature's map where only these kernels are left."""
    twin = copy.deepcopy(module)
    for layer in LAYERS:
        weight = twin.get_submodule(layer).weight
        kept = torch.zeros(weight.shape[:2])
        for path, o, i in kernels:
            if path == layer:
                kept[o, i] = 1
        weight.data *= kept[:, :, None, None]
    with torch.no_grad():
        return twin(x)[:, UNIT]


def is_preserved(original: Tensor, found: Tensor, scale: int) -> bool:
    """Whether they are the same, to the last bit, up to the scale and a constant."""
    return float((original - scale * found).std()) == 0


def correlation(one: Tensor, other: Tensor) -> float:
    one, other = one - one.mean(), other - other.mean()
    size = float(one.norm() * other.norm())
    return float((one * other).sum()) / size if size else 0.0


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
def test_the_other_half_does_nothing_on_the_pictures_of_one(seed):
    both, one = either(seed), half(seed)
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


@pytest.mark.parametrize("build", [distractors, half])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_default_criterion_finds_the_circuit(build, seed):
    planted = build(seed)
    found = find(subnetwork(planted), planted, DEFAULT, seed)
    assert found.kernels == planted.truths[0]
    assert (found.precision, found.recall) == (1, 1)
    assert found.pearson == pytest.approx(1)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.slow
def test_the_page_has_every_criterion_and_the_numbers_of_the_default():
    _, printed = PAGE.read_text(encoding="utf-8").split("`python benchmarks/planted.py`\n\n")
    title, _, counted, *rows = (cells(line) for line in printed.split("\n\n")[0].split("\n"))
    there = grounds(5)
    assert title[1:] == list(SCENARIOS)
    assert counted == cells(sizes(there))
    shown = {name: numbers for name, *numbers in rows}
    assert shown.keys() == set(CRITERIA.declarations)
    _, *found = cells(row(DEFAULT, there))
    for one, other in zip(shown[DEFAULT], found, strict=True):
        numbers = [[float(number) for number in cell.split("/")] for cell in (one, other)]
        assert numbers[0] == pytest.approx(numbers[1], abs=0.02)
