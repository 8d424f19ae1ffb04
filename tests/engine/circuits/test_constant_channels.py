"""Channels that are the same for every image: the kernels that read them stay, whatever a circuit removes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.extraction.extractor import extract
from circuitlang.engine.circuits.selection import count
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.plan.model import Choice
from circuitlang.plugins.protocols import Edit
from tests.helpers.toy_networks import SIZE, Fixed, build, images


class Base(nn.Module):
    def __init__(self, first: int = 3, last: int = 4) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(first, 4, 3, padding=1), nn.Conv2d(last, 3, 3, padding=1)


class Coordinates(Base):
    def __init__(self) -> None:
        super().__init__(first=5)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        down, across = torch.meshgrid(
            torch.linspace(-1, 1, h, dtype=x.dtype), torch.linspace(-1, 1, w, dtype=x.dtype), indexing="ij"
        )
        where = torch.stack([down, across])[None].expand(n, -1, -1, -1)
        return self.b(torch.relu(self.a(torch.cat([x, where], 1))))


class Padded(Base):
    """Channels of zeros, of which a norm makes constants."""

    def __init__(self) -> None:
        super().__init__(last=6)
        self.norm = nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.norm(functional.pad(self.a(x), (0, 0, 0, 0, 1, 1)))))


class Learned(Base):
    """A parameter beside the channels."""

    def __init__(self) -> None:
        super().__init__(last=6)
        self.token = nn.Parameter(torch.rand(1, 2, SIZE, SIZE))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.cat([torch.relu(self.a(x)), self.token.repeat(x.shape[0], 1, 1, 1)], 1))


class Positions(Base):
    """A position embedding that is added, and a layer of its own for a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(2, 4, 1)
        self.register_buffer("where", torch.rand(1, 2, SIZE, SIZE))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x) + self.c(self.where)))


class Filled(Base):
    """Ones and zeros like the image, also behind a depthwise layer."""

    def __init__(self) -> None:
        super().__init__(first=9)
        self.depth = nn.Conv2d(9, 9, 3, padding=1, groups=9)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([torch.ones_like(x), x, torch.zeros_like(x)], 1)
        return self.b(torch.relu(self.a(torch.tanh(self.depth(x)))))


class Twice(Base):
    """One layer for the image and for a constant: what it makes of that is a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.rand(1, 3, SIZE, SIZE))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)) - torch.relu(self.a(self.mean)))


class Tokens(nn.Module):
    """A token that is learned before those of the image, and one of its own channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix, self.head = nn.Conv2d(3, 4, 4, stride=4), nn.Linear(5, 4), nn.Linear(4, 3)
        self.token, self.extra = nn.Parameter(torch.rand(1, 1, 4)), nn.Parameter(torch.rand(1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], 1)
        tokens = torch.cat([tokens, self.extra.expand(x.shape[0], tokens.shape[1], 1)], -1)
        return self.head(torch.relu(self.mix(tokens)))


# With the number of kernels that read constants, on a path to the first unit.
NETS = (
    (Coordinates, "b", 8), (Padded, "b", 2), (Learned, "b", 2), (Positions, "b", 0), (Filled, "b", 6 + 24),
    (Twice, "b", 0), (Tokens, "head", 4),
)  # fmt: skip
EACH = pytest.mark.parametrize(("net", "path", "constant"), NETS, ids=[net.__name__ for net, *_ in NETS])


def subnetwork(net: type[nn.Module], path: str) -> TargetSubnetwork:
    graph = trace(build(net), (SIZE, SIZE))
    return TargetSubnetwork(graph, Target(graph.find(path), (1,)))


def masks(part: TargetSubnetwork, share: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {path: (torch.rand(mask.shape, generator=generator) < share) & mask for path, mask in part.relevant.items()}


@EACH
def test_all_relevant_kernels_are_the_network(net, path, constant):
    """Whatever stands in for the others, there is none."""
    part, x = subnetwork(net, path), images()
    whole = part.feature(x)
    assert count(part.constant) == constant
    for ablation, calibrate in (("zero", "none"), ("mean", "none"), ("zero", "kernels")):
        edits = Builder(part, Fixed(x), Choice(ablation), calibrate).build(part.relevant)
        with part.edited(edits):
            torch.testing.assert_close(part.feature(x), whole, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(extract(part, edits)(x), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("share", [0, 0.5])
@EACH
def test_a_circuit_is_the_network_without_other_relevant_kernels(net, path, constant, share):
    """A constant that a layer makes of a constant stays, though the layer's kernels are removed for images."""
    part, x = subnetwork(net, path), images()
    kept = masks(part, share)
    naive = build(net).eval()
    fixed = copy.deepcopy(naive)
    with torch.no_grad():
        for name, mask in kept.items():
            weight = naive.get_submodule(name).weight
            gone = part.relevant[name] & ~mask
            weight *= (~gone).reshape(*gone.shape, *[1] * (weight.dim() - 2))
        if net is Twice:
            inner = torch.relu(naive.a(x)) - torch.relu(fixed.a(fixed.mean))
            expected = naive.b(inner)[:, 1:2]
        else:
            expected = naive(x)[..., 1] if path == "head" else naive(x)[:, 1:2]
    with part.edited(kept):
        found = part.feature(x)
        torch.testing.assert_close(found, expected.reshape(found.shape), rtol=1e-9, atol=1e-9)
    module = extract(part, {name: Edit(mask) for name, mask in kept.items()})
    torch.testing.assert_close(module(x), found, rtol=1e-9, atol=1e-9)


@EACH
def test_stand_ins_and_refits_leave_them_alone(net, path, constant):
    part, x = subnetwork(net, path), images()
    for ablation, calibrate in (("mean", "none"), ("zero", "bias"), ("zero", "kernels"), ("mean", "affine")):
        edits = Builder(part, Fixed(x), Choice(ablation), calibrate).build(masks(part, 0.5))
        for name, mask in part.constant.items():
            # Those are set where a network is edited; a stand-in would be in the offset.
            assert (part.keeping(name, edits[name]).gain[mask] == 1).all()
        module = extract(part, edits)
        with part.edited(edits):
            torch.testing.assert_close(module(x), part.feature(x), rtol=1e-9, atol=1e-9)


def test_the_mean_of_what_is_removed_is_that_of_image_kernels_alone():
    part, x = subnetwork(Coordinates, "b"), images()
    edits = Builder(part, Fixed(x), Choice("mean")).ablated(
        {name: mask & False for name, mask in part.relevant.items()}
    )
    expected = (part.mean_outputs([x])["a"] * part.relevant["a"]).sum(1)
    torch.testing.assert_close(edits["a"].offset, expected, rtol=1e-9, atol=1e-9)


def test_a_refit_brings_the_mean_to_that_of_the_network():
    """Of a circuit of constants alone too: what they put out is not wanted twice."""
    part, x = subnetwork(Coordinates, "a"), images()
    edits = Builder(part, Fixed(x), calibrate="bias").build(
        {name: mask & False for name, mask in part.relevant.items()}
    )
    whole = part.feature(x).mean()
    with part.edited(edits):
        torch.testing.assert_close(part.feature(x).mean(), whole, rtol=1e-6, atol=1e-6)
