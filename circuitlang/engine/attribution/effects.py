"""First-order effects of kernels, from a layer's input and gradient.

They are exact for groups, strides, dilation and every padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from circuitlang.engine.deferred import torch
from circuitlang.engine.loops import backend
from circuitlang.plugins.protocols import LayerSignals

if TYPE_CHECKING:
    from torch import Tensor

# The elements of a block that is computed at once: it fits in the CPU's cache and keeps a core busy.
_BLOCK = 1 << 18


class Effects(NamedTuple):
    """The sums of w dL/dw and of |w dL/dw| over a kernel's weights, each [N, O, I / groups]."""

    signed: Tensor
    absolute: Tensor


def effects(kernels: LayerSignals) -> Effects:
    """Return the first-order effect of each kernel on each image's objective.

    It is computed once for all criteria of a pass.
    """
    if "effects" not in kernels.shared:
        kernels.shared["effects"] = _effects(kernels)
    shared: Effects = kernels.shared["effects"]
    return shared


def absolute_effects(kernels: LayerSignals) -> Tensor:
    """Return the sum over images of `effects(kernels).absolute`, [O, I / groups]."""
    if _taps(kernels) == 1 and _positions(kernels) == 1:
        # |w g x| = |w| |g| |x|, which leaves one product of matrices.
        return kernels.weight[..., 0, 0].abs() * _products(kernels.gradient.abs(), kernels.input.abs(), kernels).sum(0)
    return effects(kernels).absolute.sum(0)


