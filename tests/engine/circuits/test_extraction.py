"""A circuit cut out as a module computes what the masked network computes."""

import io
from dataclasses import replace

import msgspec
import pytest
import torch
from torch import nn

from circuitlang.base.diagnostics import CircuitError, InputError
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.extraction.extractor import extract
from circuitlang.engine.circuits.extraction.packing import pack
from circuitlang.engine.circuits.extraction.verification import verify
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.models.sources.file import file
from circuitlang.engine.programs.aten_import import network
from circuitlang.engine.programs.pt2_reader import read_exported
from circuitlang.plan.model import Choice
from circuitlang.plugins.preprocess import Preprocess
from circuitlang.plugins.protocols import Edit
from tests.engine.graph import test_networks
from tests.helpers.toy_networks import (
    CASES,
    CHANNEL_CASES,
    CHANNEL_IDS,
    IDS,
    SIZE,
    Branches,
    Chain,
    Fixed,
    Groups,
    Residual,
    Shuffling,
    build,
    images,
)

ALL = pytest.mark.parametrize(("net", "path", "unit"), [*CASES, *CHANNEL_CASES], ids=[*IDS, *CHANNEL_IDS])


def subnetwork(module, path, *units, **how):
    graph = trace(module, (SIZE, SIZE))
    return TargetSubnetwork(graph, Target(graph.find(path), units, **how))


def random_masks(part, share, seed):
    generator = torch.Generator().manual_seed(seed)
    return {path: (torch.rand(mask.shape, generator=generator) < share) & mask for path, mask in part.relevant.items()}


def same(part, edits, x):
    module = extract(part, edits)
    with part.edited(edits):
        expected = part.maps(x)
    torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-10)
    return module


@pytest.mark.parametrize("share", [1, 0.8, 0.5, 0.25, 0.1, 0])
@ALL
def test_random_masks(net, path, unit, share):
    part, x = subnetwork(build(net), path, unit), images()
    # All and none are the same whatever they are drawn with.
    for seed in range(2 if 0 < share < 1 else 1):
        masks = random_masks(part, share, seed)
        same(part, {name: Edit(mask) for name, mask in masks.items()}, x)


@pytest.mark.parametrize("calibrate", ["none", "bias", "kernels"])
@ALL
def test_stand_ins_and_refits(net, path, unit, calibrate):
    part, x = subnetwork(build(net), path, unit), images()
    builder = Builder(part, Fixed(x), Choice("mean"), calibrate)
    for share in (0.6, 0.2):
        same(part, builder.build(random_masks(part, share, 1)), x)


def test_every_shape_of_target():
    x = images()
    joint = subnetwork(build(Branches), "head", 3, 1)
    direction = subnetwork(build(Branches), "head", 0, 4, 2, coefficients=(0.5, -2, 0.25))
    feature = subnetwork(build(Branches), "head", 0, 4, coefficients=(0.5, -2), bias=-0.125, rectified=True)
    corner = subnetwork(build(Branches), "head", 2, at=(0, 11))
    largest = subnetwork(build(Branches), "head", 2, at="max")
    behind = subnetwork(build(Residual), "pool", 1, 3)
    for part, shape in (
        (joint, (5, 2, SIZE, SIZE)),
        (direction, (5, 1, SIZE, SIZE)),
        (feature, (5, 1, SIZE, SIZE)),
        (corner, (5, 1, 1, 1)),
        (largest, (5, 1, SIZE, SIZE)),
        (behind, (5, 2, 7, 7)),
        (subnetwork(build(Chain), "fc1", 0, 5), (5, 2, 1, 1)),
        (subnetwork(build(Chain), "fc2", 0, 2, coefficients=(1.0, -1.0)), (5, 1, 1, 1)),
        (subnetwork(build(Shuffling), "mix", 0, 5), (5, 2, SIZE, SIZE)),
    ):
        for share in (0.5, 0):
            masks = random_masks(part, share, 3)
            module = same(part, {name: Edit(mask) for name, mask in masks.items()}, x)
            assert module(x).shape == shape


