"""Find how many channels the images of a network have, from the network itself."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from circuitlang.plan.preprocessing import HIGHEST, MOST_NUMBERS


def image_channels(private: nn.Module, size: tuple[int, int], usual: int = 3) -> int:
    """The first number of channels that the network runs with: the usual one, three, or what its layers take.

    `private` is run in evaluation mode with an image of `size` (height, width). Where no number runs, as with images of
    a wrong size, it is that with which the most modules run.
    """
    best, most = usual, -1.0
    for count in dict.fromkeys((usual, 3, *_candidates(private, size), 1, 2, 4)):
        reached = _modules_that_run(private, size, count)
        if reached > most:
            best, most = count, reached
        if most == math.inf:
            break
    return best


def _candidates(module: nn.Module, size: tuple[int, int]) -> Iterator[int]:
    """The channels that layers take, in the order of the layers."""
    for layer in module.modules():
        inner = getattr(layer, "in_channels", 0)
        if isinstance(layer, nn.Linear):
            # The input is a flattened image.
            inner, rest = divmod(layer.in_features, size[0] * size[1])
            inner = 0 if rest else inner
        weights = (parameter for parameter in layer.parameters(recurse=False) if not is_lazy(parameter))
        own = [weight.shape[1] for weight in weights if weight.dim() == 4]
        for count in (inner, *own):
            if isinstance(count, int) and 0 < count <= HIGHEST["image_channels"]:
                yield count


def _modules_that_run(module: nn.Module, size: tuple[int, int], count: int) -> float:
    """Return how many modules run before one fails; infinite if the whole network runs."""
    if count * size[0] * size[1] > MOST_NUMBERS:
        return -1
    sample = next(module.parameters(), torch.zeros(0))
    devices = [sample.device] if sample.device.type == "cuda" else []
    returned: list[nn.Module] = []
    handles = [submodule.register_forward_hook(lambda own, *_: returned.append(own)) for submodule in module.modules()]
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            images = torch.zeros(1, count, *size, device=sample.device, dtype=sample.dtype)
            module(images)
    except Exception:  # a network raises anything for images that it does not take
        return len(returned)
    finally:
        for handle in handles:
            handle.remove()
    return math.inf
