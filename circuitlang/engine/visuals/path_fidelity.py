"""Fidelity of the strongest paths alone, for a few settings of the diagram's slider."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from circuitlang.engine.deferred import torch
from circuitlang.plugins.protocols import Edit, Edits, Masks
from circuitlang.results.connections import DRAWN, Connection, connections, opening
from circuitlang.results.types import Circuit, Fidelity, PathFidelity

if TYPE_CHECKING:
    from torch import Tensor

    from circuitlang.engine.circuits.builder import Builder

# The most edges of the settings that are measured, besides half of them and those which the page opens with.
_EDGES = (40, 500, DRAWN)
# The most circuits that are measured.
MOST = len(_EDGES) + 2


def collect(
    builder: Builder,
    circuit: Circuit,
    edits: Edits,
    contributions: Sequence[NDArray[np.float32]],
    judge: Callable[[Masks, Edits], Fidelity],
) -> tuple[PathFidelity, ...]:
    """Measure some of the circuits that the diagram's slider shows: kept kernels that are not drawn are ablated.

    `judge` returns the fidelity of a circuit. The whole circuit is not among them. Cost: up to `MOST` evaluations.
    """
    shown = connections(circuit, DRAWN, contributions)
    until = shown.until
    limits = {max((end for end in until if end <= limit), default=0) for limit in (*_EDGES, len(shown.strongest) // 2)}
    ends = sorted({*limits, until[opening(shown) - 1]} - {0}) if until else []
    measured = []
    for end in ends:
        masks, kernels = _masks(builder, circuit, shown.strongest[:end])
        if kernels == shown.effective:
            continue
        metrics = judge(masks, _part(builder, edits, masks)).metrics
        measured.append(PathFidelity(1 + until.index(end), kernels, dict(metrics)))
    return tuple(measured)


def _masks(builder: Builder, circuit: Circuit, drawn: Sequence[Connection]) -> tuple[Masks, int]:
    """Return the kernels of some connections [out, in / groups] by layer, and their number."""
    members: list[set[int]] = [set() for _ in circuit.kernels]
    for one in drawn:
        members[one.target[0]].update(one.members)
    masks = {}
    for layer, kernels, numbers in zip(builder.subnetwork.layers, circuit.kernels, members, strict=True):
        chosen = np.array(sorted(numbers), np.int64)
        masks[layer.path] = torch.zeros(layer.out_channels, layer.in_channels_per_group, dtype=torch.bool)
        masks[layer.path][kernels.target[chosen], kernels.source[chosen] % layer.in_channels_per_group] = True
    return masks, sum(map(len, members))


def _part(builder: Builder, edits: Edits, masks: Masks) -> Edits:
    """Return the edits of a circuit in which kernels outside of masks are replaced by their ablation values."""
    parts = {}
    for path, edit in edits.items():
        mask = masks[path]
        gain, offset = edit.gain * (mask if edit.gain.dim() == 2 else mask[..., None, None]), edit.offset
        if edit.gain.dim() == 2:
            lost: Tensor = (builder.ablation_values[path] * (edit.gain.cpu().double() * ~mask)).sum(1)
            offset = lost if offset is None else offset + lost.to(offset)
        parts[path] = Edit(gain, offset)
    return parts
