"""Replace calls of `conv2d` and `linear` by layers, if their weight is the same for all images."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

_KINDS: Mapping[Any, Any] = {functional.conv2d: nn.Conv2d, torch.conv2d: nn.Conv2d, functional.linear: nn.Linear}
_WORDS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
# The key under which the tracer stores the path of the module that called an operation.
CALLER = "caller"


def layers_of_functions(module: fx.GraphModule) -> None:
    """Replace each call of a layer's function by a layer at the path of the module that it belongs to.

    The weight may be a parameter or computed from parameters and buffers alone, as standardised, normalised and masked
    weights are: in evaluation mode it is constant, and the layer has its value. A weight that is computed from the
    image makes no layer; the operation then says so.
    """
    made: dict[str, nn.Module] = {}
    constants = _Constants(module)
    for node in list(module.graph.nodes):
        if node.op != "call_function" or node.target not in _KINDS:
            continue
        arguments = {**dict(zip(_WORDS, node.args, strict=False)), **node.kwargs}
        source, weight, bias = arguments.pop("input"), arguments.pop("weight"), arguments.pop("bias", None)
        # Lets a target ask for it, and an error tell why it is no layer.
        node.meta.setdefault("layer", node.meta.get(CALLER) or node.name)
        stored = [parameter for parameter in (weight, bias) if parameter is not None]
        if not all(parameter in constants for parameter in stored):
            node.meta["refused"] = f"its {'weight' if weight not in constants else 'bias'} is computed from the image"
            node.meta["computed"] = True
            continue
        if any(isinstance(argument, fx.Node) for argument in arguments.values()):
            node.meta["refused"] = "its arguments are computed from the image"
            continue
        values = [constants.value(parameter) for parameter in stored]
        layer = _layer(_KINDS[node.target], values, arguments)
        path = _path(module, node, weight, layer, made)
        if path is None:
            node.meta["refused"] = "its weight is used in another way elsewhere"
            continue
        made[path] = layer
        _place(module, path, layer)
        with module.graph.inserting_before(node):
            call = module.graph.call_module(path, (source,))
        call.meta[CALLER] = node.meta.get(CALLER, "")
        node.replace_all_uses_with(call)
        module.graph.erase_node(node)
    for node in reversed(list(module.graph.nodes)):
        if node in constants and not node.users:
            module.graph.erase_node(node)
    module.recompile()


class _Constants(fx.Interpreter):
    """Operations that depend on stored tensors alone, and their values, each computed once."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self._names: set[fx.Node] = set()
        self._values: dict[fx.Node, Any] = {}
        for node in module.graph.nodes:
            if node.op not in ("placeholder", "output") and all(
                source in self._names for source in node.all_input_nodes
            ):
                self._names.add(node)

    def __contains__(self, node: Any) -> bool:
        return isinstance(node, fx.Node) and node in self._names

    def value(self, node: fx.Node) -> Any:
        if node not in self._values:
            args, kwargs = fx.map_arg((node.args, node.kwargs), self.value)
            with torch.no_grad():
                self._values[node] = getattr(self, node.op)(node.target, args, kwargs)
        return self._values[node]


def _layer(kind: Any, tensors: list[Tensor], parameters: Mapping[str, Any]) -> nn.Module:
    """Return a layer with a weight and perhaps a bias."""
    out, inner, *sides = tensors[0].shape
    sizes = (inner * parameters.get("groups", 1), out, *([tuple(sides)] if sides else []))
    # On no device: the values that a layer begins with are not drawn.
    with torch.device("meta"):
        layer: nn.Module = kind(*sizes, bias=len(tensors) > 1, **parameters)
    for word, tensor in zip(("weight", "bias"), tensors, strict=False):
        setattr(layer, word, nn.Parameter(tensor.detach(), requires_grad=False))
    return layer.eval()


def _path(
    module: fx.GraphModule, node: fx.Node, weight: fx.Node, layer: nn.Module, made: Mapping[str, nn.Module]
) -> str | None:
    """Return the path for a layer: of the weight's own module, or of the module that calls the function.

    Otherwise it is the name of the call. None if another layer has that weight already.
    """
    target = str(weight.target)
    own = weight.op == "get_attr" and target.endswith(".weight")
    path = target.removesuffix(".weight") if own else str(node.meta.get(CALLER, ""))
    if not own and (not path or _has_children(module, path)):
        return node.name
    known = made.get(path)
    if known is None and any(str(call.target) == path for call in module.graph.nodes if call.op == "call_module"):
        known = module.get_submodule(path)
    if known is None or _alike(known, layer):
        return path
    return None if own else node.name


def _has_children(module: fx.GraphModule, path: str) -> bool:
    """Return whether modules inside the one at a path are called, so that it can't be a layer itself."""
    return any(node.op == "call_module" and str(node.target).startswith(f"{path}.") for node in module.graph.nodes)


def _alike(one: nn.Module, other: nn.Module) -> bool:
    """Return whether two layers compute the same."""
    if type(one) is not type(other) or repr(one) != repr(other):
        return False
    for word in ("weight", "bias"):
        a, b = getattr(one, word), getattr(other, word)
        if (a is None) != (b is None):
            return False
        if a is not None and not (a is b or a.is_meta or torch.equal(a, b)):
            return False
    return True


def _place(module: fx.GraphModule, path: str, layer: nn.Module) -> None:
    """Put a layer at a path; what other operations read of the module that was there stays there."""
    read = [str(node.target) for node in module.graph.nodes if node.op in ("get_attr", "call_module")]
    held = {name: operator.attrgetter(name)(module) for name in read if name.startswith(f"{path}.")}
    module.add_submodule(path, layer)
    for name, value in held.items():
        owner, _, word = name.removeprefix(f"{path}.").partition(".")
        if not word and owner not in ("weight", "bias"):
            setattr(layer, owner, value)
