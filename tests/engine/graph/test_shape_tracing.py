"""Forward methods that decide by the shapes of their maps, and images that don't lie in front."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from circuitlang.base.diagnostics import InputError
from circuitlang.engine.graph.tracer import trace
from tests.helpers.reference_scores import close


class Windows(nn.Module):
    """Attention over windows: it decides by a map's shape, and puts keys and values in front of the images."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.kv, self.b = nn.Conv2d(3, 8, 3), nn.Linear(8, 16), nn.Conv2d(8, 4, 1)
        self.token = nn.Parameter(torch.rand(1, 8, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        images, channels, height, width = x.shape
        if height % 2 or width > 100:
            raise ValueError("an odd height")
        halves = x.view(images, channels, 2, height // 2, width).permute(0, 2, 3, 4, 1)
        halves = halves.reshape(images * 2, height // 2 * width, channels)
        keys, values = self.kv(halves).view(images * 2, -1, 2, channels).permute(2, 0, 1, 3)
        found = (halves @ keys.transpose(1, 2)).softmax(-1) @ values
        found = found.view(images, -1, channels).transpose(1, 2) + self.token.expand(images, -1, -1)
        return self.b(found.view(images, channels, height, width))


class Hidden(nn.Module):
    """Sums over its images, and saturates so that the result hides it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.sigmoid(1e6 + torch.einsum("nchw,dc->ndhw", self.a(x).cumsum(0), torch.ones(8, 8))))


class Traits(nn.Module):
    """It decides by the device and the size of what it computes and of its buffers, and replaces one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(9, 4, 1)
        self.register_buffer("scale", torch.rand(8))
        self.register_buffer("grid", torch.zeros(1, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if x.device.type == "meta" or self.scale.numel() != x.shape[1]:
            raise ValueError("another network")
        if self.grid.shape[-1] != x.shape[-1]:
            grid = torch.linspace(0, 1, x.shape[-1]).repeat(1, 1, x.shape[-2], 1)
            self.grid = grid.to(device=self.a.weight.device, dtype=x.dtype)
        x = x * self.scale.to(x.device)[:, None, None]
        return self.b(torch.cat([x, self.grid.expand(x.shape[0], -1, -1, -1)], 1))


def test_it_is_traced_with_the_shapes_of_the_images() -> None:
    torch.manual_seed(0)
    net = Windows().double().eval()
    graph = trace(net, (10, 10))
    for number in (1, 2, 3, 5):
        images = torch.rand(number, 3, 10, 10).double()
        close(graph.module(images), net(images).detach())
    assert graph.find("b").name == graph.layers[-1].path


def test_it_is_traced_with_the_traits_of_tensors() -> None:
    torch.manual_seed(0)
    net = Traits().double().eval()
    graph = trace(net, (10, 10))
    assert net.grid.shape[-1] == 1
    for number in (1, 2, 3, 5):
        images = torch.rand(number, 3, 10, 10).double()
        close(graph.module(images), copy.deepcopy(net)(images).detach())
    assert not any(torch.device("cpu") in (*node.args, *node.kwargs.values()) for node in graph.module.graph.nodes)


def test_images_that_are_mixed_on_the_way_are_seen_where_the_result_hides_it() -> None:
    graph = trace(Hidden().eval(), (10, 10))
    with pytest.raises(InputError, match="mixes images"):
        graph.find("b")
