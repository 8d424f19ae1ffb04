"""Circuits of networks that put channels in another order, join constants, or use a layer again and again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from circuitlang.engine.circuits.extraction.extractor import extract
from circuitlang.plugins.protocols import Edit
from tests.engine.circuits.test_extraction import random_masks, subnetwork
from tests.helpers.toy_networks import build, images

Forward = Callable[["Parts", Tensor], Tensor]


class Parts(nn.Module):
    """The layers that the networks below are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.again, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 4, 3)
        self.narrow, self.wide = nn.Conv2d(3, 1, 1), nn.Conv2d(1, 6, 1)
        self.linear, self.classes = nn.Linear(6, 6), nn.Linear(6, 4)
        self.token, self.rows = nn.Parameter(torch.randn(1, 1, 6)), nn.Parameter(torch.randn(1, 6, 1, 12))
        self.register_buffer("order", torch.tensor([4, 1, 0, 5, 2, 3]))


def loop(net: Parts, y: Tensor) -> Tensor:
    x = y
    for _ in range(3):
        y = relu(net.again(y.flip(1)) + x)
    return y


def bottleneck(net: Parts, y: Tensor) -> Tensor:
    for _ in range(2):
        y = net.wide(relu(net.narrow(y[:, :3])))
    return y


def class_token(net: Parts, y: Tensor) -> Tensor:
    y = torch.cat([net.token.expand(y.shape[0], -1, -1), y.flatten(2).transpose(1, 2)], 1)
    return net.linear(y).transpose(1, 2)[:, :, :144].unflatten(2, (12, 12))


# What is done between the first layer and the last; the first one sees the image's channels in reverse.
BETWEEN: dict[str, Forward] = {
    "flipped": lambda net, y: y.flip(1),
    "permuted": lambda net, y: y[:, [4, 1, 0, 5, 2, 3]],
    "permuted by a buffer": lambda net, y: y.index_select(1, net.order),
    "several times": lambda net, y: y[:, [0, 0, 5, 5, 1, 0]],
    "one for all": lambda net, y: y[:, [2]].repeat(1, 6, 1, 1),
    "repeated": lambda net, y: y[:, :3].repeat_interleave(2, 1),
    "rolled": lambda net, y: y.roll(2, 1),
    "every second": lambda net, y: torch.cat([y[:, 1::2], y[:, 0::2]], 1),
    "stacked": lambda net, y: torch.stack([y[:, 3:], y[:, :3]], 2).flatten(1, 2),
    "stacked in reverse": lambda net, y: torch.stack(y.unbind(1)[::-1], 1),
    "rows of a parameter": lambda net, y: torch.cat([net.rows.expand(y.shape[0], -1, -1, -1), y], 2),
    "rows of zeros": lambda net, y: torch.cat([y, torch.zeros_like(y[:, :, :2])], 2),
    "columns of a layer": lambda net, y: torch.cat([y, relu(net.again(y))], 3),
    "channels of ones": lambda net, y: torch.cat([y[:, :2], torch.ones_like(y[:, :4])], 1),
    "a class token": class_token,
    "a layer that feeds itself": loop,
    "layers that feed each other": bottleneck,
}


def network(between: Forward) -> nn.Module:
    def forward(self: Parts, x: Tensor) -> Tensor:
        return self.head(between(self, relu(self.stem(x[:, [2, 1, 0]]))))

    return build(type("Rearranged", (Parts,), {"forward": forward}))


@pytest.mark.parametrize("name", BETWEEN)
def test_the_module_is_the_circuit(name: str) -> None:
    x = images(2)
    part = subnetwork(network(BETWEEN[name]), "head", 1)
    for share in (1, 0.6, 0.3, 0.1, 0):
        for seed in range(3):
            edits = {path: Edit(mask) for path, mask in random_masks(part, share, seed).items()}
            module = extract(part, edits)
            with part.edited(edits):
                expected = part.maps(x)
            torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(module(x[:1]), expected[:1], rtol=1e-10, atol=1e-10)
