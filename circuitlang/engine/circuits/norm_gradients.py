"""Norms whose gradients are right, and light.

PyTorch's batch and instance norms go wrong backwards on a CPU where the strides of a batch of one image fit both
orders of memory, as those of a reshaped map may: the gradient is then off by as much as it is large. Here their inputs
and gradients always lie channels first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class FixedNorm(nn.Module):
    """A batch norm of fixed statistics: unlike torch's own, it need not keep its input for the backward pass."""

    def __init__(self, mean: Tensor, variance: Tensor, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        scale = (variance.double() + norm.eps).rsqrt()
        scale = scale if norm.weight is None else scale * norm.weight.detach().double()
        shift = -mean.double() * scale
        shift = shift if norm.bias is None else shift + norm.bias.detach().double()
        self.scale, self.shift = (tensor.to(mean)[:, None, None] for tensor in (scale, shift))

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift every channel of maps [N, C, H, W]."""
        return torch.addcmul(self.shift, x, self.scale)


class SteadyNorm(nn.Module):
    """Another norm, whose input and gradient lie channels first in memory."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Apply the norm to a map of any number of dimensions."""
        return _steady(self.norm, x)


def light(module: nn.Module) -> nn.Module:
    """Return the same function of a module's input, with right gradients and in less memory."""
    if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
        return FixedNorm(module.running_mean, module.running_var, module)
    return SteadyNorm(module) if isinstance(module, nn.modules.batchnorm._NormBase) else module


def batch_norm(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Compute `torch.nn.functional.batch_norm`."""
    return _steady(functional.batch_norm, x, *args, **kwargs)


def raw_batch_norm(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Compute `torch.batch_norm`, whose arguments stand in another order."""
    return _steady(torch.batch_norm, x, *args, **kwargs)


def instance_norm(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Compute `torch.nn.functional.instance_norm`."""
    return _steady(functional.instance_norm, x, *args, **kwargs)


def raw_instance_norm(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Compute `torch.instance_norm`, whose arguments stand in another order."""
    return _steady(torch.instance_norm, x, *args, **kwargs)


# Replacements for the norms that networks call, with the same values and right gradients.
STEADY: Mapping[Any, Callable[..., Tensor]] = {
    functional.batch_norm: batch_norm,
    torch.batch_norm: raw_batch_norm,
    torch.ops.aten.batch_norm.default: raw_batch_norm,
    functional.instance_norm: instance_norm,
    torch.instance_norm: raw_instance_norm,
    torch.ops.aten.instance_norm.default: raw_instance_norm,
}


def _steady(norm: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    y = norm(x.contiguous(), *args, **kwargs)
    if y.requires_grad:
        y.register_hook(torch.Tensor.contiguous)  # type: ignore[no-untyped-call]
    return y
