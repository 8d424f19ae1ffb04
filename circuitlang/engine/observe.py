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


def centred_moments(kernels: Observation) -> Tensor:
    """What `centred` wants to know of a batch's images, [5, O, I / groups].

    With A the first-order effect <w, dL/dw> of the kernel's output on an image's objective, B the objective's gradient
    with respect to a constant added to it, and m its mean over the image's positions: the sums over images of A^2, AB,
    B^2, m and 1.
    """
    weight = kernels.weight.double()
    shift = kernels.gradient.sum((2, 3), dtype=torch.float64)
    effects = torch.stack([(weight * each).sum((-2, -1)) for each in weight_gradients(kernels)])
    both = torch.einsum("noi,no->oi", effects, shift)
    squares = shift.square().sum(0)[:, None].expand_as(both)
    images = torch.full_like(both, len(effects))
    return torch.stack([effects.square().sum(0), both, squares, _mean_outputs(kernels), images])


def centred(moments: Tensor) -> Tensor:
    """Sum over images of (A - mB)^2, the squared first-order effect of replacing the kernel's output by its mean m.

    m is the mean over all images and positions; moments are as in `centred_moments`, of all images.
    """
    effect, both, shift, output, images = moments
    # Rows that no image was seen for are all zero.
    mean = output / images.clamp_min(1)
    scores: Tensor = effect - 2 * mean * both + mean.square() * shift
    # A kernel whose output is constant leaves the rounding of single precision.
    return torch.where(scores > 1e-12 * effect, scores, 0)


def _mean_outputs(kernels: Observation) -> Tensor:
    """The mean over positions of each kernel's output, summed over images, [O, I / groups]."""
    groups = kernels.groups
    out, inner, height, width = kernels.weight.shape
    means = torch.stack([tap.mean((2, 3), dtype=torch.float64).sum(0) for tap in _taps(kernels)], -1)
    weight = kernels.weight.double().reshape(groups, out // groups, inner, height * width)
    return torch.einsum("goit,git->goi", weight, means.reshape(groups, inner, -1)).reshape(out, inner)


def _taps(kernels: Observation) -> Iterator[Tensor]:
    """For each of a kernel's weights, row by row, the input [N, I, H', W'] that it is multiplied with."""
    height, width = kernels.weight.shape[2:]
    rows, columns = kernels.gradient.shape[2:]
    below, right = kernels.stride[0] * (rows - 1) + 1, kernels.stride[1] * (columns - 1) + 1
    for row in range(0, height * kernels.dilation[0], kernels.dilation[0]):
        for column in range(0, width * kernels.dilation[1], kernels.dilation[1]):
            window = kernels.input[:, :, row : row + below, column : column + right]
            yield window[..., :: kernels.stride[0], :: kernels.stride[1]]
