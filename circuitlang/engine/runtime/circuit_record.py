"""A circuit that was built → the arrays that its folder keeps."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from msgspec import UNSET
from torch import Tensor

from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.extraction.liveness import edited_channels
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_nodes import Layer
from circuitlang.engine.graph.channel_origins import channel_origins, input_origins
from circuitlang.engine.runtime.circuit_finder import BuiltCircuit
from circuitlang.plugins.protocols import Edit
from circuitlang.results.types import ChannelSources, Circuit, KeptKernels, LayerEdit, LayerSummary


def layer_summary(
    builder: Builder, layer: Layer, built: BuiltCircuit, kernels: KeptKernels, shares: Mapping[str, Tensor] | None
) -> LayerSummary:
    """Return the numbers of a layer of a circuit; `shares` are those of other circuits that have its kernels."""
    relevant, weight = builder.relevant[layer.path], builder.weights[layer.path].cpu()
    return LayerSummary(
        name=layer.name,
        path=layer.path,
        kind=layer.kind,
        out_channels=layer.out_channels,
        in_channels=layer.in_channels,
        groups=layer.groups,
        relevant=int(relevant.sum()),
        zero=int((relevant & (weight == 0).all(-1).all(-1)).sum()),
        kept=int(built.masks[layer.path].sum()),
        effective=int(built.effective[layer.path].sum()),
        shares=UNSET if shares is None else _shares(layer, kernels, built.masks[layer.path], shares[layer.path]),
    )


def _shares(layer: Layer, kernels: KeptKernels, mask: Tensor, shares: Tensor) -> list[float]:
    """Return the shares of a layer's kept kernels in their order; of single weights the mean of those that are kept."""
    if mask.dim() == 4:
        shares = (shares * mask).sum((-2, -1)) / mask.sum((-2, -1)).clamp_min(1)
    column = torch.from_numpy(kernels.source) % layer.in_channels_per_group
    # Shares of a handful of circuits need no more digits.
    return [round(share, 4) for share in shares[torch.from_numpy(kernels.target), column].tolist()]


def circuit_record(subnetwork: TargetSubnetwork, built: BuiltCircuit) -> Circuit:
    """Return the kernels, the sources of channels, and the changes of a circuit that was built."""
    gains = {path: edit.gain for path, edit in built.edits.items()}
    weights = {
        path: weight.cpu() * (gains[path] if gains[path].dim() == 4 else gains[path][..., None, None])
        for path, weight in subnetwork.weights.items()
    }
    kernels = tuple(
        _kernels(layer, *(values[layer.path] for values in (built.scores, built.masks, built.effective, weights)))
        for layer in subnetwork.layers
    )
    wires = tuple(_wire(subnetwork, *input_origins(subnetwork.graph, layer)) for layer in subnetwork.layers)
    unit, origin, channel = channel_origins(subnetwork.graph, subnetwork.target.step.name)
    units = torch.tensor(subnetwork.target.units)
    number, row = (unit == units[:, None]).nonzero(as_tuple=True)
    edited = edited_channels(subnetwork)
    changes = tuple(
        _change(layer, kernel, built.edits[layer.path], edited[layer.path], subnetwork.constant.get(layer.path))
        for layer, kernel in zip(subnetwork.layers, kernels, strict=True)
    )
    return Circuit(kernels, wires, _wire(subnetwork, number, origin[row], channel[row]), changes)


def _change(layer: Layer, kernels: KeptKernels, edit: Edit, rows: Tensor, constant: Tensor | None) -> LayerEdit:
    target = torch.from_numpy(kernels.target)
    gain = edit.gain[target, torch.from_numpy(kernels.source) % layer.in_channels_per_group].float().cpu()
    offset = torch.zeros(len(rows)) if edit.offset is None else edit.offset[rows].float().cpu()
    stays = torch.zeros(0, dtype=torch.int64) if constant is None else constant.flatten().nonzero()[:, 0]
    return LayerEdit(rows.numpy(), gain.numpy(), offset.numpy(), stays.numpy())


def _wire(subnetwork: TargetSubnetwork, source: Tensor, origin: Tensor, channel: Tensor) -> ChannelSources:
    """Return the sources of some channels, by the subnetwork's own numbers of the layers; others have no kernel that
    matters."""
    number = {layer.path: index for index, layer in enumerate(subnetwork.layers)}
    known = [number.get(layer.path, -2) for layer in subnetwork.graph.layers]
    own = torch.tensor([*known, -1])[origin]
    return ChannelSources(*(part[own > -2].numpy() for part in (source, own, channel)))


def _kernels(layer: Layer, scores: Tensor, mask: Tensor, effective: Tensor, weight: Tensor) -> KeptKernels:
    """The kernels of a layer of which anything is kept, strongest first; of single weights the scores are added up."""
    if mask.dim() == 4:
        scores = (scores * mask).sum((-2, -1))
        mask, effective = mask.flatten(2).any(-1), effective.flatten(2).any(-1)
    row, column = mask.nonzero(as_tuple=True)
    order = torch.sort(scores[row, column], descending=True, stable=True).indices
    row, column = row[order], column[order]
    return KeptKernels(
        target=row.numpy(),
        source=layer.input_channels()[row, column].numpy(),
        score=scores[row, column].numpy(),
        weight=weight[row, column].float().cpu().numpy(),
        effective=effective[row, column].numpy(),
    )