def flows(kernels: LayerSignals) -> Tensor:
    """Return the sum over images and positions of |a dL/da| with a the kernel's output map, [O, I / groups]."""
    if _taps(kernels) == 1:
        passed = _products(kernels.gradient.abs(), kernels.input.abs(), kernels).sum(0)
        return kernels.weight[..., 0, 0].abs() * passed
    if (native := backend.compiled("scoring")) and native.suits(kernels):
        sums = kernels.weight.new_zeros(kernels.weight.shape[:2])
        for image in range(len(kernels.input)):
            for rows, traffic in native.groups(kernels, image):
                sums[rows] += traffic.flows()
        return sums
    out, inner = kernels.weight.shape[:2]
    outputs_per_group, taps, positions = out // kernels.groups, _taps(kernels), _positions(kernels)
    sums = kernels.weight.new_zeros(kernels.groups, inner, outputs_per_group)
    # One matrix product for each input channel gives the output maps of its kernels.
    weight = kernels.weight.reshape(kernels.groups, outputs_per_group, inner, taps).transpose(1, 2).contiguous()
    rows = min(outputs_per_group, max(1, _BLOCK // positions))
    channels = max(1, _BLOCK // (rows * positions))
    block = kernels.weight.new_empty(min(channels, inner) * rows * positions)
    for image in range(len(kernels.input)):
        x = kernels.input[image].contiguous().reshape(kernels.groups, inner, *kernels.input.shape[2:])
        strength = kernels.gradient[image].abs().reshape(kernels.groups, outputs_per_group, positions)
        for group in range(kernels.groups):
            for i in range(0, inner, channels):
                patches = _windows(x[group, i : i + channels], kernels).reshape(-1, taps, positions)
                for o in range(0, outputs_per_group, rows):
                    some = weight[group, i : i + channels, o : o + rows]
                    output = block[: some.shape[0] * some.shape[1] * positions].view(*some.shape[:2], positions)
                    torch.bmm(some, patches, out=output)
                    output *= strength[group, o : o + rows]
                    sums[group, i : i + channels, o : o + rows] += output.abs_().sum(-1)
    return sums.transpose(1, 2).reshape(out, inner)


def centred_moments(kernels: LayerSignals) -> Tensor:
    """Return the moments of a batch that `centred` needs, [5, O, I / groups].

    With A the first-order effect <w, dL/dw> of the kernel's output on an image's objective, B the objective's gradient
    with respect to a constant added to it, and m its mean over the image's positions: the sums over images of A^2, AB,
    B^2, m and 1.
    """
    effect = effects(kernels).signed.double()
    shift = kernels.gradient.sum((2, 3), dtype=torch.float64)[..., None]
    moments = effect.new_empty(5, *effect.shape[1:])
    torch.sum(effect.square(), 0, out=moments[0])
    torch.sum(effect * shift, 0, out=moments[1])
    moments[2] = shift.square().sum(0)
    moments[3] = _mean_outputs(kernels)
    moments[4] = len(effect)
    return moments


def centred(moments: Tensor) -> Tensor:
    """Return the sum over images of (A - mB)^2, the squared effect of setting a kernel's output to its mean m.

    m is the mean over all images and positions; the effect is of first order. `moments` are the sums of
    `centred_moments` over all batches.
    """
    effect, both, shift, output, images = moments
    # Output channels without any image have moments of zero.
    mean = output / images.clamp_min(1)
    scores: Tensor = effect - 2 * mean * both + mean.square() * shift
    # The remainder of a kernel whose output is constant is rounding of single precision.
    return torch.where(scores > 1e-12 * effect, scores, 0)


def _taps(kernels: LayerSignals) -> int:
    return kernels.weight.shape[2] * kernels.weight.shape[3]


def _positions(kernels: LayerSignals) -> int:
    return kernels.gradient.shape[2] * kernels.gradient.shape[3]


def _effects(kernels: LayerSignals) -> Effects:
    if _taps(kernels) == 1:
        signed = _products(kernels.gradient, kernels.input, kernels).mul_(kernels.weight[..., 0, 0])
        return Effects(signed, signed.abs())
    shape = (len(kernels.input), *kernels.weight.shape[:2])
    signed, absolute = kernels.weight.new_empty(shape), kernels.weight.new_empty(shape)
    weight = kernels.weight.flatten(2).transpose(1, 2)
    native = backend.compiled("scoring")
    compiled = native is not None and native.suits(kernels)
    for image in range(len(kernels.input)):
        if native and compiled and (sparse := native.sparse(kernels, image)):
            for rows, traffic in sparse:
                signed[image, rows], absolute[image, rows] = traffic.effects()
            continue
        for rows, gradient in _weight_gradients(kernels, image):
            part = weight[rows] * gradient
            signed[image, rows] = part.sum(1)
            absolute[image, rows] = part.abs_().sum(1)
    return Effects(signed, absolute)


def _products(gradient: Tensor, x: Tensor, kernels: LayerSignals) -> Tensor:
    """Return the sum over positions of gradient times input for 1 x 1 kernels, [N, O, I / groups]."""
    groups, positions = kernels.groups, _positions(kernels)
    seen = x[..., :: kernels.stride[0], :: kernels.stride[1]][..., : gradient.shape[2], : gradient.shape[3]]
    seen = seen.permute(0, 2, 3, 1).reshape(len(x), positions, groups, -1).permute(0, 2, 1, 3)
    slopes = gradient.permute(0, 2, 3, 1).reshape(len(x), positions, groups, -1).permute(0, 2, 3, 1)
    return (slopes @ seen).flatten(1, 2)


def _weight_gradients(kernels: LayerSignals, image: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield the gradient of an image's objective with respect to the weights of some output channels at a time.

    Each item is a slice of output channels and their gradient [rows, taps, I / groups].
    """
    out, inner, height, width = kernels.weight.shape
    outputs_per_group, positions = out // kernels.groups, _positions(kernels)
    x, gradient = kernels.input[image : image + 1], kernels.gradient[image : image + 1]
    if outputs_per_group <= positions:
        _, slopes, _ = torch.ops.aten.convolution_backward(
            gradient, x, kernels.weight, None, kernels.stride, (0, 0), kernels.dilation, False, (0, 0), kernels.groups,
            (False, True, False),
        )  # fmt: skip
        yield slice(0, out), slopes.flatten(2).transpose(1, 2)
        return
    # There are more weights than positions: computed in blocks, their gradient stays in the CPU's cache.
    step = max(1, _BLOCK // (inner * height * width))
    flat_gradient = gradient.reshape(out, positions)
    for group in range(kernels.groups):
        seen = x[0, group * inner : (group + 1) * inner]
        patches = _windows(seen, kernels).permute(3, 4, 1, 2, 0).reshape(positions, -1)
        for start in range(group * outputs_per_group, (group + 1) * outputs_per_group, step):
            rows = slice(start, min(start + step, (group + 1) * outputs_per_group))
            yield rows, (flat_gradient[rows] @ patches).reshape(-1, height * width, inner)


def _windows(x: Tensor, kernels: LayerSignals) -> Tensor:
    """Return a view [C, h, w, H', W'] of the input [C, H, W]: the value under each weight at each output position."""
    channel, row, column = x.stride()
    size = (len(x), *kernels.weight.shape[2:], *kernels.gradient.shape[2:])
    taps = row * kernels.dilation[0], column * kernels.dilation[1]
    return x.as_strided(size, (channel, *taps, row * kernels.stride[0], column * kernels.stride[1]))


def _mean_outputs(kernels: LayerSignals) -> Tensor:
    """Return the mean over positions of each kernel's output, summed over images, [O, I / groups]."""
    out, inner, height, width = kernels.weight.shape
    means = (window_sums(kernels) / _positions(kernels)).to(kernels.weight.dtype)
    means = means.reshape(height * width, kernels.groups, 1, inner)
    # The weights lie channels last in memory.
    weight = kernels.weight.permute(2, 3, 0, 1).reshape(height * width, kernels.groups, -1, inner)
    outputs = weight[0] * means[0]
    for tap in range(1, height * width):
        outputs.addcmul_(weight[tap], means[tap])
    return outputs.reshape(out, inner)


def window_sums(kernels: LayerSignals) -> Tensor:
    """Return the sum over images and positions of the input under each weight of a kernel, float64 [h, w, I]."""
    height, width = kernels.weight.shape[2:]
    rows, columns = kernels.gradient.shape[2:]
    # Summing in the order of memory, channels last, is several times faster.
    x = kernels.input.permute(0, 2, 3, 1)

    def spread(start: int, number: int, axis: int) -> slice:
        first, step = start * kernels.dilation[axis], kernels.stride[axis]
        return slice(first, first + step * (number - 1) + 1, step)

    across = [x[:, :, spread(0, columns, 1)].sum(2, dtype=torch.float64).sum(0)]
    for j in range(1, width):
        if kernels.stride[1] > 1:
            across.append(x[:, :, spread(j, columns, 1)].sum(2, dtype=torch.float64).sum(0))
            continue
        # Moving the window to the right removes some columns and adds as many.
        lost, gained = (
            slice(at, at + kernels.dilation[1])
            for at in ((j - 1) * kernels.dilation[1], columns + (j - 1) * kernels.dilation[1])
        )
        across.append(across[-1] + (x[:, :, gained].double() - x[:, :, lost].double()).sum((0, 2)))
    lines = torch.stack(across)
    return torch.stack([lines[:, spread(i, rows, 0)].sum(1) for i in range(height)])
