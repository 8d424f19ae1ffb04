"""Arithmetic on an observation that criteria share: exact for groups, strides, dilation and every padding."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from circuitlang.engine.contracts import Observation

# Elements of a block of kernel outputs: small enough to stay in a cache, large enough to keep a core busy.
_BLOCK = 1 << 20


def weight_gradients(kernels: Observation) -> Iterator[Tensor]:
    """Of each image, the gradient of the objective with respect to the weight [O, I / groups, h, w]."""
    for image in range(len(kernels.input)):
        yield conv2d_weight(  # type: ignore[no-untyped-call]
            kernels.input[image : image + 1],
            kernels.weight.shape,
            kernels.gradient[image : image + 1],
            stride=kernels.stride,
            dilation=kernels.dilation,
            groups=kernels.groups,
        )


def kernel_outputs(kernels: Observation) -> Iterator[tuple[slice, int, Tensor]]:
    """The output maps of single kernels, in blocks: input channels (within a group), image, [O, channels, positions].

    The sum over input channels is the layer's output less its bias.
    """
    groups = kernels.groups
    out, inner, height, width = kernels.weight.shape
    taps = height * width
    weight = kernels.weight.reshape(groups, out // groups, inner, taps)
    positions = kernels.gradient[0, 0].numel()
    step = max(1, _BLOCK // (out * positions))
    for image in range(len(kernels.input)):
        x = kernels.input[image : image + 1]
        patches = functional.unfold(x, (height, width), dilation=kernels.dilation, stride=kernels.stride)
        patches = patches.reshape(groups, inner, taps, positions)
        for start in range(0, inner, step):
            channels = slice(start, min(start + step, inner))
            output = torch.einsum("goit,gitp->goip", weight[:, :, channels], patches[:, channels])
            yield channels, image, output.reshape(out, -1, positions)
