"""Replace in-place operations of a traced network by ones that return a new result."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx
from torch.nn import functional


def _copied(target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Return the source in the shape of the target."""
    return source.expand_as(target)


_OUT_OF_PLACE: Mapping[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}
# Methods that overwrite all of their input.
_FILLED: Mapping[str, Any] = {"zero_": torch.zeros_like, "fill_": torch.full_like, "copy_": _copied}
# Operations that may return their input, and those that return a view of its memory.
_ITSELF = {
    "contiguous", "to", "float", "double", "detach", "dropout", "dropout2d", "stochastic_depth", "Identity", "Dropout",
    "Dropout2d", "AlphaDropout",
}  # fmt: skip
_VIEWS = {
    "getitem", "chunk", "split", "unbind", "view", "reshape", "flatten", "unflatten", "permute", "transpose",
    "swapaxes", "movedim", "moveaxis", "squeeze", "unsqueeze", "expand", "expand_as", "narrow", "select", "view_as",
    "Flatten", "Unflatten",
}  # fmt: skip


def remove_in_place_operations(module: fx.GraphModule) -> None:
    """Let operations that write into their input return a new result, which later operations use in its place.

    Otherwise a recorded input would be overwritten. Later readers of a view of a written tensor are not rewritten:
    their nodes are marked by `meta["written"]`, and channels are not tracked through them.
    """
    nodes = list(module.graph.nodes)
    order = {node: number for number, node in enumerate(nodes)}
    aliases: dict[fx.Node, set[fx.Node]] = {}
    for node in nodes:
        aliases[node] = {node}
        writes = _writes(module, node)
        if (writes or _operation(module, node) in _ITSELF | _VIEWS) and node.args and isinstance(node.args[0], fx.Node):
            source = node.args[0]
            if writes:
                views = any(_operation(module, alias) in _VIEWS for alias in aliases[source])
                for alias in aliases[source]:
                    for user in [user for user in alias.users if order[user] > order[node]]:
                        if views:
                            user.meta["written"] = node.name
                        else:
                            user.replace_input_with(alias, node)
            aliases[node] = aliases[source]
            aliases[source].add(node)
        if writes:
            _rewrite(node)
    for layer in module.modules():
        if getattr(layer, "inplace", False) is True:
            layer.inplace = False  # type: ignore[assignment]
    module.recompile()


def _operation(module: fx.GraphModule, node: fx.Node) -> str:
    if node.op == "call_module":
        return type(module.get_submodule(str(node.target))).__name__
    return str(getattr(node.target, "__name__", node.target))


def _writes(module: fx.GraphModule, node: fx.Node) -> bool:
    """Return whether an operation writes into its first argument."""
    if node.op == "call_module":
        return getattr(module.get_submodule(str(node.target)), "inplace", False) is True
    name = _operation(module, node)
    if node.op == "call_method" or (node.op == "call_function" and name.endswith("_")):
        return name.endswith("_") and not name.endswith("__")
    if node.op != "call_function":
        return False
    return node.target in _OUT_OF_PLACE or _arguments(node).get("inplace") is True


def _arguments(node: fx.Node) -> Mapping[str, Any]:
    """Return the arguments of a function by name, those by position only where its signature is known."""
    try:
        return inspect.signature(node.target).bind(*node.args, **node.kwargs).arguments  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return node.kwargs


def _rewrite(node: fx.Node) -> None:
    """Turn an operation that writes into its input into one that returns a new result."""
    if node.op == "call_method" and node.target in _FILLED:
        node.op, node.target = "call_function", _FILLED[str(node.target)]
    elif node.op == "call_method" and hasattr(torch.Tensor, str(node.target)[:-1]):
        node.target = str(node.target)[:-1]
    elif node.op == "call_function" and node.target in _OUT_OF_PLACE:
        node.target = _OUT_OF_PLACE[node.target]
    elif node.op == "call_function" and "inplace" in (arguments := _arguments(node)):
        node.args, node.kwargs = (), {**arguments, "inplace": False}
        node.args, node.kwargs = (arguments["input"],), {k: v for k, v in node.kwargs.items() if k != "input"}
    elif node.op == "call_function":
        name = str(node.target.__name__).rstrip("_")  # type: ignore[union-attr]
        node.target = getattr(torch, name, None) or getattr(functional, name)
