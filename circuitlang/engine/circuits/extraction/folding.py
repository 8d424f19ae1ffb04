"""Narrow modules to some channels, and fold a batch norm into the layer before it."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import fusion


def narrowed(module: nn.Module, width: int, channels: Tensor) -> nn.Module:
    """Return a copy of a module whose parameters along its `width` channels are cut to some of them."""
    twin = copy.deepcopy(module).requires_grad_(False)
    for name, tensor in [*twin.named_parameters(recurse=False), *twin.named_buffers(recurse=False)]:
        if tensor.dim() == 1 and len(tensor) == width:
            part = tensor.detach()[channels.to(tensor.device)].clone()
            setattr(twin, name, nn.Parameter(part, requires_grad=False) if isinstance(tensor, nn.Parameter) else part)
    if isinstance(twin, (nn.modules.batchnorm._NormBase)):
        twin.num_features = len(channels)
        # A count of training steps, which has no say here.
        twin.num_batches_tracked = None
    return twin


def fold_norm(layer: nn.Conv2d | nn.Linear, norm: nn.Module) -> None:
    """Make a batch norm behind a layer part of the layer's weights."""
    norm = norm.double()
    fuse: Any = fusion.fuse_conv_bn_weights if isinstance(layer, nn.Conv2d) else fusion.fuse_linear_bn_weights
    bias = None if layer.bias is None else layer.bias.double()
    statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    # In double precision: the scale is a root, and is rounded once.
    fused = fuse(layer.weight.double(), bias, *statistics)
    layer.weight, layer.bias = (nn.Parameter(tensor.to(layer.weight.dtype), requires_grad=False) for tensor in fused)
