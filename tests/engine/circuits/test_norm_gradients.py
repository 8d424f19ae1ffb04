"""Norms go backwards as their formulas do, however a batch of one image lies in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from circuitlang.engine.circuits.norm_gradients import STEADY, light
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace

C, SIDE = 8, 4
MEAN, VARIANCE, WEIGHT, BIAS = (
    torch.linspace(low, high, C).double() for low, high in ((-1, 1), (0.5, 2), (1, 2), (-2, 3))
)


def by_statistics(x: Tensor) -> Tensor:
    column = (slice(None), None, None)
    return (x - MEAN[column]) / (VARIANCE[column] + 1e-5).sqrt() * WEIGHT[column] + BIAS[column]


def by_image(x: Tensor) -> Tensor:
    mean = x.mean((2, 3), keepdim=True)
    variance = (x - mean).square().mean((2, 3), keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * WEIGHT[:, None, None] + BIAS[:, None, None]


def of(kind: type[nn.Module]) -> nn.Module:
    norm = kind(C, affine=True).double().eval()
    for name, value in (("weight", WEIGHT), ("bias", BIAS), ("running_mean", MEAN), ("running_var", VARIANCE)):
        if getattr(norm, name) is not None:
            getattr(norm, name).data.copy_(value)
    return light(norm)


CASES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "batch": (of(nn.BatchNorm2d), by_statistics),
    "instance": (of(nn.InstanceNorm2d), by_image),
    "rows": (lambda x: of(nn.BatchNorm1d)(x.flatten(2)).reshape(x.shape), by_statistics),
    "functional batch": (
        lambda x: STEADY[functional.batch_norm](x, MEAN, VARIANCE, WEIGHT, BIAS),
        by_statistics,
    ),
    "raw batch": (
        lambda x: STEADY[torch.batch_norm](x, WEIGHT, BIAS, MEAN, VARIANCE, False, 0.1, 1e-5, False),
        by_statistics,
    ),
    "operator batch": (
        lambda x: STEADY[torch.ops.aten.batch_norm.default](x, WEIGHT, BIAS, MEAN, VARIANCE, False, 0.1, 1e-5, False),
        by_statistics,
    ),
    "functional instance": (
        lambda x: STEADY[functional.instance_norm](x, weight=WEIGHT, bias=BIAS),
        by_image,
    ),
    "raw instance": (
        lambda x: STEADY[torch.instance_norm](x, WEIGHT, BIAS, None, None, True, 0.1, 1e-5, False),
        by_image,
    ),
}


def channels_last(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last)


def of_one(values: Tensor) -> Tensor:
    """Channels last in memory, with the strides that a reshaped map of one image has."""
    return channels_last(values).as_strided(values.shape, (C, 1, C * SIDE, C))


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_formula(case: str) -> None:
    norm, naive = CASES[case]
    values = torch.randn(1, C, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).double()
    gradient = torch.randn(1, C, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).double()
    own = values.clone().requires_grad_()
    (expected,) = torch.autograd.grad(naive(own), own, gradient)
    for lay in (torch.Tensor.contiguous, channels_last, of_one):
        for lay_gradient in (torch.Tensor.contiguous, channels_last, of_one):
            x = lay(values).detach().requires_grad_()
            (found,) = torch.autograd.grad(norm(x), x, lay_gradient(gradient))
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


class Tokens(nn.Module):
    """Maps that are normalised, then read as tokens, as in networks of convolutions and attention."""

    def __init__(self, norm: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.norm = nn.Conv2d(3, C, 3, padding=1), nn.Linear(C, 5), norm

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x)).flatten(2).transpose(1, 2))


@pytest.mark.parametrize("naive", [by_image, by_statistics])
def test_a_layer_before_tokens_sees_the_right_gradient(naive: Callable[[Tensor], Tensor]) -> None:
    norm = functional_instance if naive is by_image else functional_batch
    torch.manual_seed(0)
    net = Tokens(norm).double().eval()
    images = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2)).double()
    graph = trace(net, (SIDE, SIDE))
    subnetwork = TargetSubnetwork(graph, Target(graph.find("last"), (1,)))
    seen: dict[str, Tensor] = {}
    subnetwork.observe(
        images, [torch.Tensor.sign], lambda _, layer, kernels: seen.setdefault(layer.path, kernels.gradient)
    )
    middle = net.first(images).detach().requires_grad_()
    feature = net.last(naive(middle).flatten(2).transpose(1, 2))[..., 1].abs().sum()
    (expected,) = torch.autograd.grad(feature, middle)
    torch.testing.assert_close(seen["first"], expected, rtol=1e-10, atol=1e-10)


def functional_batch(x: Tensor) -> Tensor:
    return functional.batch_norm(x, MEAN, VARIANCE, WEIGHT, BIAS)


def functional_instance(x: Tensor) -> Tensor:
    return functional.instance_norm(x, weight=WEIGHT, bias=BIAS)
