"""Passes of circuits in parts of a batch: what whole passes give, to the bit the same for any number of threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from circuitlang.engine.circuits import subnetwork as subnetworks
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.device import one_thread, threads_aside
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.plugins.protocols import Edit, Edits
from tests.helpers.toy_networks import SIZE, Branches, Chain, Groups, Residual, build, images

CASES = [
    (Chain, "fc2", {"units": (1,)}),
    (Chain, "conv2", {"units": (0, 2), "coefficients": (0.5, -2.0), "bias": 0.25, "rectified": True}),
    (Branches, "head", {"units": (3,)}),
    (Branches, "head", {"units": (3,), "at": "max"}),
    (Residual, "head", {"units": (0, 1)}),
    (Groups, "point", {"units": (2,), "at": (1, 0)}),
]


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Networks of any size are large; torch's number of threads is restored."""
    monkeypatch.setattr(subnetworks, "LARGE", 0)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def leaves(subnetwork: TargetSubnetwork, share: float) -> dict[str, tuple[Tensor, Tensor]]:
    """Random gains, some of them zero, and offsets of each layer."""
    generator = torch.Generator().manual_seed(3)
    made = {}
    for layer in subnetwork.layers:
        shape = layer.out_channels, layer.in_channels_per_group
        kept = torch.rand(shape, generator=generator) < share
        gain = torch.rand(shape, generator=generator).double() * kept
        offset = torch.randn(layer.out_channels, generator=generator).double()
        made[layer.path] = gain.requires_grad_(), offset.requires_grad_()
    return made


def passed(subnetwork: TargetSubnetwork, x: Tensor, share: float, parts: bool) -> list[Tensor]:
    """The feature of a circuit, and the gradients of a number that all images have a part in."""
    values = leaves(subnetwork, share)
    edits: Edits = {path: Edit(gain, offset) for path, (gain, offset) in values.items()}
    with subnetwork.edited(edits):
        maps = subnetwork.feature_in_parts(x) if parts else subnetwork.feature(x)
    (maps.mean() * maps.square().sum()).backward()
    slopes = [value.grad for pair in values.values() for value in pair]
    return [maps.detach(), *(torch.zeros(()) if slope is None else slope for slope in slopes)]


@pytest.mark.parametrize(("net", "path", "target"), CASES)
@pytest.mark.parametrize("share", [0.7, 0])
def test_parts_give_what_the_whole_gives(threads, net, path, target, share):
    graph = trace(build(net), (SIZE, SIZE))
    subnetwork = TargetSubnetwork(graph, Target(graph.find(path), **target))
    x = images(5)
    whole = passed(subnetwork, x, share, parts=False)
    found = []
    for number in (1, 2, 4):
        torch.set_num_threads(number)
        with one_thread():
            assert threads_aside() == number
            found.append(passed(subnetwork, x, share, parts=True))
            with torch.no_grad():
                maps = torch.cat([subnetwork.feature(image) for image in x.split(1)])
                assert torch.allclose(subnetwork.feature_in_parts(x), maps, rtol=1e-9, atol=1e-12)
        assert torch.get_num_threads() == number
    for ours, theirs in zip(found[0], whole, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    for others in found[1:]:
        assert all(map(torch.equal, others, found[0]))


def subnetwork_of(net: type[torch.nn.Module], path: str) -> TargetSubnetwork:
    graph = trace(build(net), (SIZE, SIZE))
    return TargetSubnetwork(graph, Target(graph.find(path), (1,)))


def test_parts_are_computed_at_the_same_time(threads, monkeypatch):
    """Two threads meet in the forward pass, and again in the backward pass, or wait in vain."""
    subnetwork, meeting = subnetwork_of(Branches, "head"), threading.Barrier(2, timeout=60)
    forward, ran = subnetwork.module.forward, []

    def meet(value: Tensor) -> Tensor:
        ran.append(threading.get_ident())
        meeting.wait()
        return value

    def met(x: Tensor) -> Tensor:
        maps = meet(forward(x))
        maps.register_hook(meet)
        return maps

    monkeypatch.setattr(subnetwork.module, "forward", met)
    torch.set_num_threads(2)
    with one_thread():
        passed(subnetwork, images(2), 1, parts=True)
    assert len(ran) == 4
    assert len(set(ran)) == 2


@pytest.mark.parametrize("number", [1, 2])
def test_a_part_that_fails_leaves_the_network_as_it_was(threads, monkeypatch, number):
    subnetwork, x = subnetwork_of(Chain, "fc2"), images(3)
    whole, forward = passed(subnetwork, x, 0.7, parts=False), subnetwork.module.forward
    monkeypatch.setattr(subnetwork.module, "forward", lambda part: forward(part) if part is x else 1 / 0)
    torch.set_num_threads(number)
    with one_thread(), pytest.raises(ZeroDivisionError):
        passed(subnetwork, x, 0.7, parts=True)
    assert threads_aside() == 0
    assert all(map(torch.equal, passed(subnetwork, x, 0.7, parts=False), whole))


def test_elsewhere_and_of_small_networks_all_images_are_computed_at_once(monkeypatch):
    subnetwork, seen = subnetwork_of(Chain, "fc2"), []
    forward = subnetwork.module.forward
    monkeypatch.setattr(subnetwork.module, "forward", lambda part: seen.append(len(part)) or forward(part))
    with one_thread():
        subnetwork.feature_in_parts(images(5))
    monkeypatch.setattr(subnetworks, "LARGE", 0)
    subnetwork.feature_in_parts(images(5))
    assert seen == [5, 5]
    with one_thread(), one_thread():
        subnetwork.feature_in_parts(images(5))
    assert sum(seen[2:]) == 5
    assert len(seen) > 3
