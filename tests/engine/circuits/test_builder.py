"""Circuits built from masks: what stands in for removed kernels, how kept ones are refitted, dead ones replaced."""

import pytest
import torch
from torch import Tensor, nn

from circuitlang.engine.circuits import builder as building
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.selection import best, count, ranks, refill, select
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.plan.model import Choice
from circuitlang.plugins.protocols import ABLATIONS
from tests.helpers.reference_circuits import naive_ablate, naive_refit
from tests.helpers.toy_networks import (
    CASES,
    IDS,
    SIZE,
    Branches,
    Chain,
    Fixed,
    Groups,
    Residual,
    build,
    images,
    layers,
    naive_trace,
)


def subnetwork(module: nn.Module, path: str, *units: int) -> TargetSubnetwork:
    graph = trace(module, (SIZE, SIZE))
    return TargetSubnetwork(graph, Target(graph.find(path), units))


def random_masks(part: TargetSubnetwork, share: float = 0.5, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {path: (torch.rand(mask.shape, generator=generator) < share) & mask for path, mask in part.relevant.items()}


def run(module: nn.Module, path: str, unit: int, x: Tensor) -> Tensor:
    return naive_trace(module, path, unit, x)[0].detach()


@pytest.mark.parametrize(("net", "path", "unit"), CASES, ids=IDS)
def test_mean_ablation_puts_the_mean_of_each_removed_kernel_in_its_place(net, path, unit):
    module, x = build(net), images()
    part = subnetwork(module, path, unit)
    masks = random_masks(part)
    twin = naive_ablate(module, path, unit, x, masks)
    builder = Builder(part, Fixed(x), Choice("mean"))
    with part.edited(builder.build(masks)):
        found = part.feature(x)
    torch.testing.assert_close(found, run(twin, path, unit, x).reshape(found.shape), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ABLATIONS.declarations)
@pytest.mark.parametrize(("net", "path", "unit"), CASES[::3])
def test_no_ablation_changes_a_network_of_which_nothing_is_removed(net, path, unit, name):
    part, x = subnetwork(build(net), path, unit), images()
    whole = part.feature(x)
    with part.edited(Builder(part, Fixed(x), Choice(name)).build(part.relevant)):
        torch.testing.assert_close(part.feature(x), whole)


@pytest.mark.parametrize("how", ["bias", "affine", "kernels"])
@pytest.mark.parametrize(
    ("net", "path", "unit"), [(Chain, "fc2", 0), (Branches, "head", 4), (Residual, "head", 2), (Groups, "point", 2)]
)
def test_refits_are_the_least_squares_they_say(net, path, unit, how):
    module, x = build(net), images(6)
    part = subnetwork(module, path, unit)
    masks = random_masks(part, 0.6, 2)
    edits = Builder(part, Fixed(x, 4), calibrate=how).build(masks)
    expected = naive_refit(module, path, unit, x, masks, how)
    for name, edit in edits.items():
        layer = layers(module)[name]
        gain = edit.gain.reshape(*edit.gain.shape, *[1] * (layer.weight.dim() - 2))
        rows = [unit] if name == path else list(range(len(layer.weight)))
        fitted = layers(expected)[name].weight
        torch.testing.assert_close((layer.weight * gain)[rows], fitted[rows], rtol=1e-4, atol=1e-6)
        assert not edit.gain[~masks[name]].any()
    with part.edited(edits):
        found = part.feature(x)
    torch.testing.assert_close(found, run(expected, path, unit, x).reshape(found.shape), rtol=1e-4, atol=1e-6)


def test_refits_leave_the_subnetwork_as_it_was_and_see_a_sample_of_many_images(monkeypatch):
    part, x = subnetwork(build(Chain), "fc2", 0), images(9)
    whole = part.feature(x)
    monkeypatch.setattr(building, "REFITTED", 4)
    builder = Builder(part, Fixed(x, 2), calibrate="kernels")
    edits = builder.build(random_masks(part))
    torch.testing.assert_close(part.feature(x), whole, rtol=0, atol=0)
    same = Builder(part, Fixed(x[[0, 3, 6]]), calibrate="kernels").build(random_masks(part))
    for name, edit in edits.items():
        torch.testing.assert_close(edit.gain, same[name].gain)


def random_scores(part: TargetSubnetwork, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        path: torch.rand(mask.shape, generator=generator).double().pow(3) * mask for path, mask in part.relevant.items()
    }


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("net", "path", "unit"), CASES, ids=IDS)
def test_with_live_refill_every_kept_kernel_is_on_a_path(net, path, unit, seed):
    part = subnetwork(build(net), path, unit)
    scores = random_scores(part, seed)
    total = count(part.relevant)
    builder = Builder(part, Fixed(images(1)), refill="live")
    depth = shortest(part)
    for budget in sorted({1, 3, 5, max(total // 4, 1), max(total // 2, 1), total}):
        masks = builder.select(scores, budget)
        plain = select(scores, part.relevant, budget)
        if budget < depth:
            assert all(torch.equal(masks[name], plain[name]) for name in masks)
            continue
        assert 0 < count(masks) == count(part.connected(masks)) <= budget
        if count(masks) < min(budget, total):
            # Where channels have a single kernel each, no kernel may be able to join without another.
            others = {name: mask & ~masks[name] for name, mask in part.would_be_connected(masks).items()}
            assert not count(others)
        # What plain selection keeps alive is kept.
        assert all(bool((masks[name] | ~alive).all()) for name, alive in part.connected(plain).items())


@pytest.mark.parametrize("structure", ["kernel", "weight"])
@pytest.mark.parametrize(("net", "path", "unit"), CASES, ids=IDS)
def test_since_when_a_kernel_is_on_a_path(net, path, unit, structure):
    part = subnetwork(build(net), path, unit)
    builder = Builder(part, Fixed(images(1)), structure=structure)
    generator = torch.Generator().manual_seed(0)
    scores = {name: torch.rand(mask.shape, generator=generator) * mask for name, mask in builder.relevant.items()}
    places = ranks(scores, builder.relevant).of
    since = builder.activation_rank(places)
    total = count(builder.relevant)
    for many in {0, 1, total // 8, total // 4, total // 2, total - 1, total}:
        among = builder.connected(best(places, many))
        assert all(torch.equal(among[name], found) for name, found in best(since, many).items())


@pytest.mark.parametrize("structure", ["kernel", "weight"])
@pytest.mark.parametrize(("net", "path", "unit"), CASES, ids=IDS)
def test_a_selection_does_not_depend_on_how_many_kernels_are_ranked(net, path, unit, structure):
    part = subnetwork(build(net), path, unit)
    builder = Builder(part, Fixed(images(1)), structure=structure, refill="live")
    total = count(builder.relevant)
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        # Few different values, some of them nil: there are ties and kernels that are never kept.
        scores = {
            name: torch.randint(0, 9, mask.shape, generator=generator) * mask / 8
            for name, mask in builder.relevant.items()
        }
        every = ranks(scores, builder.relevant)
        for many in {1, 2, total // 50 + 1, total // 20 + 1, total // 8, total // 3, total - 1}:
            wanted = refill(scores, builder.relevant, lambda _, every=every: every, many, builder)
            made = builder.select(scores, many)
            assert all(torch.equal(made[name], mask) for name, mask in wanted.items())


@pytest.mark.parametrize(("net", "path", "unit"), CASES, ids=IDS)
def test_within_a_circuit_the_best_of_its_kernels_are_kept_and_no_others(net, path, unit):
    part = subnetwork(build(net), path, unit)
    generator = torch.Generator().manual_seed(0)

    def drawn() -> dict[str, torch.Tensor]:
        return {name: torch.rand(mask.shape, generator=generator) * mask for name, mask in part.relevant.items()}

    whole = Builder(part, Fixed(images(1)), refill="live")
    outer = whole.select(drawn(), max(count(whole.relevant) // 2, 1))
    scores, budget = drawn(), max(count(outer) // 3, 1)
    inside = [
        (float(scores[name][o, i]), name, o, i) for name, mask in outer.items() for o, i in mask.nonzero().tolist()
    ]
    plain = Builder(part, Fixed(images(1)), within=outer).select(scores, budget)
    kept = {(name, o, i) for name, mask in plain.items() for o, i in mask.nonzero().tolist()}
    assert kept == {(name, o, i) for _, name, o, i in sorted(inside, reverse=True)[:budget]}
    live = Builder(part, Fixed(images(1)), refill="live", within=outer)
    masks = live.select(scores, budget)
    assert 0 < count(masks) <= budget
    assert all(bool((outer[name] | ~mask).all()) for name, mask in masks.items())
    # Where a single path takes more than the budget, the plain selection is returned.
    same = all(torch.equal(mask, plain[name]) for name, mask in masks.items())
    assert same or count(part.connected(masks)) == count(masks)


def shortest(part: TargetSubnetwork) -> int:
    """The fewest kernels that join the image to the target: by trying, kernel by kernel, what can be left out."""
    best = 10**9
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        masks = {name: mask.clone() for name, mask in part.relevant.items()}
        places = [(name, *place) for name, mask in masks.items() for place in mask.nonzero().tolist()]
        for number in torch.randperm(len(places), generator=generator).tolist():
            name, o, i = places[number]
            if masks[name][o, i]:
                without = {**masks, name: masks[name].clone()}
                without[name][o, i] = False
                alive = part.connected(without)
                masks = alive if count(alive) else masks
        best = min(best, count(masks))
    return best


@pytest.mark.parametrize("how", ["affine", "kernels"])
def test_what_puts_out_the_same_everywhere_is_not_refitted_to_its_rounding(how):
    torch.manual_seed(0)
    # Without the stem's kernels its maps are constant, but for the rounding of the averages.
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.Conv2d(4, 2, 1)).eval()
    x = torch.randn(12, 3, SIZE, SIZE)
    graph = trace(net, (SIZE, SIZE))
    part = TargetSubnetwork(graph, Target(graph.find("2"), (1,)))
    kept = {"0": torch.zeros_like(part.relevant["0"]), "2": part.relevant["2"]}
    edits = Builder(part, Fixed(x, 4), calibrate=how).build(kept)
    assert float(edits["2"].gain.abs().max()) == 1
    with part.edited(edits):
        feature = part.feature(x)
    torch.testing.assert_close(feature, part.feature(x).mean().expand_as(feature), rtol=1e-2, atol=1e-3)
