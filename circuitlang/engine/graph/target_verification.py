"""Verify that the nodes of targets compute what the modules of these names give.

A traced network may compute the network's outputs and still have another value under the name of a module that is
called several times, or whose forward method was replaced. The module's output is therefore recorded by a hook.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from circuitlang.base.diagnostics import Finding
from circuitlang.engine.device import arithmetic
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.output_difference import difference
from circuitlang.engine.models.sandbox import private_copy, quiet, random_states, untouched

# Rounding that a network amplifies stays below this share of the largest value; another call of a module does not.
_TOLERANCE = 1e-2


def wrong_targets(graph: Graph, model: nn.Module, images: Tensor, layers: Collection[str]) -> dict[str, Finding]:
    """Return a finding for each layer whose node is not the output of the last call of the module of its name.

    Args:
        graph: the traced network, which computes the network's outputs.
        model: the network as it was given; it is left as it is.
        images: a few of the images, [N, C, H, W].
        layers: names of targets' layers. Names that are no module's are skipped, and so are layers whose weights the
            network uses without calling their module.
    """
    weight = next(model.parameters(), images)
    images = images.to(weight.device, weight.dtype)
    with arithmetic(images.device), torch.no_grad(), quiet():
        module_outputs = _module_outputs(model, images, layers)
        module_outputs |= {
            layer: [] for layer in layers if layer not in module_outputs and graph.lookup.traced_into(layer)
        }
        traced = _node_values(graph, images, {layer: graph.find(layer).name for layer in module_outputs})
    return {
        layer: finding
        for layer, outputs in module_outputs.items()
        if (finding := _disagreement(layer, traced[layer], outputs)) is not None
    }


def _disagreement(layer: str, traced: Tensor, outputs: Sequence[Tensor]) -> Finding | None:
    apart = difference(traced, outputs[-1]) if outputs else float("inf")
    if apart <= _TOLERANCE:
        return None
    message = f"the traced network has other values at '{layer}' than the network's own module"
    if not outputs:
        label = f"when the network itself is run, '{layer}' gives no tensor"
        return Finding("E308", message, None, label, "choose a module that is called and whose output is a tensor")
    size = "of another size" if apart == float("inf") else f"that differ by {apart:.1e} of the largest value"
    times = "once" if len(outputs) == 1 else f"{len(outputs)} times, and its last output counts"
    cure = "choose a target behind it, or a module that is called once and whose forward method is its own"
    return Finding("E308", message, None, f"values {size}; the module is called {times}", cure)


def _module_outputs(model: nn.Module, images: Tensor, layers: Collection[str]) -> dict[str, list[Tensor]]:
    """Run a network and return the outputs of each call of some of its modules, before hooks change them."""
    outputs: dict[str, list[Tensor]] = {}

    def record(layer: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                outputs.setdefault(layer, []).append(output.detach().clone())

        return hook

    with untouched(model), random_states(0, images.device):
        module = private_copy(model).eval()
        modules = dict(module.named_modules(remove_duplicate=False))
        for layer in layers:
            if layer in modules:
                modules[layer].register_forward_hook(record(layer), prepend=True)
        module(images.clone())
    return outputs


def _node_values(graph: Graph, images: Tensor, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Run a traced network and return the values of nodes, by what they are called in `names`."""
    recorder = _Recorder(graph.module, frozenset(names.values()))
    recorder.run(images.clone())
    return {layer: recorder.values[name] for layer, name in names.items()}


class _Recorder(fx.Interpreter):
    """Runs a traced network and records the values of some nodes."""

    def __init__(self, module: fx.GraphModule, names: frozenset[str]) -> None:
        super().__init__(module)
        self._names = names
        self.values: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self._names:
            self.values[n.name] = value.clone()
        return value
