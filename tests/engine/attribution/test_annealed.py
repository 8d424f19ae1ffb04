"""Learned masks against a naive rewrite in float64, and what they must not depend on."""

from __future__ import annotations

import copy
import math
import operator
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from circuitlang.engine.attribution.scorer import Scorer, score
from circuitlang.engine.cache.tensor_cache import ScoreCache
from circuitlang.engine.circuits import subnetwork as subnetworks
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.image_seeds import seeded
from circuitlang.engine.circuits.selection import count
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation.fidelity import measure, responses
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.plan.model import Choice
from circuitlang.plugins.protocols import passes_of
from tests.engine.attribution.test_criteria import naive_snip, subnetwork
from tests.engine.circuits.test_gain_training import moved
from tests.helpers.toy_networks import CASES, SIZE, Branches, Chain, Fixed, build, images, layers, naive_trace


def with_earlier(
    numbers: list[int], circuit: Tensor, network: Tensor, seen: list[tuple[int, Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Maps of a batch and the latest ones of other images, 16 in all; those of the batch are put down as seen."""
    earlier: list[tuple[Tensor, Tensor]] = []
    for number, own, whole in reversed(seen):
        if number not in numbers and len(numbers) + len(earlier) < 16:
            earlier.insert(0, (own, whole))
    seen[:] = [entry for entry in seen if entry[0] not in numbers]
    seen += [(number, circuit[[place]].detach(), network[[place]]) for place, number in enumerate(numbers)]
    return torch.cat([circuit, *(own for own, _ in earlier)]), torch.cat([network, *(whole for _, whole in earlier)])


def naive_annealed(
    module, path, unit, x, relevant, k, batch, scale, means, others=None, augment=False, seed=0
) -> dict[str, Tensor]:
    """Kernel by kernel, in plain numbers, with 8 passes; `means` is what stands in for each kernel, and `others` are
    images that the circuit is contrasted with."""
    x = x[sorted(range(len(x)), key=lambda number: seeded(x[number], seed).initial_seed())]
    generator = torch.Generator().manual_seed(seed)
    plain, x = x, moved(x, generator) if augment else x
    scores = naive_snip(module, path, unit, x)
    kernels = [(name, o, i) for name, mask in relevant.items() for o, i in mask.nonzero().tolist()]
    base = {kernel: float(scores[kernel[0]][kernel[1:]]) for kernel in kernels}
    ranking = sorted(kernels, key=lambda kernel: -base[kernel])
    first = {kernel: -math.log(rank) for rank, kernel in enumerate(ranking, 1)}
    logit = dict(first)
    taking_part = {kernel for kernel in kernels if base[kernel] > 0}
    total = len(kernels)
    f = naive_trace(module, path, unit, x)[0].detach()
    few = f[0].numel() < 16
    if others is not None:
        others = others[sorted(range(len(others)), key=lambda number: seeded(others[number], seed).initial_seed())]
        g = naive_trace(module, path, unit, others)[0].detach()
    centred = [(own - f.mean()).flatten().tolist() for own in f]
    products = [[sum(map(operator.mul, one, other)) for other in centred] for one in centred]
    dimensions = sum(products[n][n] for n in range(len(x))) ** 2 / sum(each**2 for row in products for each in row)
    times = math.ceil(12 / min(len(x), 12))
    batch = max(batch, math.ceil(8 / f[0].numel()))
    batches = times * math.ceil(len(x) / max(1, min(batch, len(x) // 12)))

    def circuit(kept: list, images: Tensor) -> tuple[Tensor, nn.Module]:
        twin = copy.deepcopy(module)
        for name, layer in layers(twin).items():
            layer.bias = nn.Parameter(torch.zeros(len(layer.weight)).double() if layer.bias is None else layer.bias)
            for o, i in relevant[name].nonzero().tolist() if name in relevant else []:
                if (name, o, i) not in kept:
                    layer.weight.data[o, i] = 0
                    layer.bias.data[o] += means[name][o, i]
        feature, twin, _ = naive_trace(twin, path, unit, images)
        return feature, twin

    def correlation(c: Tensor, wanted: Tensor, every: Tensor) -> Tensor:
        variance = wanted.var(unbiased=False) + 0.01 * every.var(unbiased=False)
        covariance = (c * wanted).mean() - c.mean() * wanted.mean()
        return covariance / ((c.var(unbiased=False) + 1e-6 * variance) * variance).sqrt()

    def lost(c: Tensor, wanted: Tensor) -> Tensor:
        variance = wanted.var(unbiased=False) + 0.01 * f.var(unbiased=False)
        return 1 - correlation(c, wanted, f) + scale * (c - wanted).square().mean() / variance

    def best(numbers: dict, size: int) -> list:
        return sorted((kernel for kernel in kernels if kernel in taking_part), key=lambda each: -numbers[each])[:size]

    # A pass from each rung to the next, one to a size between two rungs, and three at it.
    rungs = [total * share // 100 for share in (50, 20, 10, 5) if total * share // 100 >= k]
    ends = [*rungs, k] if k < rungs[-1] else rungs
    ways = [
        [(above * (below / above) ** ((step + 1) / batches), 1.0) for step in range(batches)]
        for above, below in pairwise(ends)
    ]
    hold = [(k, 1 - 0.9 * step / (3 * batches - 1)) for step in range(3 * batches)]
    # What leads to a rung is kept; the way from the last rung and the hold are one.
    parts = [*ways, hold] if ends == rungs else [*ways[:-1], ways[-1] + hold]
    order: list[list[int]] = []
    orders: list[list[int]] = []
    again = torch.Generator().manual_seed(seed)
    # The number of an image, the circuit's map and the network's, oldest first.
    seen: list[tuple[int, Tensor, Tensor]] = []
    apart: list[tuple[int, Tensor, Tensor]] = []
    for number, (size, rate) in ((step, each) for steps in parts for step, each in enumerate(steps)):
        if number == 0:
            v, h, mu = dict.fromkeys(kernels, 0.0), dict.fromkeys(kernels, 0.0), 0.0
        if not order:
            permuted = torch.cat([torch.randperm(len(x), generator=generator) for _ in range(times)])
            order = [part.tolist() for part in permuted.tensor_split(batches)]
            if others is not None:
                permuted = torch.randperm(len(others), generator=again)
                orders = [part.tolist() for part in permuted.tensor_split(batches)]
        part, size, phase, step = order.pop(0), round(size), rate, number
        kept = best(logit, size)
        other = orders.pop(0) if orders else []
        shown = moved(plain[part], generator) if augment else x[part]
        wanted = naive_trace(module, path, unit, shown)[0].detach()
        c, twin = circuit(kept, torch.cat([shown, others[other]]) if other else shown)
        c, against = c[: len(part)], c[len(part) :]
        loss = lost(*with_earlier(part, c, wanted, seen if few else []))
        if other:
            likeness = correlation(*with_earlier(other, against, g[other], apart if few else []), g)
            loss = loss + (likeness - 1e-6 if likeness > 1e-6 else 0)
        loss.backward()
        mu = 0.9 * mu + 0.1 * loss.item()
        now = mu / (1 - 0.9 ** (step + 1))
        phase *= min(1, now / 0.1)
        change = {}
        for kernel in kernels:
            name, o, i = kernel
            weight, layer = layers(module)[name].weight[o, i].detach(), layers(twin)[name]
            slope = float((weight * layer.weight.grad[o, i]).sum() - means[name][o, i] * layer.bias.grad[o])
            v[kernel] = 0.9 * v[kernel] + 0.1 * slope
            h[kernel] = 0.98 * h[kernel] + 0.02 * slope**2
            mean, square = v[kernel] / (1 - 0.9 ** (step + 1)), h[kernel] / (1 - 0.98 ** (step + 1))
            if size >= 0.15 * total:
                logit[kernel] -= 0.05 * phase * mean / (math.sqrt(square) + 1e-8)
            else:
                side = 1 if kernel in kept else -1
                change[kernel] = -mean + side * 0.625 * min(max(dimensions, 2), 18) * square / max(now, 0.02)
        rms = math.sqrt(sum(each**2 for each in change.values()) / size)
        share = min(0.04 * (0.01 * total / size) ** 1.3, 0.2)
        for kernel, each in change.items():
            logit[kernel] = (1 - phase * share) * logit[kernel] + 0.1 * phase * max(-3, min(3, each / rms))
    losses = [lost(circuit(best(numbers, k), x)[0], f).item() for numbers in (logit, first)]
    if others is not None:
        for place, numbers in enumerate((logit, first)):
            losses[place] += max(correlation(circuit(best(numbers, k), others)[0], g, g).item() - 1e-6, 0)
    found = {name: torch.zeros(mask.shape).double() for name, mask in relevant.items()}
    for kernel in taking_part:
        name, o, i = kernel
        found[name][o, i] = k * math.exp(logit[kernel] if losses[0] <= losses[1] else first[kernel])
    return found


@pytest.mark.parametrize(
    ("ablation", "share"),
    [
        ("zero", 2),
        ("zero", 7),
        ("zero", 12),
        ("mean", 7),
        *(pytest.param("mean", share, marks=pytest.mark.slow) for share in (2, 12)),
    ],
)
@pytest.mark.parametrize(("net", "path", "unit"), [CASES[1], CASES[5], CASES[7], CASES[10]])
def test_against_a_naive_rewrite(net, path, unit, ablation, share):
    """Both branches, maps and single numbers; the last of 26 images make batches of two."""
    module, x = build(net), images(26)
    part = subnetwork(module, path, unit)
    zero = {name: torch.zeros(mask.shape).double() for name, mask in part.relevant.items()}
    means = part.mean_outputs([x]) if ablation == "mean" else zero
    k = max(2, count(part.relevant) // share)
    found = score(
        Builder(part, Fixed(x), Choice(ablation)), "annealed", {"passes": 8, "scale": 0.3, "base": "snip"}, k, 0
    )
    expected = naive_annealed(module, path, unit, x, part.relevant, k, 4, 0.3, means)
    for name, mask in part.relevant.items():
        torch.testing.assert_close(found[name], expected[name] * mask, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("net", "path", "unit", "number"), [(*CASES[1], 1), (*CASES[1], 5), (Chain, "fc2", 1, 5)])
def test_few_images_come_several_times_in_a_pass(net, path, unit, number):
    module, x = build(net), images(number)
    part = subnetwork(module, path, unit)
    zero = {name: torch.zeros(mask.shape).double() for name, mask in part.relevant.items()}
    k = max(2, count(part.relevant) // 7)
    found = score(Builder(part, Fixed(x)), "annealed", {"passes": 8, "base": "snip"}, k, 0)
    expected = naive_annealed(module, path, unit, x, part.relevant, k, 4, 0.1, zero)
    for name, mask in part.relevant.items():
        torch.testing.assert_close(found[name], expected[name] * mask, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("number", [9, 30])
@pytest.mark.parametrize(("net", "path", "unit"), [CASES[1], CASES[7], (Chain, "fc2", 1)])
def test_a_contrast_against_a_naive_rewrite(net, path, unit, number):
    """Fewer other images than a pass has steps, and more; maps and single numbers."""
    module, every = build(net), images(26 + number)
    x, others = every[:26], every[26:]
    part = subnetwork(module, path, unit)
    zero = {name: torch.zeros(mask.shape).double() for name, mask in part.relevant.items()}
    k = max(2, count(part.relevant) // 7)
    found = score(Builder(part, Fixed(x)), "annealed", {"passes": 8, "base": "snip"}, k, 0, Fixed(others))
    expected = naive_annealed(module, path, unit, x, part.relevant, k, 4, 0.1, zero, others)
    for name, mask in part.relevant.items():
        torch.testing.assert_close(found[name], expected[name] * mask, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("net", "path", "unit"), [CASES[1], CASES[7]])
def test_images_that_are_mirrored_against_a_naive_rewrite(net, path, unit):
    module, x = build(net), images(26)
    part = subnetwork(module, path, unit)
    zero = {name: torch.zeros(mask.shape).double() for name, mask in part.relevant.items()}
    k = max(2, count(part.relevant) // 7)
    options = {"passes": 8, "base": "snip", "augment": True}
    found = score(Builder(part, Fixed(x)), "annealed", options, k, 0)
    expected = naive_annealed(module, path, unit, x, part.relevant, k, 4, 0.1, zero, augment=True)
    for name, mask in part.relevant.items():
        torch.testing.assert_close(found[name], expected[name] * mask, rtol=1e-6, atol=1e-9)


def test_masks_are_better_than_what_they_began_with():
    part, x = subnetwork(build(Branches), "head", 4), images(24)
    builder, k = Builder(part, Fixed(x)), count(part.relevant) // 3
    whole = responses(part, Fixed(x), "")

    def reached(criterion: str) -> float:
        masks = builder.select(score(builder, criterion, {}, k, 0), k)
        assert count(masks) == k
        return measure(whole, responses(part, Fixed(x), "", masks)).metrics["pearson"]

    assert reached("annealed") > reached("gn") + 0.1


def scores(x: Tensor, size: int = 2, seed: int = 0, **options) -> Tensor:
    """Scores on images in batches of a size, as one vector."""
    part = subnetwork(build(Branches), "head", 4)
    builder = Builder(part, Fixed(x, size), **options)
    found = score(builder, "annealed", {"passes": 2}, count(part.relevant) // 4, seed)
    return torch.cat([each.flatten() for each in found.values()])


def test_neither_order_nor_batches_matter():
    x = images(14)
    expected = scores(x)
    assert torch.equal(scores(x, 5), expected)
    assert torch.equal(scores(x.flip(0), 3), expected)
    assert not torch.equal(scores(x, seed=1), expected)


class Wide(nn.Module):
    """Layers large enough for torch to divide their work among threads, and among images of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv1(x).relu()).relu())


@pytest.mark.parametrize("in_parts", [False, True])
def test_threads_do_not_matter(monkeypatch, in_parts):
    """On a network whose gradients for two images differ in the last bits from one number of threads to another."""
    if in_parts:
        monkeypatch.setattr(subnetworks, "LARGE", 0)
    graph = trace(build(Wide).float(), (32, 32))
    part = TargetSubnetwork(graph, Target(graph.find("conv3"), (4,)))
    x = torch.randn(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found, slopes, threads = [], [], torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            gains = {path: mask.float().requires_grad_() for path, mask in part.relevant.items()}
            with part.edited(gains):
                part.feature(x[:2]).square().sum().backward()
            slopes.append(gains["conv2"].grad)
            builder = Builder(part, Fixed(x, 8 * number), refill="live")
            found.append(score(builder, "annealed", {"passes": 1}, count(part.relevant) // 10, 0))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert not torch.equal(*slopes)
    assert all(torch.equal(found[1][name], each) for name, each in found[0].items())


@pytest.mark.parametrize("structure", ["kernel", "weight", "channel"])
@pytest.mark.parametrize(
    "target", [{"units": (0, 3)}, {"units": (1, 2), "coefficients": (1.0, -0.5)}, {"units": (4,), "at": (1, 1)}]
)
def test_every_kind_of_target_and_structure(structure, target):
    """The mask has exactly the size that was asked for, and keeps no less than the one it began with."""
    graph = trace(build(Chain), (SIZE, SIZE))
    part = TargetSubnetwork(graph, Target(graph.find("conv2"), **target))
    x = Fixed(images(12))
    builder = Builder(part, x, structure=structure)
    k = count(builder.relevant) // 4
    whole = responses(part, x, "")

    def reached(criterion: str) -> float:
        masks = builder.select(score(builder, criterion, {}, k, 0), k)
        assert structure == "channel" or count(masks) == k
        error = (responses(part, x, "", builder.build(masks)) - whole).square().sum()
        return measure(whole, responses(part, x, "", builder.build(masks))).metrics["pearson"] - 0.1 * float(
            error / (whole - whole.mean()).square().sum()
        )

    assert reached("annealed") >= reached("gn") - 1e-9


def test_no_more_images_are_learned_from_than_are_allowed():
    """They are drawn by the seed."""
    x, seed = images(20), 5
    chosen = x[sorted(range(20), key=lambda number: seeded(x[number], seed).initial_seed())[:13]]
    part = subnetwork(build(Branches), "head", 4)
    k = count(part.relevant) // 4
    parameters = {"passes": 2}
    found = score(Builder(part, Fixed(x, 3)), "annealed", {**parameters, "images": 13}, k, seed)
    expected = score(Builder(part, Fixed(chosen)), "annealed", parameters, k, seed)
    other = score(Builder(part, Fixed(x)), "annealed", parameters, k, seed)
    assert all(torch.equal(found[name], each) for name, each in expected.items())
    assert any(not torch.equal(found[name], each) for name, each in other.items())


SIZES = [0.4, 0.2, 0.07, 0.05]


@pytest.fixture
def steps(monkeypatch) -> list[int]:
    """The numbers of images of which gradients were taken."""
    seen: list[int] = []
    feature = Scorer.feature

    def counted(self, images, edits=None):
        if torch.is_grad_enabled():
            seen.append(len(images))
        return feature(self, images, edits)

    monkeypatch.setattr(Scorer, "feature", counted)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize(("net", "path", "unit"), [(Branches, "head", 4), (Chain, "fc2", 1)])
def test_a_circuit_is_the_same_whatever_sizes_came_before(net, path, unit, steps, tmp_path):
    """Those of one cache share the way down; each still has the scores that it has alone."""
    part, x = subnetwork(build(net), path, unit), Fixed(images(12))
    sizes = [int(share * count(part.relevant)) for share in SIZES]

    def found(size: int, cache: ScoreCache | None) -> dict[str, Tensor]:
        return score(Builder(part, x), "annealed", {"passes": 8, "base": "snip"}, size, 0, None, cache)

    alone = {size: found(size, None) for size in sizes}
    taken = sum(steps)
    shared = []
    for number, order in enumerate((sizes, sizes[::-1])):
        steps.clear()
        cache = ScoreCache(tmp_path, f"scores-{number}")
        for size in order:
            scores = found(size, cache)
            assert all(torch.equal(scores[name], each) for name, each in alone[size].items())
        shared.append(sum(steps))
    # Three passes at each size, one to each of those between two rungs, and three to the lowest rung.
    assert shared == [12 * (4 * 3 + 2 + 3)] * 2
    assert taken == 12 * ((3 + 1) + (3 + 1) + (3 + 3) + (3 + 3))


@pytest.mark.slow
def test_stages_are_those_of_the_criterion_with_its_parameters(tmp_path):
    """Of other parameters, and within another criterion, nothing is shared."""
    part, x, cache = subnetwork(build(Branches), "head", 4), Fixed(images(12)), ScoreCache(tmp_path, "scores")
    k = count(part.relevant) // 4
    for name, parameters in (
        ("annealed", {"passes": 8, "base": "snip"}),
        ("annealed", {"passes": 8, "base": "taylor"}),
        ("annealed", {"passes": 8, "base": "snip", "scale": 1.0}),
        ("force", {"base": "annealed", "steps": 2}),
    ):
        stored = score(Builder(part, x), name, parameters, k, 0, None, cache)
        expected = score(Builder(part, x), name, parameters, k, 0)
        assert all(torch.equal(stored[path], each) for path, each in expected.items())


def test_nothing_to_learn():
    """A target on which a single dead kernel is kept: the scores are those of the base."""
    part = subnetwork(build(Chain), "fc2", 0)
    found = score(Builder(part, Fixed(images(2))), "annealed", {"base": "random"}, 1, 0)
    assert all(each.isfinite().all() for each in found.values())


def test_passes():
    assert passes_of("annealed") == 16 + 1
    assert passes_of("annealed", {"passes": 8, "base": "magnitude"}) == 8
