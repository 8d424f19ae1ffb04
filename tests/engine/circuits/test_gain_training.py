"""Gains and constants trained end to end on a fixed mask, against a naive rewrite in float64."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.extraction.extractor import extract
from circuitlang.engine.circuits.gain_training import train_gains
from circuitlang.engine.circuits.image_seeds import seeded
from circuitlang.engine.circuits.refit_amounts import training_forwards
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.plan.clauses import EndToEnd
from circuitlang.plan.model import Choice
from tests.helpers.reference_circuits import naive_ablate
from tests.helpers.toy_networks import (
    SIZE,
    Again,
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


def subnetwork(module: nn.Module, path: str, *units: int, **target) -> TargetSubnetwork:
    graph = trace(module, (SIZE, SIZE))
    return TargetSubnetwork(graph, Target(graph.find(path), units, **target))


def random_masks(builder: Builder, share: float, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        path: (torch.rand(mask.shape, generator=generator) < share) & mask for path, mask in builder.relevant.items()
    }


def lost(c: Tensor, wanted: Tensor, f: Tensor) -> Tensor:
    """1 - r + 0.1 (squared error / variance)."""
    variance = wanted.var(unbiased=False) + 0.01 * f.var(unbiased=False)
    covariance = (c * wanted).mean() - c.mean() * wanted.mean()
    own = c.var(unbiased=False) + 1e-6 * variance
    return 1 - covariance / (own * variance).sqrt() + 0.1 * (c - wanted).square().mean() / variance


def by_content(x: Tensor, seed: int = 0) -> Tensor:
    return x[sorted(range(len(x)), key=lambda number: seeded(x[number], seed).initial_seed())]


def moved(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images, each mirrored or not; they would be shifted by up to a sixteenth of their sides, which is no pixel."""
    found = []
    for image in x:
        mirrored = int(torch.randint(2, (), generator=generator))
        assert [int(torch.randint(0, 1, (), generator=generator)) for _ in range(2)] == [0, 0]
        found.append(image[..., list(range(SIZE))[:: -1 if mirrored else 1]])
    return torch.stack(found)


def judged(x: Tensor, seed: int = 0) -> Tensor:
    """The images that circuits are judged by."""
    return moved(by_content(x, seed), torch.Generator().manual_seed(seed))


