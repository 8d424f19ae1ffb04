"""The choice of channels that are visualised: those of the strongest paths, as many as a run asks for."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from circuitlang.base.deferred import np
from circuitlang.base.diagnostics import Finding, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from circuitlang.results.connections import Channel
    from circuitlang.results.types import Circuit, Result

# The numbers that stand for words, each more than the one before: nothing at all, the feature alone, as many channels
# as the budget of a run allows, and every channel.
NOTHING, FEATURE, BUDGET, EVERY = -2, -1, 0, sys.maxsize
# The name of the images among the parts of a result that can be missing.
VISUALISATIONS = "visualisations"
_WORDS = {"none": NOTHING, "all": EVERY}
_CURE = "take none, all or a number of channels"


def channel_budget(asked: bool | int | str | None) -> int:
    """Return the number of channels to visualise beside the feature, from `none`, `all`, a number, or a truth value.

    None is as many as the budget of a run allows, 0 and False are the feature alone, and True is every channel. Raises
    InputError.
    """
    if asked is None:
        return BUDGET
    if isinstance(asked, bool):
        return EVERY if asked else FEATURE
    if asked in _WORDS:
        return _WORDS[str(asked)]
    try:
        count = int(asked)
    except ValueError:
        count = -1
    if count < 0:
        raise InputError(Finding("E367", f"there are no '{asked}' channels to visualise", help=_CURE))
    return min(count, EVERY) if count else FEATURE


def strongest_channels(
    circuit: Circuit, contributions: Sequence[NDArray[np.float32]], count: int = EVERY
) -> list[Channel]:
    """Return at most `count` of the channels with an effective kernel, by layer and number: those of the target first,
    then those through which most influence flows, and those that are on no drawn path last."""
    alive = _alive(circuit)
    if count >= len(alive):
        return alive
    return sorted(by_influence(circuit, contributions)[: max(count, 0)])


def by_influence(circuit: Circuit, contributions: Sequence[NDArray[np.float32]]) -> list[Channel]:
    """Return the channels with an effective kernel: those of the target first, then those through which most influence
    flows."""
    # Runs that are finished ask for words alone.
    from circuitlang.results.connections import DRAWN, IMAGE, connections

    targets = set(zip(circuit.target.origin.tolist(), circuit.target.channel.tolist(), strict=True))
    influence: defaultdict[Channel, float] = defaultdict(float)
    for one in connections(circuit, DRAWN, contributions).strongest:
        if one.source != IMAGE:
            influence[one.source] += one.influence
    return sorted(_alive(circuit), key=lambda channel: (channel not in targets, -influence[channel], channel))


def _alive(circuit: Circuit) -> list[Channel]:
    return [
        (layer, channel)
        for layer, kernels in enumerate(circuit.kernels)
        for channel in np.unique(kernels.target[kernels.effective]).tolist()
    ]


def visualised_amount(word: str) -> int:
    """Return the number that stands for a word of `visualised_word`. Raises InputError."""
    amounts = {"feature": FEATURE, "budget": BUDGET}
    return amounts[word] if word in amounts else channel_budget(word)


def visualised_word(result: Result) -> str:
    """Return the word for what has been visualised: `all` channels, a number of them, those of the `budget`, the
    `feature` or `none`."""
    if result.visualisations is None:
        return "none"
    if result.visualisations.budget:
        return "budget"
    count, every = len(result.visualisations.channels), len(_alive(result.circuit))
    return "all" if count >= every else str(count) if count else "feature"