def test_single_weights_may_have_gains_of_their_own():
    part, x = subnetwork(build(Groups), "point", 2), images()
    generator = torch.Generator().manual_seed(0)
    gains = {
        path: torch.randn(weight.shape, generator=generator).double() * (torch.rand(weight.shape) < 0.4)
        for path, weight in part.weights.items()
    }
    same(part, {path: Edit(gain, torch.randn(len(gain)).double()) for path, gain in gains.items()}, x)


def test_only_what_feeds_the_target_is_in_it():
    part, x = subnetwork(build(Chain), "conv2", 2), images()
    masks = {path: torch.zeros_like(mask) for path, mask in part.relevant.items()}
    masks["conv1"][1, 0] = masks["conv1"][3, 2] = masks["conv2"][2, 1] = True
    module = same(part, {name: Edit(mask) for name, mask in masks.items()}, x)
    # Channel 3 of conv1 has a kernel and feeds nothing.
    assert {name: tuple(each.shape) for name, each in module.named_parameters()} == {
        "conv1.weight": (1, 1, 3, 3),
        "conv1.bias": (1,),
        "conv2.weight": (1, 1, 3, 3),
        "conv2.bias": (1,),
    }
    kinds = {type(each).__module__.split(".")[0] for each in module.modules() if each is not module}
    assert kinds == {"torch"}


def test_groups_stay_equal_and_no_more_of_them_is_kept_than_is_needed():
    part, x = subnetwork(build(Groups), "grouped", 0, 1, 3), images()
    masks = {path: torch.zeros_like(mask) for path, mask in part.relevant.items()}
    masks["stem"][:, 0] = True
    masks["depthwise"][[0, 2, 4]] = True
    masks["grouped"][0, 0] = masks["grouped"][1, 2] = masks["grouped"][3, 1] = True
    module = same(part, {name: Edit(mask) for name, mask in masks.items()}, x)
    shapes = {name: tuple(each.shape) for name, each in module.named_parameters() if name.endswith("weight")}
    # Two rows and inputs of the first group; of the second one each, filled up.
    assert shapes == {"stem.weight": (3, 1, 3, 1), "depthwise.weight": (3, 1, 3, 3), "grouped.weight": (4, 2, 3, 3)}


def test_batch_norm_becomes_part_of_its_layer():
    part = subnetwork(build(Residual), "head", 2)
    module = same(part, {name: Edit(mask) for name, mask in part.relevant.items()}, images())
    assert not [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]


class Passed(nn.Module):
    """A layer that is read by a norm through steps that only pass it on, and beside it."""

    def __init__(self):
        super().__init__()
        self.conv, self.depthwise = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.first, self.again, self.drop = nn.Identity(), nn.Identity(), nn.Dropout()
        self.norm, self.other, self.last = nn.BatchNorm2d(6), nn.BatchNorm2d(12), nn.Conv2d(18, 4, 1)

    def forward(self, x):
        seen = self.first(self.conv(x))
        joined = torch.cat([seen, torch.zeros_like(seen)], 1)
        return self.last(
            torch.cat([self.depthwise(seen) + self.norm(self.drop(self.again(seen))), self.other(joined)], 1)
        )


def test_a_norm_is_no_part_of_a_layer_that_others_read_under_another_name():
    net = build(Passed)
    for share, seed in ((1, 0), (0.7, 1), (0.7, 2)):
        part = subnetwork(net, "last", 2)
        same(part, {name: Edit(mask) for name, mask in random_masks(part, share, seed).items()}, images())


