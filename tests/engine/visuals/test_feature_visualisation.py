"""Feature visualisation: made pictures excite what they are made for, in the network and in the circuit alone."""

from functools import partial

import numpy as np
import pytest
import torch

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.receptive_field import aligned_crop
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.visuals import amounts
from circuitlang.engine.visuals.excited_units import ExcitedUnits, of_channels, of_feature, same
from circuitlang.engine.visuals.feature_visualisation import SIZE, ascend, visualise
from circuitlang.engine.visuals.spectrum import as_images, random_spectra, transformed
from circuitlang.engine.visuals.visualised_part import part
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


def in_whole(subnetwork, pictures):
    """Pictures of what the feature's position sees, in grey pictures of the whole."""
    step = subnetwork.target.step
    place = subnetwork.target.at or [side // 2 for side in step.positions or (1, 1)]
    top, left, bottom, right = (part(subnetwork.graph, step.name, place) or ((0, 0, SIDE, SIDE),))[0]
    if pictures.shape[2:] == (SIDE, SIDE):
        return pictures
    whole = torch.full((len(pictures), 3, SIDE, SIDE), 0.5)
    whole[..., top:bottom, left:right] = pictures
    return whole


@pytest.mark.parametrize("thin", [False, True], ids=["network", "circuit"])
@pytest.mark.parametrize(("net", "path", "unit"), NETS)
def test_the_feature_is_excited(net, path, unit, thin):
    module, subnetwork = made(net, path, unit)
    masks = thinned(subnetwork) if thin else None

    def response(pictures):
        maps = naive(module, path, unit, (in_whole(subnetwork, pictures) - 0.5) / 0.25, masks)
        return float(maps[0, maps.shape[1] // 2, maps.shape[2] // 2].detach())

    with subnetwork.edited(masks):
        units = of_feature(subnetwork)
        before, after = (ascend(units, PREPROCESS, 0, steps) for steps in (0, 30))
    assert response(after) > response(before) + 0.02
    assert before.shape == after.shape == (1, 3, *units.size)
    assert 0 <= float(after.min()) <= float(after.max()) <= 1


def test_each_picture_excites_the_channel_it_is_made_for():
    _, subnetwork = made(Chain, "fc2", 0)
    node = subnetwork.nodes["conv2"]
    units = of_channels(subnetwork, node, [0, 3, 4])
    pictures = ascend(units, PREPROCESS, 0, 40)
    assert units.responses((pictures - 0.5) / 0.25).argmax(0).tolist() == [0, 1, 2]


def test_what_one_picture_is_does_not_depend_on_the_others():
    _, subnetwork = made(Chain, "fc2", 0)
    node = subnetwork.nodes["conv2"]
    alone = ascend(of_channels(subnetwork, node, [3]), PREPROCESS, 0, 8)
    together = ascend(of_channels(subnetwork, node, [0, 3]), PREPROCESS, 0, 8)
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
        before, after = (ascend(of_feature(subnetwork), PREPROCESS, 0, steps) for steps in (0, 30))
    before, after = (in_whole(subnetwork, pictures) for pictures in (before, after))
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
        before, after = (ascend(of_feature(subnetwork), PREPROCESS, 0, steps) for steps in (0, 10))
    assert torch.equal(before, after)


@pytest.mark.parametrize("size", [(11, 11), (12, 12), (12, 9)])
def test_the_spectrum_is_that_of_a_picture_of_any_size(size):
    spectrum = torch.zeros(1, 3, size[0], size[1] // 2 + 1, 2)
    assert torch.equal(as_images(spectrum, size), torch.full((1, 3, *size), 0.5))
    spectrum[0, 0, 0, 1, 0] = 1  # one wave of brightness along each row
    wave = as_images(spectrum, size)[0]
    assert torch.allclose(wave[0], wave[1])
    assert torch.allclose(wave[0, 0], wave[0, -1])
    assert int(wave[0, 0].argmax()) == 0
    assert abs(int(wave[0, 0].argmin()) - size[1] // 2) <= 1


def test_all_pictures_are_transformed_alike_and_a_little():
    row, column = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
    ramps = torch.stack([row, column]).expand(3, 2, 40, 60)
    generator = torch.Generator().manual_seed(0)
    seen = [transformed(ramps, generator) for _ in range(20)]
    assert all(torch.equal(one[0], one[2]) for one in seen)
    # The source of the middle, in pixels: shifted by at most a sixteenth of the side.
    middles = torch.stack([one[0, :, 20, 30] for one in seen])
    for moved, middle, side in zip(middles.T, (20, 30), (40, 60), strict=True):
        assert side / 64 < (moved - middle).abs().max() <= side / 16 + 1
    # Turned and scaled as one: how far apart two pixels come from, a row and a column apart.
    for one in seen:
        down, right = (one[0, :, 25, 30] - one[0, :, 15, 30]) / 10, (one[0, :, 20, 35] - one[0, :, 20, 25]) / 10
        assert float(down.norm()) == pytest.approx(float(right.norm()), abs=1e-3)
        assert 0.9 - 1e-3 <= float(down.norm()) <= 1.1 + 1e-3
        assert float(down @ right) == pytest.approx(0, abs=1e-3)
    assert len({round(float(one[0, 0, 25, 30] - one[0, 0, 15, 30]), 3) for one in seen}) > 10


def test_it_begins_with_the_noise_that_excites_a_unit_most():
    size, preprocess = (8, 8), Preprocess(8, 8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    # One unit likes bright pictures, and one dark.
    units = ExcitedUnits(size, lambda images: images.mean((1, 2, 3))[:, None] * torch.tensor([1.0, -1.0]), None)
    starts = as_images(random_spectra(amounts.STARTS, 3, size, torch.Generator().manual_seed(5)), size)
    order = starts.mean((1, 2, 3)).argsort()
    assert torch.equal(ascend(units, preprocess, 5, 0), starts[order[[-1, 0]]])


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
    ascend(of_feature(subnetwork), PREPROCESS, 0, 3)
    assert max(seen[-1]) < SIDE
    subnetwork.memo.clear()
    monkeypatch.setattr("circuitlang.engine.visuals.excited_units.same", lambda *_: False)
    ascend(of_feature(subnetwork), PREPROCESS, 0, 3)
    assert seen[-1] == (SIDE, SIDE)


def test_the_part_and_the_whole_give_the_same():
    _, subnetwork = made(Groups, "grouped", 3, (3, 5))
    top, left, bottom, right = part(subnetwork.graph, subnetwork.target.step.name, (3, 5))[0]
    units, images = of_feature(subnetwork), torch.randn(2, 3, SIDE, SIDE)
    assert units.size == (bottom - top, right - left) != (SIDE, SIDE)
    torch.testing.assert_close(
        units.responses(images[..., top:bottom, left:right])[:, 0], subnetwork.full_maps(images)[:, 0, 3, 5]
    )


def test_a_unit_that_sees_much_is_excited_by_a_smaller_picture(monkeypatch):
    monkeypatch.setattr(amounts, "SIDE", 7)
    for net, path, unit in NETS:
        _, subnetwork = made(net, path, unit)
        units = of_feature(subnetwork)
        assert units.size == (7, 7)
        images = torch.randn(2, 3, *units.size)
        maps = subnetwork.full_maps(images)
        down, right = (side // 2 for side in maps.shape[2:])
        assert torch.equal(units.responses(images), maps[:, :1, down, right])
    # A position of its own is where it is, and a linear layer takes one size.
    _, placed = made(Residual, "head", 2, at=(0, 0))
    assert of_feature(placed).size != (7, 7)
    _, linear = made(Chain, "fc2", 0)
    assert of_feature(linear).size == (SIDE, SIDE)


def test_where_a_part_comes_to_something_else_the_whole_is_taken(monkeypatch):
    # A border that wraps around.
    _, subnetwork = made(Residual, "body", 1, (0, 0))
    assert aligned_crop(subnetwork.graph, subnetwork.target.step.name, 0, 0)
    seen = sizes(subnetwork, monkeypatch)
    ascend(of_feature(subnetwork), PREPROCESS, 0, 1)
    assert seen[-1] == (SIDE, SIDE)

    def refuses(images):
        raise RuntimeError("shape '[1, 4, 12, 12]' is invalid for input of size 100")

    assert not same(refuses, lambda _: torch.ones(1), subnetwork)
    assert same(lambda _: torch.ones(1), lambda _: torch.ones(1), subnetwork)


def test_mean_and_deviation_are_the_models():
    _, subnetwork = made(Chain, "conv2", 2)
    seen = []

    units = of_feature(subnetwork)

    def responses(images):
        seen.append(images.detach())
        return units.responses(images)

    preprocess = Preprocess(SIDE, SIDE, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    ascend(ExcitedUnits(units.size, responses, units.seen), preprocess, 0, 1)
    middle = seen[0].mean((0, 2, 3))
    assert middle.tolist() == pytest.approx([(0.5 - 0.1) / 0.5, (0.5 - 0.2) / 0.6, (0.5 - 0.3) / 0.7], abs=0.15)
