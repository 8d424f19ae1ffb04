"""Compare outputs of two runs of a network, up to rounding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Single precision rounds to 6e-8 of a value. Sums of thousands of terms, in another order for another batch size, and
# a hundred layers make about 1e-6 to 1e-5 of the largest value of it; a network that computes something else differs
# by 1e-2 and more. A channel whose values are small beside others' is compared by its own largest value, and may
# differ by a millionth of the others', which it may be a difference of.
TOLERANCE = 1e-4
_OF_ALL = 1e-6


def difference(actual: Tensor, wanted: Tensor) -> float:
    """Return the largest relative difference of any channel [N, C, ...]; infinite for other shapes.

    It is relative to the largest value of the channel, but at least to 1 % of the largest of all channels.
    """
    if actual.shape != wanted.shape:
        return float("inf")
    if actual.numel() == 0 or torch.equal(actual, wanted):
        return 0.0
    actual, wanted = (x.detach().cpu().double() for x in (actual, wanted))
    if wanted.dim() > 1:
        actual, wanted = (x.movedim(1, 0).flatten(1) for x in (actual, wanted))
    else:
        actual, wanted = actual.reshape(1, -1), wanted.reshape(1, -1)
    apart = (actual - wanted).abs()
    # Infinities and NaNs are equal where both have them.
    apart[(actual == wanted) | (actual.isnan() & wanted.isnan())] = 0
    own = wanted.nan_to_num(0, 0, 0).abs().amax(1, keepdim=True)
    scale = own.maximum(_OF_ALL / TOLERANCE * own.amax())
    return float((apart / scale.clamp_min(torch.finfo(torch.float64).tiny)).nan_to_num(float("inf")).amax())


def agree(actual: Sequence[Tensor], wanted: Sequence[Tensor], tolerance: float) -> bool:
    """Return whether outputs agree; a traced network may have fewer, if each is one of the module's."""
    if len(actual) == len(wanted):
        return all(difference(a, b) <= tolerance for a, b in zip(actual, wanted, strict=True))
    return bool(actual) and all(any(difference(a, b) <= tolerance for b in wanted) for a in actual)


def worst_difference(actual: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Return the largest difference of any output; infinite for another number of them."""
    if len(actual) != len(wanted):
        return float("inf")
    return max(map(difference, actual, wanted), default=0.0)


def reverse(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Return outputs with their images in reverse order."""
    return [output.flip(0) if output.dim() else output for output in outputs]


def first_image(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Return the outputs of the first image alone."""
    return [output[:1] if output.dim() else output for output in outputs]
