"""List a network's modules as targets may name them: shapes, kernels, and the side of the activation they are on."""

from __future__ import annotations

from collections.abc import Iterator

from torch import fx

from circuitlang.engine.graph.block_outputs import KINDS
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_nodes import ChannelNode, Layer
from circuitlang.engine.graph.node_calls import operation
from circuitlang.plan.layers import NamedModule, Stage

_ACTIVATIONS = frozenset(
    {
        "relu", "relu6", "leakyrelu", "prelu", "rrelu", "elu", "celu", "selu", "gelu", "silu", "swish", "mish", "glu",
        "sigmoid", "logsigmoid", "hardsigmoid", "hardswish", "hardtanh", "tanh", "hardshrink", "softshrink",
        "tanhshrink", "softplus", "softsign", "threshold", "clamp", "clampmin", "maximum", "softmax", "logsoftmax",
    }
)  # fmt: skip
# Operations whose result is on no activation's far side, whatever goes in: the next activation is still to come.
_LINEAR = frozenset(
    {
        "conv2d", "linear", "batchnorm2d", "batchnorm1d", "batchnorm", "layernorm", "groupnorm", "instancenorm2d",
        "layernorm2d", "localresponsenorm", "matmul", "bmm", "einsum",
    }
)  # fmt: skip


def named_modules(graph: Graph) -> list[NamedModule]:
    """Return all modules of a network in the order of their definition, then layers that are no modules."""
    lookup, names = graph.lookup, graph.lookup.node_names()
    kinds: dict[str, str] = graph.module.meta.get(KINDS, {})
    layers = {layer.path: layer for layer in graph.layers}
    stages = dict(_stages(graph.module))
    traced = {node.name: node for node in graph.module.graph.nodes}
    rows = []
    for path in dict.fromkeys([*kinds, *layers]):
        layer = layers.get(path)
        kind = kinds.get(path) or type(graph.module.get_submodule(path)).__name__
        if reason := lookup.refusal(path):
            rows.append(NamedModule(path, kind, refused=reason))
            continue
        name = names[path]
        step = graph.steps.get(name)
        shape = _channels_first(step) if step else tuple(traced[name].meta.get("shape", ())[1:])
        rows.append(NamedModule(path, kind, shape, stages[name], *_kernels(layer), lookup.obstacle(path)))
    return rows


def _kernels(layer: Layer | None) -> tuple[str, int, tuple[int, ...]]:
    """Return a layer's short name, its number of kernels and their size."""
    if layer is None:
        return "", 0, ()
    return layer.name, layer.out_channels * layer.in_channels_per_group, layer.size


def _channels_first(step: ChannelNode) -> tuple[int, ...]:
    return step.width, *step.positions


def _stages(module: fx.GraphModule) -> Iterator[tuple[str, Stage]]:
    """Yield the stage of every node: pooling, dropout and moving values leave it as it is.

    A concatenation may be mixed. A sum, and whatever else has several inputs, is after an activation if all of them
    are; a gate, which multiplies what it is given by an activation, is where that is.
    """
    stages: dict[fx.Node, Stage] = {}
    for node in module.graph.nodes:
        stages[node] = _stage(module, node, [stages[source] for source in node.all_input_nodes if _varies(source)])
        yield node.name, stages[node]


def _varies(node: fx.Node) -> bool:
    return "value" not in node.meta and node.op != "get_attr"


def _stage(module: fx.GraphModule, node: fx.Node, inputs: list[Stage]) -> Stage:
    name = type(module.get_submodule(str(node.target))).__name__ if node.op == "call_module" else operation(node)
    word = name.lower().replace("_", "")
    if word in _ACTIVATIONS:
        return "after"
    if word in _LINEAR or node.op == "placeholder":
        return "before"
    if not inputs or "" in inputs:
        return ""
    if len(set(inputs)) == 1:
        return inputs[0]
    if word in ("cat", "concat", "concatenate", "stack"):
        return "mixed"
    return "before"
