"""Layer-by-layer refit: the network and the circuit run side by side, one operation at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from circuitlang.engine.circuits.image_seeds import seeded
from circuitlang.engine.circuits.masked_layer import MaskedLayer
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_nodes import Layer
from circuitlang.plugins.protocols import Edit, LayerActivations


@torch.no_grad()
def refit_layers(
    subnetwork: TargetSubnetwork,
    batches: Sequence[Tensor],
    fit: Callable[[Layer, LayerActivations], Edit | None],
    places: int,
) -> dict[str, Edit]:
    """Edit the layers one after the other, each by its input in the network as it is edited so far.

    `fit` sees about `places` positions, as many of each image, and returns None to leave a layer as it is. The
    subnetwork is unchanged afterwards.
    """
    module = subnetwork.module
    edits: dict[str, Edit] = {}
    visited: set[str] = set()
    whole: dict[fx.Node, list[Tensor]] = {}
    circuit: dict[fx.Node, list[Tensor]] = {}
    last = _last_uses(module.graph)
    # The positions that are sampled from an image follow from what is in it, not from how images are batched.
    draws = [[seeded(image, 0) for image in batch] for batch in batches]
    with subnetwork.edited(None):
        for node in module.graph.nodes:
            if node.op == "output":
                break
            layer = module.get_submodule(str(node.target)) if node.op == "call_module" else None
            whole[node] = _outputs(module, node, whole, batches)
            if isinstance(layer, MaskedLayer) and layer.layer.path not in visited:
                path = layer.layer.path
                activations = _activations(layer, circuit[node.all_input_nodes[0]], whole[node], places, draws)
                visited.add(path)
                if (edit := fit(layer.layer, _without_constants(subnetwork, path, activations))) is not None:
                    edits[path] = subnetwork.keeping(path, edit)
            edited = edits.get(layer.layer.path) if isinstance(layer, MaskedLayer) else None
            if edited is None and all(circuit[used] is whole[used] for used in node.all_input_nodes):
                # Nothing on the way here was edited.
                circuit[node] = whole[node]
            else:
                if isinstance(layer, MaskedLayer):
                    layer.edit(edited)
                circuit[node] = _outputs(module, node, circuit, batches)
                if isinstance(layer, MaskedLayer):
                    layer.edit(None)
            for done in last.get(node, ()):
                del whole[done], circuit[done]
    return edits


def _without_constants(subnetwork: TargetSubnetwork, path: str, activations: LayerActivations) -> LayerActivations:
    """Subtract from the wanted output what kernels that read constant channels put out."""
    if path not in subnetwork.constant:
        return activations
    constant = subnetwork.constant[path].to(activations.weight.device)[activations.rows]
    groups = activations.patches.shape[1]
    weight = (activations.weight * constant[..., None, None]).reshape(groups, len(constant) // groups, -1)
    own = torch.einsum("pgk,grk->pgr", activations.patches.flatten(2), weight).flatten(1)
    return replace(activations, wanted=activations.wanted - own)


def _outputs(
    module: fx.GraphModule, node: fx.Node, values: Mapping[fx.Node, list[Any]], batches: Sequence[Tensor]
) -> list[Any]:
    """Run a node for each batch."""
    if node.op == "placeholder":
        return list(batches)
    runner = fx.Interpreter(module)
    outputs = []
    for number in range(len(batches)):
        args, kwargs = fx.map_arg((node.args, node.kwargs), partial(_value, values, number))
        outputs.append(getattr(runner, node.op)(node.target, args, kwargs))
    return outputs


def _value(values: Mapping[fx.Node, list[Any]], batch: int, node: fx.Node) -> Any:
    return values[node][batch]


def _last_uses(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """Return the nodes whose values are not needed after a node, by that node."""
    last: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        last[node] = node
        for used in node.all_input_nodes:
            last[used] = node
    uses: dict[fx.Node, list[fx.Node]] = {}
    for node, user in last.items():
        uses.setdefault(user, []).append(node)
    return uses


def _activations(
    layer: MaskedLayer,
    inputs: list[Tensor],
    outputs: list[Tensor],
    places: int,
    draws: Sequence[Sequence[torch.Generator]],
) -> LayerActivations:
    """Sample about `places` positions of a layer, as many of each image, drawn by a generator for each."""
    patches, wanted = [], []
    most = max(1, places // sum(map(len, outputs)))
    for xs, ys, generators in zip(inputs, outputs, draws, strict=True):
        for x, y, generator in zip(torch.split(xs, 1), torch.split(ys, 1), generators, strict=True):
            maps = layer.maps(y)
            flat = maps.flatten(2)
            chosen = torch.randperm(flat.shape[-1], generator=generator)[:most].to(y.device)
            patches.append(layer.patches(x, chosen, maps.shape[3]))
            wanted.append(flat[..., chosen].permute(0, 2, 1).flatten(0, 1))
    rows = torch.arange(len(layer.weight)) if layer.rows is None else layer.rows
    return LayerActivations(
        layer.weight, layer.bias, rows.to(layer.weight.device), torch.cat(patches), torch.cat(wanted)
    )
