"""What is removed: whole channels, or single weights."""

import pytest
import torch
from torch import Tensor, nn

from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.selection import count
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from tests.helpers.toy_networks import CASES, IDS, SIZE, Branches, Fixed, Residual, build, images, layers, naive_trace

SMALL = [CASES[1], CASES[3], CASES[5], CASES[7], CASES[9]]


def builder(module: nn.Module, path: str, unit: int, structure: str, refill: str = "none", count: int = 3) -> Builder:
    graph = trace(module, (SIZE, SIZE))
    subnetwork = TargetSubnetwork(graph, Target(graph.find(path), (unit,)))
    return Builder(subnetwork, Fixed(images(count)), refill=refill, structure=structure)


class Uneven(nn.Module):
    """A layer with other strides and dilations of rows than of columns."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 3, padding=3, dilation=(2, 3), stride=(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.first(x)))


@pytest.mark.parametrize(("net", "path", "unit"), [*SMALL, (Uneven, "head", 1)])
def test_snip_of_single_weights(net, path, unit):
    module, x = build(net), images(3)
    made = builder(module, path, unit, "weight")
    found = score(made, "snip", {}, 5, 0)
    expected = {name: torch.zeros_like(layer.weight) for name, layer in layers(module).items()}
    for image in x.split(1):
        feature, twin, _ = naive_trace(module, path, unit, image)
        feature.abs().sum().backward()
        for name, layer in layers(twin).items():
            if layer.weight.grad is not None:
                expected[name] += (layer.weight * layer.weight.grad).abs().detach()
    for name, scores in found.items():
        torch.testing.assert_close(scores, expected[name].reshape(scores.shape) * made.relevant[name])


@pytest.mark.parametrize(("net", "path", "unit"), SMALL)
def test_taylor_of_single_weights(net, path, unit):
    """(w dL/dw - m dL/db)^2, with m the mean over images and positions of what the weight itself puts out."""
    module, x = build(net), images(3)
    made = builder(module, path, unit, "weight")
    found = score(made, "taylor", {}, 5, 0)
    seen = [backward(module, path, unit, image)[2] for image in x.split(1)]
    for name, scores in found.items():
        layer = layers(module)[name]
        places = torch.randperm(scores.numel(), generator=torch.Generator().manual_seed(0))[:12]
        for place in places.tolist():
            o, i, r, c = (int(each) for each in torch.unravel_index(torch.tensor(place), scores.shape))
            if not made.relevant[name][o, i, r, c] or (name == path and o != unit):
                continue
            outputs = torch.cat([alone(layer, trail[name][0].detach(), o, i, r, c) for trail in seen])
            mean = outputs.mean()
            total = 0.0
            for trail, own in zip(seen, outputs.split(1), strict=True):
                gradient = trail[name][1].grad
                if gradient is not None:
                    total += float(((own - mean) * gradient[:, o]).sum()) ** 2
            assert float(scores[o, i, r, c]) == pytest.approx(total, rel=1e-6, abs=1e-15)


def backward(module, path, unit, image):
    feature, twin, seen = naive_trace(module, path, unit, image)
    feature.abs().sum().backward()
    return feature, twin, seen


def alone(layer, given, o, i, r, c):
    """What a single weight puts out [1, ...]."""
    out, inner = layer.weight.shape[:2]
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    only = torch.zeros_like(given)
    channel = o // (out // groups) * inner + i
    only[:, channel] = given[:, channel]
    weight = torch.zeros_like(layer.weight)
    place = (o, i, r, c) if weight.dim() == 4 else (o, i)
    weight[place] = layer.weight.detach()[place]
    bias, kept = layer.bias, layer.weight.data
    layer.bias, layer.weight.data = None, weight
    with torch.no_grad():
        found = layer.forward(only)[:, o]
    layer.bias, layer.weight.data = bias, kept
    return found


@pytest.mark.parametrize("refill", ["none", "live"])
@pytest.mark.parametrize(("net", "path", "unit"), CASES, ids=IDS)
def test_masks_of_single_weights(net, path, unit, refill):
    module = build(net)
    made = builder(module, path, unit, "weight", refill)
    scores = score(made, "magnitude", {}, 5, 0)
    budget = count(made.relevant) // 2
    masks = made.select(scores, budget)
    assert count(masks) == budget
    if refill == "live":
        assert count(made.connected(masks)) == budget
    x = images()
    twin = build(net)
    for name, mask in masks.items():
        layers(twin)[name].weight.data *= mask.reshape(layers(twin)[name].weight.shape)
    with made.subnetwork.edited(made.build(masks)):
        found = made.subnetwork.feature(x)
    torch.testing.assert_close(found, naive_trace(twin, path, unit, x)[0].detach().reshape(found.shape))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 1.0])
@pytest.mark.parametrize(("net", "path", "unit"), CASES, ids=IDS)
def test_channels_are_kept_whole(net, path, unit, share):
    made = builder(build(net), path, unit, "channel")
    scores = score(made, "magnitude", {}, 5, 0)
    budget = int(share * count(made.relevant))
    masks = made.select(scores, budget)
    assert count(masks) <= budget
    alive = made.subnetwork.connected(masks)
    assert all(torch.equal(alive[name], mask) for name, mask in masks.items())
    rows = {name: mask.any(1) for name, mask in masks.items()}
    # Between channels that are kept no relevant kernel is missing.
    between = made.subnetwork.connected({name: made.relevant[name] & row[:, None] for name, row in rows.items()})
    assert all(torch.equal(between[name], mask) for name, mask in masks.items())
    if share == 1:
        assert count(masks) == count(made.relevant)


def test_the_best_channels_are_kept_and_the_targets_own_always():
    made = builder(build(Branches), "head", 4, "channel")
    scores = {name: mask * 1.0 for name, mask in made.relevant.items()}
    scores["left"][2] = 5
    scores["head"] *= 0.001
    masks = made.select(scores, 3 + 3 + 1)
    assert masks["left"].any(1).nonzero()[:, 0].tolist() == [2]
    assert masks["head"].any(1).nonzero()[:, 0].tolist() == [4]


def test_of_a_target_behind_an_add_both_sides_are_its_own():
    made = builder(build(Residual), "relu", 1, "channel")
    assert {name: rows.nonzero()[:, 0].tolist() for name, rows in made.ends.items()} == {
        "stem": [1],
        "body": [1],
        "head": [],
    }
