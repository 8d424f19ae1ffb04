"""Contributions: what each kernel's own output map carries to the feature, by a plain forward and backward pass."""

import numpy as np
import pytest
import torch
from torch import nn

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.visuals import contributions
from circuitlang.engine.visuals.activation_maps import choose
from circuitlang.plugins.protocols import Edit
from tests.engine.visuals.test_activation_maps import thinned
from tests.engine.visuals.test_exemplars import circuit, pictures
from tests.helpers.toy_networks import SIZE, Branches, Chain, Residual, build, layers, naive_trace


@pytest.mark.parametrize(("net", "path", "unit"), [(Chain, "conv2", 2), (Branches, "head", 4), (Residual, "head", 2)])
def test_a_contribution_is_that_of_the_kernels_own_map(net, path, unit):
    module, shown = build(net, torch.float32), pictures(11)
    graph = trace(module, (SIZE, SIZE))
    subnetwork = TargetSubnetwork(graph, Target(graph.find(path), (unit,)))
    masks, strength = thinned(subnetwork), torch.arange(11.0)
    edits = {name: Edit(mask.double()) for name, mask in masks.items()}
    kept = circuit(subnetwork)
    found = contributions.collect(subnetwork, shown, strength, kept, edits)
    x = torch.cat(list(shown.batches("")))[choose(strength)]
    target, twin, seen = naive_trace(module, path, unit, x, masks)
    target.abs().sum().backward()
    assert len(found) == len(subnetwork.layers)
    for layer, kernels, values in zip(subnetwork.layers, kept.kernels, found, strict=True):
        conv = layers(twin)[layer.path]
        entered, output = seen[layer.path]
        assert values.shape == (len(kernels.target), 8)
        for number in range(0, len(kernels.target), 3):
            to, source = int(kernels.target[number]), int(kernels.source[number])
            weight = conv.weight[to, source % layer.in_channels_per_group].double()
            single = nn.Conv2d(
                1, 1, conv.kernel_size, conv.stride, conv.padding, conv.dilation, 1, False, conv.padding_mode
            ).double()
            single.weight.data[:] = weight
            own = single(entered[:, source : source + 1].double())[:, 0]
            expected = (own * output.grad[:, to].double()).abs().sum((1, 2)).detach()
            assert np.allclose(values[number], expected, rtol=1e-4, atol=1e-6 * float(expected.max()) + 1e-12)


def test_of_very_many_kernels_the_images_are_added_up(monkeypatch):
    module, shown = build(Chain, torch.float32), pictures(3)
    subnetwork = TargetSubnetwork(graph := trace(module, (SIZE, SIZE)), Target(graph.find("conv2"), (2,)))
    made = subnetwork, shown, torch.arange(3.0), circuit(subnetwork)
    edits = {name: Edit(mask.double()) for name, mask in subnetwork.relevant.items()}
    each = contributions.collect(*made, edits)
    monkeypatch.setattr(contributions, "MANY", 5)
    for single, added in zip(each, contributions.collect(*made, edits), strict=True):
        assert added.shape == (len(single), 1)
        assert np.allclose(added[:, 0], single.sum(1), rtol=1e-5)


def test_gains_count_and_removed_kernels_carry_nothing():
    module, shown = build(Chain, torch.float32), pictures(3)
    graph = trace(module, (SIZE, SIZE))
    subnetwork = TargetSubnetwork(graph, Target(graph.find("conv2"), (2,)))
    kept, masks = circuit(subnetwork), thinned(subnetwork)
    last = subnetwork.layers[-1].path
    one, two = (
        contributions.collect(
            subnetwork,
            shown,
            torch.arange(3.0),
            kept,
            {name: Edit(mask * gain.get(name, 1.0)) for name, mask in masks.items()},
        )
        for gain in ({}, {last: 2.0})
    )
    assert np.allclose(2 * one[-1], two[-1], rtol=1e-5)
    kernels = kept.kernels[0]
    inner = subnetwork.layers[0].in_channels_per_group
    removed = ~masks[subnetwork.layers[0].path][kernels.target, kernels.source % inner].numpy()
    assert removed.any()
    assert not one[0][removed].any()
    assert one[0][~removed].any()