class Naive:
    """Gain by gain, constant by constant, in plain numbers, on top of an ablated copy of the network."""

    def __init__(self, module, path, unit, x, masks, mean=False, seed=0) -> None:
        self.module, self.path, self.unit, self.masks = module, path, unit, masks
        self.x, self.generator = by_content(x, seed), torch.Generator().manual_seed(seed)
        self.judged = moved(self.x, self.generator)
        kernels = {name: mask if mask.dim() == 2 else mask.flatten(2).any(-1) for name, mask in masks.items()}
        self.ablated = naive_ablate(module, path, unit, x, kernels, mean)
        self.f, _, seen = naive_trace(module, path, unit, self.judged)
        self.f = self.f.detach()
        self.values, self.deviations = {}, {}
        for name, kept in kernels.items():
            self.values |= {(name, o, i): 1.0 for o, i in kept.nonzero().tolist()}
            self.values |= {(name, o): 0.0 for o in kept.any(1).nonzero()[:, 0].tolist()}
            channel = -1 if isinstance(layers(module)[name], nn.Linear) else 1
            for o in range(len(kept)):
                self.deviations[name, o] = float(seen[name][1].select(channel, o).detach().std(unbiased=False))

    def circuit(self, values: dict, x: Tensor | None = None) -> tuple[Tensor, nn.Module]:
        twin = copy.deepcopy(self.ablated)
        for (name, o, *i), value in values.items():
            layer = layers(twin)[name]
            if i:
                layer.weight.data[o, i[0]] *= value
            else:
                layer.bias.data[o] += value * self.deviations[name, o]
        for name, mask in self.masks.items():
            if mask.dim() == 4:
                layers(twin)[name].weight.data *= mask.reshape(layers(twin)[name].weight.shape)
        feature, twin, _ = naive_trace(twin, self.path, self.unit, self.judged if x is None else x)
        return feature, twin

    def slopes(self, values: dict, x: Tensor, wanted: Tensor, earlier: list[Tensor]) -> tuple[dict, Tensor]:
        c, twin = self.circuit(values, x)
        lost(torch.cat([c, *earlier]), wanted, self.f).backward()
        found = {}
        for (name, o, *i), value in values.items():
            layer = layers(twin)[name]
            if i:
                # Of what is in the layer, the gain is a part.
                whole = layers(self.ablated)[name].weight[o, i[0]].detach()
                mask = self.masks[name][o, i[0]].reshape(whole.shape) if self.masks[name].dim() == 4 else 1
                found[name, o, i[0]] = float((whole * mask * layer.weight.grad[o, i[0]]).sum())
            else:
                found[name, o] = float(layer.bias.grad[o]) * self.deviations[name, o]
            assert math.isfinite(value)
        return found, c.detach()

    def train(self, passes: int) -> dict:
        batch = max(4, math.ceil(8 / self.f[0].numel()))
        batches = math.ceil(len(self.x) / max(1, min(batch, len(self.x) // 12)))
        few, seen = self.f[0].numel() < 16, {}
        values = dict(self.values)
        v, h = dict.fromkeys(values, 0.0), dict.fromkeys(values, 0.0)
        steps = passes * batches
        order: list[list[int]] = []
        for step in range(steps):
            if not order:
                order = [
                    part.tolist()
                    for part in torch.randperm(len(self.x), generator=self.generator).tensor_split(batches)
                ]
            part = order.pop(0)
            x = moved(self.x[part], self.generator)
            wanted = naive_trace(self.module, self.path, self.unit, x)[0].detach()
            others = [pair for number, pair in seen.items() if number not in part] if few else []
            others = others[len(others) - min(len(others), 16 - len(part)) :]
            maps = torch.cat([wanted, *(f for _, f in others)])
            slopes, c = self.slopes(values, x, maps, [own for own, _ in others])
            seen = {number: pair for number, pair in seen.items() if number not in part}
            seen |= {number: (c[place][None], wanted[place][None]) for place, number in enumerate(part)}
            phase = 1 - 0.8 * step / (steps - 1)
            for key, slope in slopes.items():
                v[key] = 0.9 * v[key] + 0.1 * slope
                h[key] = 0.99 * h[key] + 0.01 * slope**2
                mean, square = v[key] / (1 - 0.9 ** (step + 1)), h[key] / (1 - 0.99 ** (step + 1))
                rate = 0.02 if len(key) == 3 else 0.01
                values[key] -= phase * rate * mean / (math.sqrt(square) + 1e-10)
                if len(key) == 3:
                    values[key] = max(-3, min(3, values[key]))
        return values

    def best(self, passes: int) -> Tensor:
        """The map of what is left of training: as it was or trained, as it is or on the least-squares line."""
        maps = [self.circuit(values)[0].detach() for values in (self.values, self.train(passes))]
        for c in tuple(maps):
            line = torch.stack([c.flatten(), torch.ones(c.numel()).double()], 1)
            maps.append((line @ torch.linalg.lstsq(line, self.f.flatten()[:, None]).solution).reshape(c.shape))
        return min(maps, key=lambda c: float(lost(c, self.f, self.f)))


@pytest.mark.parametrize("structure", ["kernel", "weight"])
@pytest.mark.parametrize(
    ("net", "path", "unit"), [(Chain, "fc2", 0), (Branches, "head", 4), (Residual, "head", 2), (Groups, "point", 2)]
)
def test_against_a_naive_rewrite(net, path, unit, structure):
    """Batches of two of 26 images; maps, and single numbers that are compared with those of earlier steps."""
    module, x = build(net), images(26)
    part = subnetwork(module, path, unit)
    builder = Builder(part, Fixed(x, 7), structure=structure)
    masks = random_masks(builder, 0.6, 2)
    edits = train_gains(part, builder.images, masks, [builder.ablated(masks)], passes=2, seed=0)
    naive = Naive(module, path, unit, x, masks)
    with part.edited(edits):
        found = part.feature(naive.judged)
    torch.testing.assert_close(found.flatten(), naive.best(2).flatten(), rtol=1e-6, atol=1e-8)
    assert all(not edit.gain[~masks[name]].any() for name, edit in edits.items())


def test_the_slopes_of_the_rewrite_are_those_of_small_differences():
    naive = Naive(build(Branches), "head", 4, images(12), random_masks_of(Branches, "head", 4))
    values = {key: value + 0.1 * (len(key) == 3) for key, value in naive.values.items()}
    x, wanted = naive.judged[[2, 5]], naive.f[[2, 5]]
    slopes, _ = naive.slopes(values, x, wanted, [])

    def at(key, step):
        feature, _ = naive.circuit({**values, key: values[key] + step}, x)
        return float(lost(feature.detach(), wanted, naive.f))

    for key in list(slopes)[::5]:
        assert slopes[key] == pytest.approx((at(key, 1e-5) - at(key, -1e-5)) / 2e-5, rel=1e-4, abs=1e-7)


def random_masks_of(net: type[nn.Module], path: str, unit: int) -> dict[str, Tensor]:
    return random_masks(Builder(subnetwork(build(net), path, unit), Fixed(images(1))), 0.6, 2)


def test_means_stand_in_for_removed_kernels_while_gains_are_trained():
    module, x = build(Branches), images(24)
    part = subnetwork(module, "head", 4)
    builder = Builder(part, Fixed(x), Choice("mean"))
    masks = random_masks(builder, 0.5, 1)
    edits = train_gains(part, builder.images, masks, [builder.ablated(masks)], passes=1, seed=0)
    naive = Naive(module, "head", 4, x, masks, mean=True)
    with part.edited(edits):
        found = part.feature(naive.judged)
    torch.testing.assert_close(found.flatten(), naive.best(1).flatten(), rtol=1e-6, atol=1e-8)


def loss_of(part: TargetSubnetwork, edits, x: Tensor) -> float:
    with torch.no_grad():
        f = part.feature(x)
        with part.edited(edits):
            return float(lost(part.feature(x), f, f))


def same(one, other) -> bool:
    return all(
        torch.equal(one[path].gain, other[path].gain) and torch.equal(one[path].offset, other[path].offset)
        for path in one
    )


def test_a_circuit_that_training_makes_worse_stays_as_it_was():
    """The whole network has nothing to gain: every step leads away from it."""
    part, x = subnetwork(build(Residual), "head", 2), images(24)
    builder = Builder(part, Fixed(x))
    start = builder.ablated(part.relevant)
    assert same(train_gains(part, builder.images, part.relevant, [start], passes=2, seed=0), start)


@pytest.mark.slow
def test_training_begins_with_the_better_start():
    part, x = subnetwork(build(Branches), "head", 4), images(24)
    builder = Builder(part, Fixed(x), calibrate="kernels")
    masks = random_masks(builder, 0.5)
    ablated, refitted = builder.ablated(masks), builder.build(masks)
    better = min(ablated, refitted, key=lambda edits: loss_of(part, edits, judged(x)))
    trained = [
        train_gains(part, builder.images, masks, starts, passes=1, seed=0)
        for starts in ([ablated, refitted], [refitted, ablated], [better])
    ]
    assert same(trained[0], trained[1])
    assert same(trained[0], trained[2])
    both = Builder(part, Fixed(x), calibrate=EndToEnd(passes=1)).build(masks)
    assert same(both, trained[0])


@pytest.mark.slow
@pytest.mark.parametrize(("net", "path", "unit"), [(Branches, "head", 4), (Chain, "fc2", 0)])
def test_neither_the_order_of_images_nor_the_size_of_batches_matters(net, path, unit):
    part, x = subnetwork(build(net, torch.float32), path, unit), images(26, torch.float32)
    masks = random_masks_of(net, path, unit)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))

    def trained(images: Fixed, seed: int = 0):
        start = [Builder(part, images).ablated(masks)]
        return train_gains(part, images, masks, start, passes=2, seed=seed)

    first = trained(Fixed(x, 3))
    assert same(first, trained(Fixed(x, 26)))
    assert same(first, trained(Fixed(x[order], 5)))
    assert not same(first, trained(Fixed(x, 3), seed=1))
    built = [Builder(part, Fixed(x, size), calibrate=EndToEnd(passes=1)).build(masks) for size in (3, 26)]
    assert same(*built)


@pytest.mark.slow
def test_the_layerwise_start_does_not_depend_on_the_size_of_batches_either():
    net = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Conv2d(64, 1, 3))
    part, x = subnetwork(net.eval(), "4", 0), images(24, torch.float32)
    masks = random_masks(Builder(part, Fixed(x)), 0.3)
    built = [Builder(part, Fixed(x, size), calibrate=EndToEnd(passes=1)).build(masks) for size in (1, 7, 24)]
    assert same(built[0], built[1])
    assert same(built[0], built[2])


