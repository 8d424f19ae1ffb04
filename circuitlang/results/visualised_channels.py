"""The choice of channels that are visualised: those of the strongest paths, as many as a run asks for."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.results.connections import DRAWN, IMAGE, Channel, connections
from circuitlang.results.types import Circuit, Result

# The numbers of channels that stand for words: nothing at all, the feature alone, every channel.
NOTHING, FEATURE, EVERY = -1, 0, sys.maxsize
_WORDS = {"none": NOTHING, "all": EVERY}
_CURE = "take none, all or a number of channels"


def channel_budget(asked: bool | int | str) -> int:
    """Return the number of channels to visualise beside the feature, from `none`, `all`, a number, or a truth value.

    False is the feature alone, and True is every channel. Raises InputError.
    """
    if isinstance(asked, bool):
        return EVERY if asked else FEATURE
    if asked in _WORDS:
        return _WORDS[str(asked)]
    try:
        count = int(asked)
    except ValueError:
        count = NOTHING
    if count < 0:
        raise InputError(Finding("E367", f"there are no '{asked}' channels to visualise", help=_CURE))
    return min(count, EVERY)


def strongest_channels(
    circuit: Circuit, contributions: Sequence[NDArray[np.float32]], count: int = EVERY
) -> list[Channel]:
    """Return at most `count` of the channels with an effective kernel, by layer and number: those of the target first,
    then those through which most influence flows, and those that are on no drawn path last."""
    alive = [
        (layer, channel)
        for layer, kernels in enumerate(circuit.kernels)
        for channel in np.unique(kernels.target[kernels.effective]).tolist()
    ]
    if count >= len(alive):
        return alive
    targets = set(zip(circuit.target.origin.tolist(), circuit.target.channel.tolist(), strict=True))
    influence: defaultdict[Channel, float] = defaultdict(float)
    for one in connections(circuit, DRAWN, contributions).strongest if count else ():
        if one.source != IMAGE:
            influence[one.source] += one.influence
    return sorted(sorted(alive, key=lambda channel: (channel not in targets, -influence[channel], channel))[:count])


def visualised_word(result: Result) -> str:
    """Return the word for what has been visualised: `all` channels, a number of them, the `feature` or `none`."""
    if result.visualisations is None:
        return "none"
    count, every = len(result.visualisations.channels), len(strongest_channels(result.circuit, ()))
    return "all" if count >= every else str(count) if count else "feature"
