"""Find how many channels the images of a network have, from the network itself."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from circuitlang.compiler.preprocessing import HIGHEST, MOST_NUMBERS


def image_channels(private: nn.Module, size: tuple[int, int], usual: int = 3) -> int:
    """The first number of channels that the network runs with: the usual one, three, or what its layers take.

    `private` is run in evaluation mode with an image of `size` (height, width). Where no number runs, the usual one is
    returned, for the error that tracing raises then is about the usual images.
    """
    candidates = dict.fromkeys((usual, 3, *_candidates(private, size), 1, 2, 4))
    return next((count for count in candidates if _runs(private, size, count)), usual)


def _candidates(module: nn.Module, size: tuple[int, int]) -> Iterator[int]:
    """The channels that layers take, in the order of the layers."""
    for layer in module.modules():
        inner = getattr(layer, "in_channels", 0)
        if isinstance(layer, nn.Linear):
            # Of a flattened image.
            inner, rest = divmod(layer.in_features, size[0] * size[1])
            inner = 0 if rest else inner
        weights = (each for each in layer.parameters(recurse=False) if not is_lazy(each))
        own = [each.shape[1] for each in weights if each.dim() == 4]
        for count in (inner, *own):
            if isinstance(count, int) and 0 < count <= HIGHEST["image_channels"]:
                yield count


def _runs(module: nn.Module, size: tuple[int, int], count: int) -> bool:
    if count * size[0] * size[1] > MOST_NUMBERS:
        return False
    sample = next(module.parameters(), torch.zeros(0))
    devices = [sample.device] if sample.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            images = torch.zeros(1, count, *size, device=sample.device, dtype=sample.dtype)
            module(images)
    except Exception:  # a network raises anything for images that it does not take
        return False
    return True