SHAPES = [
    (Branches, "head", (3, 1), {}),
    (Branches, "head", (0, 4, 2), {"coefficients": (0.5, -2, 0.25)}),
    (Branches, "head", (2,), {"at": (0, 11)}),
    (Branches, "head", (2,), {"at": "max"}),
    (Residual, "pool", (1, 3), {}),
    (Chain, "fc2", (0, 2), {"coefficients": (1.0, -1.0)}),
    (Again, "twice", (3,), {}),
    (Groups, "grouped", (0, 3), {}),
]


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["kernel", "weight", "channel"])
@pytest.mark.parametrize(("net", "path", "units", "target"), SHAPES)
def test_every_shape_of_target_is_kept_better_and_can_be_extracted(net, path, units, target, structure):
    part, x = subnetwork(build(net), path, *units, **target), images(14)
    builder = Builder(part, Fixed(x), calibrate=EndToEnd(passes=3), refill="live", structure=structure)
    generator = torch.Generator().manual_seed(4)
    scores = {name: torch.rand(mask.shape, generator=generator).double() for name, mask in builder.relevant.items()}
    masks = builder.select(scores, sum(int(mask.sum()) for mask in builder.relevant.values()) // 2)
    edits = builder.build(masks)
    assert loss_of(part, edits, judged(x)) < 0.99 * loss_of(part, builder.ablated(masks), judged(x))
    with part.edited(edits):
        expected = part.maps(x)
    torch.testing.assert_close(extract(part, edits)(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("units", "target"), [((3, 1), {}), ((0, 4, 2), {"coefficients": (0.5, -2, 0.25)}), ((2,), {"at": "max"})]
)
def test_the_targets_channels_lie_on_the_least_squares_line(units, target):
    part, x = subnetwork(build(Branches), "head", *units, **target), images(24)
    builder = Builder(part, Fixed(x), calibrate=EndToEnd(passes=1))
    edits = builder.build(random_masks(builder, 0.5))
    with torch.no_grad():
        f = part.feature(judged(x)).transpose(0, 1).flatten(1)
        with part.edited(edits):
            c = part.feature(judged(x)).transpose(0, 1).flatten(1)
    for own, wanted in zip(c, f, strict=True):
        line = torch.stack([own, torch.ones_like(own)], 1)
        slope = torch.linalg.lstsq(line, wanted[:, None]).solution.flatten()
        torch.testing.assert_close(slope, torch.tensor([1.0, 0.0]).double(), rtol=0, atol=1e-6)


def test_a_circuit_without_kernels_puts_out_the_mean_at_best():
    part, x = subnetwork(build(Branches), "head", 4), images(12)
    none = {name: torch.zeros_like(mask) for name, mask in part.relevant.items()}
    edits = Builder(part, Fixed(x), calibrate=EndToEnd(passes=1)).build(none)
    with part.edited(edits):
        torch.testing.assert_close(part.feature(x), part.feature(x).mean().expand(12, 1, SIZE, SIZE))


def test_what_is_run_is_what_the_forecast_counts(monkeypatch):
    part, x = subnetwork(build(Branches), "head", 4), images(30)
    run, forward = [], part.module.forward

    def counted(images: Tensor) -> Tensor:
        run.append(len(images))
        return forward(images)

    monkeypatch.setattr(part.module, "forward", counted)
    builder = Builder(part, Fixed(x))
    masks = random_masks(builder, 0.5)
    train_gains(part, builder.images, masks, [builder.ablated(masks)] * 2, passes=3, seed=0)
    assert sum(run) == (3 + training_forwards(3)) * 30
