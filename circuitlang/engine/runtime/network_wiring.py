"""The wires and weights of a plan's network as plain arrays, for circuits that are stored without them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from circuitlang.engine.graph.channel_origins import channel_origins, input_origins
from circuitlang.engine.graph.targets import resolve
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.runtime.model_loading import load_model
from circuitlang.plan.model import Plan
from circuitlang.results.packed.wiring import NetworkWiring
from circuitlang.results.types import ChannelSources


def network_wiring(plan: Plan, folder: Path, allow_code: bool = False) -> NetworkWiring:
    """Load the model of a plan, without its images, and return its wiring. Raises InputError."""
    model = load_model(plan.model, folder, allow_code)
    graph = trace(model.module, (model.preprocess.crop, model.preprocess.crop), model.preprocess.channels)
    origins: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    targets = {}
    for target in {str(circuit.target): circuit.target for circuit in plan.circuits}.values():
        resolved = resolve(target, graph, model.classes, model.output)
        step = resolved.step.name
        unit, origin, channel = origins.get(step) or channel_origins(graph, step)
        origins[step] = unit, origin, channel
        number, row = (unit == torch.tensor(resolved.units)[:, None]).nonzero(as_tuple=True)
        targets[str(target)] = _sources(number, origin[row], channel[row])
    with torch.no_grad():
        weights = {
            layer.path: graph.kernels[layer.path].flatten(2).sum(-1).float().cpu().numpy() for layer in graph.layers
        }
    wires = {layer.path: _sources(*input_origins(graph, layer)) for layer in graph.layers}
    return NetworkWiring([layer.path for layer in graph.layers], wires, weights, targets)


def _sources(source: Tensor, origin: Tensor, channel: Tensor) -> ChannelSources:
    return ChannelSources(source.numpy(), origin.numpy(), channel.numpy())
