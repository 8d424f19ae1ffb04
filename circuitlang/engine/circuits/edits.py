"""Edits that turn a network into a finished circuit."""

from __future__ import annotations

import torch

from circuitlang.plugins.protocols import Edit
from circuitlang.results.types import KeptKernels, LayerEdit, LayerSummary, Result


def edits_from_result(result: Result) -> dict[str, Edit]:
    """Return the edit of each layer, by path, from a result."""
    circuit = result.circuit
    layers = zip(result.summary.layers, circuit.kernels, circuit.changes, strict=True)
    return {layer.path: _edit(layer, kernels, change) for layer, kernels, change in layers}


def _edit(layer: LayerSummary, kernels: KeptKernels, change: LayerEdit) -> Edit:
    inner = layer.in_channels // layer.groups
    gain = torch.zeros(layer.out_channels, inner, *change.gain.shape[1:]).double()
    gain[torch.from_numpy(kernels.target), torch.from_numpy(kernels.source % inner)] = torch.from_numpy(
        change.gain
    ).double()
    offset = torch.zeros(layer.out_channels).double()
    offset[torch.from_numpy(change.rows)] = torch.from_numpy(change.offset).double()
    return Edit(gain, offset)
