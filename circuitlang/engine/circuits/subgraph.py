"""The operations that a target depends on, as a module of their own over the network's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx

from circuitlang.engine.circuits.masked_layer import MaskedLayer
from circuitlang.engine.circuits.norm_gradients import STEADY, light
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.programs.interpreted import Interpreted


def cut_subgraph(graph: Graph, last: str, layers: Mapping[str, MaskedLayer]) -> fx.GraphModule:
    """Copy the part of a graph that its step `last` depends on, with masked layers in place of the layers."""
    part = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    modules: dict[str, Any] = {}
    wanted = _upstream(next(node for node in graph.module.graph.nodes if node.name == last))
    for node in graph.module.graph.nodes:
        if node not in wanted and node.op != "placeholder":
            continue
        copies[node] = part.node_copy(node, lambda used: copies[used])
        # A view needs its channels first in memory. Nothing writes in place here, so a copy does as well.
        copies[node].target = _RESHAPES.get(node.target) or STEADY.get(node.target) or node.target
        if node.op == "call_module":
            path = str(node.target)
            modules[path] = layers.get(path) or light(graph.module.get_submodule(path))
            if path in layers and (node.name not in graph.steps or not graph.steps[node.name].layer):
                # Calls on constants or on positions are not the circuit's.
                copies[node].target = free = _free(path, modules)
                modules[free] = graph.module.get_submodule(path)
        if node.op == "get_attr":
            modules[str(node.target)] = attrgetter(str(node.target))(graph.module)
        if node.name == last:
            part.output(copies[node])
            break
    return Interpreted(modules, part)


def _free(path: str, modules: Mapping[str, Any]) -> str:
    """Return a name like a path that no module has yet."""
    return next(name for number in count(1) if (name := f"{path.replace('.', '_')}_{number}") not in modules)


def reshaped(self: Tensor, size: Sequence[int]) -> Tensor:
    """Compute `aten.view`, whose arguments bear these names in a graph, of a tensor of any strides."""
    return self.reshape(size)


_RESHAPES: dict[Any, Any] = {
    "view": "reshape",
    "view_as": "reshape_as",
    torch.ops.aten.view.default: reshaped,
    torch.ops.aten._unsafe_view.default: reshaped,
}


def _upstream(node: fx.Node) -> set[fx.Node]:
    nodes, waiting = {node}, [node]
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source not in nodes:
                nodes.add(source)
                waiting.append(source)
    return nodes
