"""Layers with some of the kernels of a network's layer."""

from __future__ import annotations

import copy
from functools import cache

from torch import Tensor, nn


@cache
def _blank(convolution: bool) -> nn.Conv2d | nn.Linear:
    """Return a layer to be filled in: torch draws weights for every new layer, which takes long even on `meta`."""
    if convolution:
        return nn.Conv2d(1, 1, 1, bias=False, device="meta").eval()
    return nn.Linear(1, 1, bias=False, device="meta").eval()


def sliced(original: nn.Module, weight: Tensor, bias: Tensor | None, groups: int) -> nn.Module:
    """Return a layer like another, with other weights [out, in / groups, h, w] and bias."""
    blank = _blank(isinstance(original, nn.Conv2d))
    module = copy.copy(blank)
    # Nothing in it is changed but what is set here: `deepcopy` would copy all of it with care.
    for word, value in vars(blank).items():
        if isinstance(value, dict):
            vars(module)[word] = value.copy()
    if isinstance(module, nn.Conv2d) and isinstance(original, nn.Conv2d):
        module.in_channels, module.out_channels, module.groups = weight.shape[1] * groups, len(weight), groups
        for word in ("kernel_size", "stride", "padding", "dilation", "padding_mode"):
            setattr(module, word, getattr(original, word))
        module._reversed_padding_repeated_twice = original._reversed_padding_repeated_twice
    elif isinstance(module, nn.Linear):
        weight = weight.flatten(1)
        module.out_features, module.in_features = weight.shape
    module.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    module.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
    return module.eval()