class Twice(nn.Module):
    """A layer that runs twice, and a norm behind one of the two."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        one, other = self.conv(x), self.conv(x.flip(3))
        return self.head(self.norm(one) + other)


def test_a_norm_is_no_part_of_a_layer_that_runs_elsewhere_too():
    part = subnetwork(build(Twice), "head", 1)
    same(part, {name: Edit(mask) for name, mask in part.relevant.items()}, images())


def test_the_network_is_as_it_was():
    net = build(Residual)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    part, x = subnetwork(net, "head", 2), images()
    whole = part.feature(x)
    extract(part, {name: Edit(mask) for name, mask in random_masks(part, 0.5, 0).items()})
    assert torch.equal(part.feature(x), whole)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_a_module_that_differs_is_refused():
    part, x = subnetwork(build(Chain), "conv2", 2), images()
    edits = {name: Edit(mask) for name, mask in part.relevant.items()}
    module = extract(part, edits)
    assert verify(part, edits, module, Fixed(x)) < 1e-12
    module.get_submodule("conv1").weight.data *= 1.01
    with pytest.raises(CircuitError, match="E350"):
        verify(part, edits, module, Fixed(x))
    module.get_submodule("conv1").weight.data *= float("nan")
    with pytest.raises(CircuitError, match="E350"):
        verify(part, edits, module, Fixed(x))


FAMILIES = (
    "resnet18",
    "densenet121",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "shufflenet_v2_x0_5",
    "googlenet",
    "convnext_tiny",
    "efficientnet_b0",
    "resnext50_32x4d",
    "squeezenet1_1",
)


# One of each wiring, of which none is large; the others by `make test-slow`.
QUICK = ("resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAMILIES]
)
def test_families(name):
    size = test_networks.FAMILIES[name]
    graph = trace(test_networks.build(name), (size, size))
    layer = graph.layers[len(graph.layers) * 2 // 3]
    part = TargetSubnetwork(graph, Target(graph.find(layer.path), (1,)))
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(3))
    for share in (0.5, 0.02):
        edits = {path: Edit(mask) for path, mask in random_masks(part, share, 0).items()}
        module = extract(part, edits)
        assert verify(part, edits, module, Fixed(x)) < 2e-5
    nothing = {path: Edit(torch.zeros_like(mask)) for path, mask in part.relevant.items()}
    assert verify(part, nothing, extract(part, nothing), Fixed(x)) == 0


def read_back(module):
    return network(read_exported(io.BytesIO(pack(module, (3, SIZE, SIZE))), {}))


@ALL
def test_the_file_is_the_module(net, path, unit):
    """Written, and read back as data by our own reader."""
    part, x = subnetwork(build(net, torch.float32), path, unit), images(4, torch.float32)
    for share in (0.6, 0.25, 0):
        edits = {name: Edit(mask) for name, mask in random_masks(part, share, 2).items()}
        module = extract(part, edits)
        again = read_back(module)
        for some in (x, x[:1]):
            torch.testing.assert_close(again(some), module(some), rtol=1e-5, atol=1e-6)
        assert {type(each).__module__.split(".")[0] for each in again.modules()} <= {"torch"}


class Listed(nn.Module):
    """An operation that names its channels one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.head(torch.relu(self.stem(x))[:, [0, 1, 2, 3], ::2, 1::2])


def test_an_operation_that_insists_on_its_channels_gets_zeros_for_the_others():
    part, x = subnetwork(build(Listed), "head", 1), images()
    masks = {path: mask.clone() for path, mask in part.relevant.items()}
    masks["head"][1, [0, 2]] = False
    module = same(part, {path: Edit(mask) for path, mask in masks.items()}, x)
    assert module.stem.weight.shape == (2, 3, 3, 3)


def test_what_cant_be_exported_is_an_error(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no rule for frobnicate")

    part = subnetwork(build(Chain), "conv2", 2)
    module = extract(part, {path: Edit(mask) for path, mask in part.relevant.items()})
    monkeypatch.setattr(torch.export, "export", broken)
    with pytest.raises(CircuitError, match="E351") as caught:
        pack(module, (3, SIZE, SIZE))
    assert "frobnicate" in caught.value.findings[0].label


@pytest.mark.parametrize("content", ["{", '{"resize": 12}', "large", "other"])
def test_what_a_file_says_of_pictures_is_not_believed(content, tmp_path):
    fine = Preprocess(14, SIZE, (0.1, 0.2, 0.3), (1, 2, 3))
    program = torch.export.export(build(Chain, torch.float32).eval(), (images(2, torch.float32),))
    stored = {"large": replace(fine, resize=10**6), "other": replace(fine, resize=10**6, crop=10**6)}
    for name, text in (("good", msgspec.json.encode(fine).decode()), ("bad", content)):
        text = msgspec.json.encode(stored[text]).decode() if text in stored else text
        torch.export.save(program, tmp_path / f"{name}.pt2", extra_files={"preprocess.json": text})
    assert file("good.pt2", {}, tmp_path.joinpath).preprocess == fine
    with pytest.raises(InputError, match="E306"):
        file("bad.pt2", {}, tmp_path.joinpath)
