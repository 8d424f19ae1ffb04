"""Links between the channels of an atlas: circuits that pass through a channel, and circuits with kernels in common."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from circuitlang.reporting.atlas.entries import AtlasEntry

# Links of each kind on a page.
LISTED, _SIMILAR = 16, 8


@dataclass
class Links:
    """Links of channels by layer and channel, and of entries by number.

    Attributes:
        through: The circuits that pass through a channel, as pairs of influence and number, the most influential first.
        count: The number of circuits that have an effective kernel into a channel.
        similar: The circuits that share most kernels with one, as pairs of the shared part and number.
        width: The number of channels of each layer, in execution order.
    """

    through: dict[tuple[str, int], list[tuple[float, int]]] = field(default_factory=dict)
    count: dict[tuple[str, int], int] = field(default_factory=dict)
    similar: dict[int, list[tuple[float, int]]] = field(default_factory=dict)
    width: dict[str, int] = field(default_factory=dict)


def links(entries: Sequence[AtlasEntry]) -> Links:
    """Return the links between all circuits of an atlas."""
    made = Links(width=_layers(entries))
    heaps: dict[tuple[str, int], list[tuple[float, int]]] = defaultdict(list)
    for number, entry in enumerate(entries):
        for flow in entry.flows:
            heap, item = heaps[flow.layer, flow.unit], (flow.influence, -number)
            if len(heap) < LISTED:
                heapq.heappush(heap, item)
            else:
                heapq.heappushpop(heap, item)
        for layer, channels in entry.alive.items():
            for unit in channels.tolist():
                if (layer, unit) != (entry.layer, entry.unit):
                    made.count[layer, unit] = made.count.get((layer, unit), 0) + 1
    made.through = {
        node: [(influence, -number) for influence, number in sorted(heap, reverse=True)] for node, heap in heaps.items()
    }
    groups: dict[str, list[int]] = defaultdict(list)
    for number, entry in enumerate(entries):
        groups[entry.layer].append(number)
    for numbers in groups.values():
        made.similar |= _similar(entries, numbers)
    return made


def _layers(entries: Sequence[AtlasEntry]) -> dict[str, int]:
    """Return the layers of all circuits in execution order, with their numbers of channels."""
    order: list[str] = []
    width: dict[str, int] = {}
    for names in dict.fromkeys((*entry.layers, entry.layer) for entry in entries):
        place = 0
        for name in names:
            if name in order:
                place = max(place, order.index(name) + 1)
            else:
                order.insert(place, name)
                place += 1
    for entry in entries:
        width.update(entry.layers)
    for entry in entries:
        if entry.layer not in width or entry.layer not in entry.layers:
            width[entry.layer] = max(width.get(entry.layer, 0), (entry.unit or 0) + 1)
    return {name: width[name] for name in order}


def _similar(entries: Sequence[AtlasEntry], numbers: list[int]) -> dict[int, list[tuple[float, int]]]:
    """Return the circuits of a layer that share most kernels with each: the shared part of the kernels of both."""
    sizes = np.array([len(entries[number].sketch) for number in numbers])
    keys, columns = np.unique(np.concatenate([entries[number].sketch for number in numbers]), return_inverse=True)
    rows = np.repeat(np.arange(len(numbers)), sizes)
    have = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (len(numbers), max(len(keys), 1)))
    common = (have @ have.T).toarray()
    either = sizes[:, None] + sizes[None] - common
    shared = np.divide(common, either, out=np.zeros_like(common), where=either > 0)
    made = {}
    for place, number in enumerate(numbers):
        others = [
            other
            for other in np.argsort(-shared[place], kind="stable")[: 2 * _SIMILAR].tolist()
            if entries[numbers[other]].target != entries[number].target and shared[place, other] > 0
        ]
        made[number] = [(float(shared[place, other]), numbers[other]) for other in others[:_SIMILAR]]
    return made
