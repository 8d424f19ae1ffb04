"""Scenes: activation maps as a plain forward pass makes them, in the network and in the circuit."""

import numpy as np
import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.visuals import activation_maps
from circuitlang.results.types import ActivationMaps
from tests.engine.visuals.test_exemplars import circuit, pictures
from tests.helpers.toy_networks import SIZE, Again, Branches, Chain, Groups, Residual, build, layers, naive_trace


def thinned(subnetwork: TargetSubnetwork) -> dict[str, torch.Tensor]:
    """Masks that keep three of four relevant kernels."""
    kept = {}
    for path, mask in subnetwork.relevant.items():
        kept[path] = mask & (torch.arange(mask.numel()).reshape(mask.shape) % 4 != 1)
    return kept


def collected(net, path, unit, count=11, strength=None):
    module, shown = build(net, torch.float32), pictures(count)
    graph = trace(module, (SIZE, SIZE))
    subnetwork = TargetSubnetwork(graph, Target(graph.find(path), (unit,)))
    masks = thinned(subnetwork)
    x = torch.cat(list(shown.batches("")))
    strength = torch.arange(float(count)) if strength is None else strength
    found = activation_maps.collect(subnetwork, shown, strength, circuit(subnetwork), masks)
    return module, subnetwork, masks, x, found


@pytest.mark.parametrize(
    ("net", "path", "unit"),
    [(Chain, "conv2", 2), (Chain, "fc2", 0), (Branches, "head", 4), (Residual, "head", 2), (Groups, "point", 2)],
)
def test_maps_are_what_the_layers_put_out(net, path, unit):
    module, subnetwork, masks, x, found = collected(net, path, unit)
    chosen = activation_maps.choose(torch.arange(11.0))
    whole = naive_trace(module, path, unit, x[chosen])[2]
    part = naive_trace(module, path, unit, x[chosen], masks)[2]
    assert {subnetwork.layers[number].path for number, _ in found.maps} == set(subnetwork.relevant)
    for (number, channel), maps in found.maps.items():
        name = subnetwork.layers[number].path
        both = [seen[name][1].detach() for seen in (whole, part)]
        linear = isinstance(layers(module)[name], torch.nn.Linear)
        expected = np.stack([each[..., channel] if linear else each[:, channel] for each in both], 1)
        values = (maps.astype(float) - ActivationMaps.ZERO) / ActivationMaps.ZERO * found.scales[number, channel]
        assert found.scales[number, channel] == pytest.approx(np.abs(expected).max(), rel=1e-5)
        step = found.scales[number, channel] / ActivationMaps.ZERO
        assert np.allclose(values.reshape(expected.shape), expected, atol=0.51 * step)


def test_the_feature_is_compared_with_itself():
    module, _, masks, x, found = collected(Residual, "head", 2)
    chosen = activation_maps.choose(torch.arange(11.0))
    one, two = (naive_trace(module, "head", 2, x[chosen], each)[0].detach().flatten(1) for each in (None, masks))
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(one.numpy(), two.numpy(), strict=True)]
    assert found.similarity == pytest.approx(expected, abs=1e-4)
    assert found.feature.shape == (8, 2, *naive_trace(module, "head", 2, x)[0].shape[1:])
    assert found.scale == pytest.approx(float(torch.cat([one, two]).abs().max()), rel=1e-5)


def test_a_layer_used_again_shows_its_last_use():
    module, subnetwork, _, x, found = collected(Again, "twice", 3)
    number = [layer.path for layer in subnetwork.layers].index("twice")
    last = naive_trace(module, "twice", 3, x[activation_maps.choose(torch.arange(11.0))])[2]["twice"][1][:, 3].detach()
    scale = found.scales[number, 3]
    values = (found.maps[number, 3][:, 0].astype(float) - ActivationMaps.ZERO) / ActivationMaps.ZERO * scale
    assert np.allclose(values, last.numpy(), atol=0.51 * scale / ActivationMaps.ZERO)


@pytest.mark.parametrize(("count", "expected"), [(3, 3), (8, 8), (9, 8), (10, 8), (100, 8)])
def test_strong_middling_and_weak_pictures_are_chosen_once_each(count, expected):
    strength = torch.randperm(count, generator=torch.Generator().manual_seed(1)).float()
    chosen = activation_maps.choose(strength)
    assert len(set(chosen)) == len(chosen) == expected
    values = strength[chosen].tolist()
    assert values == sorted(values, reverse=True)
    assert values[0] == count - 1
    assert values[-1] == 0
    if count == 100:
        assert values == [99, 98, 97, 96, 50, 49, 1, 0]


def test_a_strength_that_is_not_a_number_is_no_reason_to_fail():
    assert sorted(activation_maps.choose(torch.tensor([1.0, float("nan"), 3.0]))) == [0, 1, 2]


def test_large_maps_are_averaged_and_large_pictures_reduced():
    maps = torch.randn(2, 3, 70, 41)
    torch.testing.assert_close(activation_maps.reduce_maps(maps), adaptive_avg_pool2d(maps, (28, 28)))
    assert activation_maps.reduce_maps(maps[..., :5]).shape == (2, 3, 28, 5)
    shown = activation_maps.thumbnail(np.zeros((200, 200, 3), np.uint8))
    assert shown.shape == (activation_maps.THUMBNAIL, activation_maps.THUMBNAIL, 3)


def test_zero_is_zero_and_a_flat_map_is_all_of_it():
    quantised, scale = activation_maps.quantise(torch.tensor([[-2.0, 0.0, 1.0]]))
    assert quantised.tolist() == [[0, 127, 190]]
    assert scale == 2
    assert activation_maps.quantise(torch.zeros(2, 2))[0].tolist() == [[127, 127], [127, 127]]


def test_what_is_kept_does_not_grow_with_the_pictures():
    few, many = (collected(Chain, "conv2", 2, count)[-1] for count in (8, 40))
    assert few.pictures.shape == many.pictures.shape
    assert {key: maps.shape for key, maps in few.maps.items()} == {key: maps.shape for key, maps in many.maps.items()}
