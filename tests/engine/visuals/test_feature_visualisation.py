"""Feature visualisation: made pictures excite what they are made for, in the network and in the circuit alone."""

from functools import partial

import numpy as np
import pytest
import torch

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.receptive_field import aligned_crop
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.visuals.feature_visualisation import (
    SIZE,
    as_pictures,
    ascend,
    of_channels,
    of_feature,
    same,
    visualise,
)
from circuitlang.plugins.preprocess import Preprocess
from circuitlang.plugins.progress import no_progress
from circuitlang.results.visualised_channels import strongest_channels as every
from tests.engine.visuals.test_activation_maps import thinned
from tests.engine.visuals.test_exemplars import PREPROCESS, circuit
from tests.helpers.toy_networks import SIZE as SIDE
from tests.helpers.toy_networks import Branches, Chain, Excited, Groups, Residual, build, naive

NETS = [(Chain, "conv2", 2), (Branches, "head", 4), (Residual, "head", 2), (Excited, "head", 2)]


def made(net, path, unit, at=None):
    module = build(net, torch.float32)
    graph = trace(module, (SIDE, SIDE))
    return module, TargetSubnetwork(graph, Target(graph.find(path), (unit,), at=at))


@pytest.mark.parametrize("part", [False, True], ids=["network", "circuit"])
@pytest.mark.parametrize(("net", "path", "unit"), NETS)
def test_the_feature_is_excited(net, path, unit, part):
    module, subnetwork = made(net, path, unit)
    masks = thinned(subnetwork) if part else None

    def response(pictures):
        maps = naive(module, path, unit, (pictures - 0.5) / 0.25, masks)
        return float(maps[0, maps.shape[1] // 2, maps.shape[2] // 2].detach())

    with subnetwork.edited(masks):
        before, after = (ascend(of_feature(subnetwork), PREPROCESS, 1, 0, steps) for steps in (0, 30))
    assert response(after) > response(before) + 0.02
    assert before.shape == after.shape == (1, 3, SIDE, SIDE)
    assert 0 <= float(after.min()) <= float(after.max()) <= 1


def test_each_picture_excites_the_channel_it_is_made_for():
    _, subnetwork = made(Chain, "fc2", 0)
    node = subnetwork.nodes["conv2"]
    pictures = ascend(of_channels(subnetwork, node, [0, 3, 4]), PREPROCESS, 3, 0, 40)
    values = subnetwork.values((pictures - 0.5) / 0.25, {node})[node][:, [0, 3, 4]]
    middle = values[..., values.shape[2] // 2, values.shape[3] // 2]
    assert middle.argmax(0).tolist() == [0, 1, 2]


def test_what_one_picture_is_does_not_depend_on_the_others():
    _, subnetwork = made(Chain, "fc2", 0)
    node = subnetwork.nodes["conv2"]
    alone = ascend(of_channels(subnetwork, node, [3]), PREPROCESS, 1, 0, 8)
    together = ascend(of_channels(subnetwork, node, [0, 3]), PREPROCESS, 2, 0, 8)
    torch.testing.assert_close(alone[0], together[1], atol=1e-3, rtol=0)


def test_the_same_seed_makes_the_same_pictures():
    _, subnetwork = made(Residual, "head", 2)
    found = partial(
        visualise, subnetwork, thinned(subnetwork), every(circuit(subnetwork), ()), PREPROCESS, track=no_progress
    )
    one, same, other = found(seed=1), found(seed=1), found(seed=2)
    assert np.array_equal(one.target, same.target)
    assert one.channels.keys() == same.channels.keys()
    assert all(np.array_equal(one.channels[key], same.channels[key]) for key in one.channels)
    assert not np.array_equal(one.target, other.target)


def test_every_channel_is_drawn_when_asked_for():
    _, subnetwork = made(Branches, "head", 4)
    whole = circuit(subnetwork)
    asked = visualise(subnetwork, thinned(subnetwork), every(whole, ()), PREPROCESS, 0, no_progress)
    assert set(asked.channels) == {
        (number, channel) for number, kernels in enumerate(whole.kernels) for channel in kernels.target.tolist()
    }
    assert {pictures.shape for pictures in asked.channels.values()} == {(2, SIZE, SIZE, 3)}
    assert asked.target.shape == (2, SIZE, SIZE, 3)
    assert not np.array_equal(asked.target[0], asked.target[1])
    assert visualise(subnetwork, thinned(subnetwork), [], PREPROCESS, 0, no_progress).channels == {}


def test_a_position_is_excited_where_it_is():
    module, subnetwork = made(Residual, "head", 2, at=(0, 0))
    with subnetwork.edited(None):
        before, after = (ascend(of_feature(subnetwork), PREPROCESS, 1, 0, steps) for steps in (0, 30))
    one, two = (float(naive(module, "head", 2, (each - 0.5) / 0.25)[0, 0, 0].detach()) for each in (before, after))
    assert two > one


def test_the_network_is_left_as_it_was():
    module, subnetwork = made(Residual, "head", 2)
    x = torch.randn(2, 3, SIDE, SIDE)
    before = subnetwork.feature(x)
    visualise(subnetwork, thinned(subnetwork), every(circuit(subnetwork), ()), PREPROCESS, 0, no_progress)
    assert torch.equal(subnetwork.feature(x), before)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_nothing_excites_what_is_dead_and_the_beginning_is_shown():
    _, subnetwork = made(Chain, "conv2", 2)
    with subnetwork.edited({path: torch.zeros_like(mask) for path, mask in subnetwork.relevant.items()}):
        before, after = (ascend(of_feature(subnetwork), PREPROCESS, 1, 0, steps) for steps in (0, 10))
    assert torch.equal(before, after)


@pytest.mark.parametrize("size", [11, 12])
def test_the_spectrum_is_that_of_a_picture_of_any_size(size):
    spectrum = torch.zeros(1, 3, size, size // 2 + 1, 2)
    assert torch.equal(as_pictures(spectrum, size), torch.full((1, 3, size, size), 0.5))
    spectrum[0, 0, 0, 1, 0] = 1  # one wave of brightness along each row
    wave = as_pictures(spectrum, size)[0]
    assert torch.allclose(wave[0], wave[1])
    assert torch.allclose(wave[0, 0], wave[0, -1])
    assert int(wave[0, 0].argmax()) == 0
    assert abs(int(wave[0, 0].argmin()) - size // 2) <= 1


def sizes(subnetwork, monkeypatch):
    """Of what the subnetwork is run on from now on, the sizes."""
    seen, run = [], subnetwork.full_maps

    def full_maps(images):
        seen.append(tuple(images.shape[2:]))
        return run(images)

    monkeypatch.setattr(subnetwork, "full_maps", full_maps)
    return seen


@pytest.mark.parametrize("at", [None, (0, 1), (3, 5)])
def test_a_picture_is_made_through_what_the_position_sees(monkeypatch, at):
    _, subnetwork = made(Groups, "grouped", 3, at)
    seen = sizes(subnetwork, monkeypatch)
    part = ascend(of_feature(subnetwork), PREPROCESS, 1, 0, 3)
    assert max(seen[-1]) < SIDE
    subnetwork.memo.clear()
    monkeypatch.setattr("circuitlang.engine.visuals.feature_visualisation.same", lambda *_: False)
    whole = ascend(of_feature(subnetwork), PREPROCESS, 1, 0, 3)
    assert seen[-1] == (SIDE, SIDE)
    torch.testing.assert_close(part, whole, rtol=0, atol=1e-4)


def test_where_a_part_comes_to_something_else_the_whole_is_taken(monkeypatch):
    # A border that wraps around.
    _, subnetwork = made(Residual, "body", 1, (0, 0))
    assert aligned_crop(subnetwork.graph, subnetwork.target.step.name, 0, 0)
    seen = sizes(subnetwork, monkeypatch)
    ascend(of_feature(subnetwork), PREPROCESS, 1, 0, 1)
    assert seen[-1] == (SIDE, SIDE)

    def refuses(images):
        raise RuntimeError("shape '[1, 4, 12, 12]' is invalid for input of size 100")

    assert not same(refuses, lambda _: torch.ones(1), subnetwork)
    assert same(lambda _: torch.ones(1), lambda _: torch.ones(1), subnetwork)


def test_mean_and_deviation_are_the_models():
    _, subnetwork = made(Chain, "conv2", 2)
    seen = []

    def objective(images):
        seen.append(images.detach())
        return of_feature(subnetwork)(images)

    ascend(objective, Preprocess(SIDE, SIDE, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)), 1, 0, 1)
    middle = seen[0].mean((0, 2, 3))
    assert middle.tolist() == pytest.approx([(0.5 - 0.1) / 0.5, (0.5 - 0.2) / 0.6, (0.5 - 0.3) / 0.7], abs=0.15)
