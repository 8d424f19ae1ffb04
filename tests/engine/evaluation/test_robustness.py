"""Ablations of a finished circuit against naive float64 rewrites, on small networks."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.optimal_ablation import optimal_ablation
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.evaluation.robustness import BLUR, blurred, resampled
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.images.image_set import ImageSet
from circuitlang.plan.clauses import Choice
from circuitlang.plugins.preprocess import Preprocess
from tests.helpers.reference_circuits import naive_ablate
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


def random_masks(part: TargetSubnetwork, share: float = 0.5) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {path: (torch.rand(mask.shape, generator=generator) < share) & mask for path, mask in part.relevant.items()}


def naive_substituted(
    module: nn.Module, path: str, unit: int, x: Tensor, other: Tensor, masks: dict[str, Tensor]
) -> Tensor:
    """The target's map, kernel by kernel: what a removed kernel makes of the other images' maps is added to each
    layer's output."""
    seen = naive_trace(module, path, unit, other)[2]
    twin = copy.deepcopy(module)
    for name, mask in masks.items():
        layer, whole = layers(twin)[name], layers(module)[name]
        removed = copy.deepcopy(whole)
        removed.bias = None
        shape = (*mask.shape, *[1] * (whole.weight.dim() - 2))
        removed.weight.data *= ~mask.reshape(shape)
        layer.weight.data *= mask.reshape(shape)
        added = removed(seen[name][0].detach()).detach()
        layer.register_forward_hook(lambda _module, _inputs, output, added=added: output + added)
    return naive_trace(twin, path, unit, x)[0].detach()


@pytest.mark.parametrize(("net", "path", "unit"), CASES, ids=IDS)
def test_a_removed_kernel_puts_out_what_it_does_for_the_other_image(net, path, unit):
    module, x = build(net), images(8)
    part = subnetwork(module, path, unit)
    masks = random_masks(part)
    found = part.substituted(x[:4], x[4:], masks)
    expected = naive_substituted(module, path, unit, x[:4], x[4:], masks)
    torch.testing.assert_close(found, expected.reshape(found.shape), rtol=1e-9, atol=1e-10)
    # Nothing stays behind, and an image in place of itself changes nothing.
    torch.testing.assert_close(part.substituted(x[:4], x[:4], masks), part.feature(x[:4]))


def loss_of(module: nn.Module, path: str, unit: int, x: Tensor, masks: dict[str, Tensor], edits) -> float:
    """The mean squared difference, in a copy whose biases are what the edits say."""
    twin = naive_ablate(module, path, unit, x, masks, mean=False)
    for name, edit in edits.items():
        layers(twin)[name].bias.data = layers(twin)[name].bias.data + edit.offset
    network, circuit = (naive_trace(each, path, unit, x)[0] for each in (module, twin))
    return float((network - circuit).detach().square().mean())


@pytest.mark.parametrize(
    ("net", "path", "unit"), [(Chain, "fc2", 0), (Branches, "head", 4), (Residual, "head", 2), (Groups, "point", 2)]
)
def test_the_optimal_constants_lose_no_more_than_zero_mean_and_their_neighbours(net, path, unit):
    module, x = build(net), images(6)
    part = subnetwork(module, path, unit)
    masks = random_masks(part, 0.7)
    wanted = part.feature(x).flatten(1)
    starts = [Builder(part, Fixed(x), Choice(name)).ablated(masks) for name in ("zero", "mean")]
    edits = optimal_ablation(part, Fixed(x, 4), wanted, starts)
    own = loss_of(module, path, unit, x, masks, edits)
    for name in ("zero", "mean"):
        twin = naive_ablate(module, path, unit, x, masks, mean=name == "mean")
        other = (naive_trace(module, path, unit, x)[0] - naive_trace(twin, path, unit, x)[0]).square().mean()
        assert own < float(other.detach()), name
    for name, mask in masks.items():
        # The gains are those of the circuit; a channel that keeps all kernels has no constant.
        torch.testing.assert_close(edits[name].gain.double(), mask.double())
        assert not edits[name].offset[mask.all(1)].any()
    # Batches have no say.
    for name, edit in optimal_ablation(part, Fixed(x, 1), wanted, starts).items():
        torch.testing.assert_close(edit.offset, edits[name].offset, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("net", "path", "unit"), [(Branches, "head", 4), (Residual, "head", 2), (Groups, "point", 2)])
def test_the_optimal_constant_of_the_last_layer_alone_is_the_mean_of_what_is_lacking(net, path, unit):
    """There the loss is a parabola: its minimum is known."""
    module, x = build(net), images(6)
    part = subnetwork(module, path, unit)
    masks = {name: mask.clone() for name, mask in part.relevant.items()}
    masks[path][unit, ::2] = False
    # Kernels that aren't on a path have no say; they are kept, so that their channels lack nothing.
    masks = {name: mask if name == path else torch.ones_like(mask) for name, mask in masks.items()}
    wanted = part.feature(x).flatten(1)
    edits = optimal_ablation(part, Fixed(x, 4), wanted, [Builder(part, Fixed(x)).ablated(masks)], passes=400)
    twin = naive_ablate(module, path, unit, x, masks, mean=False)
    lacking = (naive_trace(module, path, unit, x)[0] - naive_trace(twin, path, unit, x)[0]).mean()
    assert float(edits[path].offset[unit]) == pytest.approx(float(lacking), rel=1e-3)


def test_the_blur_is_a_gaussian_filter():
    x = images(2)[..., :12]
    deviation = BLUR * 12
    reach = int(4 * deviation + 0.5)
    weights = [math.exp(-(offset**2) / (2 * deviation**2)) for offset in range(-reach, reach + 1)]
    padded = functional.pad(x, (reach,) * 4, "reflect")
    expected = torch.zeros_like(x)
    for row in range(2 * reach + 1):
        for column in range(2 * reach + 1):
            weight = weights[row] * weights[column] / sum(weights) ** 2
            expected += weight * padded[..., row : row + x.shape[2], column : column + x.shape[3]]
    torch.testing.assert_close(blurred(x), expected)
    torch.testing.assert_close(blurred(torch.full((1, 3, 9, 9), 2.5)), torch.full((1, 3, 9, 9), 2.5))
    assert blurred(torch.ones(1, 3, 1, 1)).shape == (1, 3, 1, 1)


def image_set(*contents: str) -> ImageSet:
    names = tuple(Path(content) for content in contents)
    digests = tuple(f"{ord(content):064x}"[::-1] for content in contents)
    prepared = tuple(np.full((2, 2, 3), ord(content), np.uint8) for content in contents)
    return ImageSet(names, digests, Preprocess(2, 2, (0.5,) * 3, (0.5,) * 3), prepared)


def test_another_image_is_another_whatever_the_order():
    train = image_set(*"abcdef")
    partners = {}
    for images_, others in ((train, train), (image_set(*"fbdeca"), image_set(*"cafebd"))):
        drawn = resampled(images_, others, 3)
        pairs = dict(zip(map(str, images_.paths), map(str, drawn.paths), strict=True))
        assert all(name != partner for name, partner in pairs.items())
        assert pairs == (partners or pairs)
        partners = pairs
    assert resampled(train, train, 4).paths != resampled(train, train, 3).paths
    assert resampled(image_set("a"), image_set("a", "a"), 0) is None
    assert [str(path) for path in resampled(image_set("a"), image_set("a", "b"), 0).paths] == ["b"]
