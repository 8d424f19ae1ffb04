"""Layers of a traced network and the names that users call them by."""

from __future__ import annotations

from collections.abc import Iterator

from torch import fx, nn

from circuitlang.engine.graph.channel_nodes import Layer


def named_layers(module: fx.GraphModule) -> Iterator[tuple[str, Layer]]:
    """Yield layers by path in execution order; they are called convN and fcN, unless a module has that name."""
    taken = {name for name, _ in module.named_modules()}
    uses = {str(node.target): node.name for node in module.graph.nodes if node.op == "call_module"}
    numbers = {"conv": 0, "fc": 0}
    for path in dict.fromkeys(str(node.target) for node in module.graph.nodes if node.op == "call_module"):
        layer = module.get_submodule(path)
        if not isinstance(layer, (nn.Conv2d, nn.Linear)):
            continue
        word = "conv" if isinstance(layer, nn.Conv2d) else "fc"
        numbers[word] += 1
        alias = f"{word}{numbers[word]}"
        name = path if alias in taken else alias
        if isinstance(layer, nn.Conv2d):
            height, width = layer.kernel_size
            sizes = layer.out_channels, layer.in_channels, layer.groups, (height, width)
            yield path, Layer(path, name, "conv", uses[path], *sizes)
        else:
            yield path, Layer(path, name, "linear", uses[path], layer.out_features, layer.in_features, 1, (1, 1))
