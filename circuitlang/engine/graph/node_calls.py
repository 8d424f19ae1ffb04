"""Names of traced operations, and their execution one by one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx


def operation(node: fx.Node) -> str:
    """Return the name of a node's function or method; a module's path."""
    return str(getattr(node.target, "__name__", node.target))


def call(module: fx.GraphModule, node: fx.Node, arguments: Any, keywords: Any) -> Any:
    """Return the result of a node's operation for other arguments."""
    if node.op == "call_module":
        return module.get_submodule(str(node.target))(*arguments, **keywords)
    if node.op == "call_method":
        return getattr(arguments[0], str(node.target))(*arguments[1:], **keywords)
    return node.target(*arguments, **keywords)  # type: ignore[operator]


def run(module: fx.GraphModule, order: list[fx.Node], known: dict[str, Tensor]) -> dict[str, Any]:
    """Run nodes in order, from known results by name, and return the results of all."""
    results: dict[str, Any] = dict(known)

    def value(used: fx.Node) -> Any:
        return used.meta["value"] if "value" in used.meta else results[used.name]

    with torch.no_grad():
        for node in order:
            arguments, keywords = fx.map_arg(node.args, value), fx.map_arg(node.kwargs, value)
            results[node.name] = call(module, node, arguments, keywords)
    return results
