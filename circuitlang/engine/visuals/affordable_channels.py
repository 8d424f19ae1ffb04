"""The channels that a run visualises without being asked to: those of the strongest paths, within a budget of work.

The budget is in operations, not in seconds, so that the same circuit has the same images on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.visuals import amounts
from circuitlang.engine.visuals.visualised_part import work
from circuitlang.results.connections import Channel
from circuitlang.results.types import Circuit
from circuitlang.results.visualised_channels import by_influence


def affordable_channels(
    subnetwork: TargetSubnetwork, circuit: Circuit, contributions: Sequence[NDArray[np.float32]]
) -> list[Channel]:
    """Return channels by layer and number: those of the most influence whose images fit into the budget together.

    Those that read the image are left out, as their filters say more, and so is the channel that is the feature.
    """
    targets = set(zip(circuit.target.origin.tolist(), circuit.target.channel.tolist(), strict=True))
    operations = cache(lambda layer: work(subnetwork.graph, subnetwork.nodes[subnetwork.layers[layer].path]))
    chosen: list[Channel] = []
    remaining = amounts.OPERATIONS
    for layer, channel in by_influence(circuit, contributions):
        if (circuit.wires[layer].origin < 0).any() or targets == {(layer, channel)}:
            continue
        if len(chosen) < amounts.MOST and operations(layer) <= remaining:
            chosen.append((layer, channel))
            remaining -= operations(layer)
    return sorted(chosen)
