"""Model → graph: the forward method as operations, by torch.fx or else torch.export, none of them in place."""

from __future__ import annotations

import inspect
import io
import operator
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from circuitlang.engine.archive import read_exported
from circuitlang.engine.aten import network
from circuitlang.engine.follow import BATCH, follow
from circuitlang.engine.graph import Graph
from circuitlang.errors import Finding, InputError


def trace(model: nn.Module, size: tuple[int, int], channels: int = 3) -> Graph:
    """Read a network for images of `size` (height, width) and so many channels. The model is left as it is.

    Raises InputError where the forward method can't be traced; an operation whose channels can't be followed is an
    error only for targets behind it (see `Graph.find`).
    """
    own = private(model)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    dtype = next((parameter.dtype for parameter in model.parameters()), torch.float32)
    images = torch.zeros(BATCH, channels, *size, device=device, dtype=dtype)
    # Without weights, what the code makes has no content either.
    with device if device.type == "meta" else nullcontext():
        module = _traced(own, images)
        _layers_of_functions(module)
        _not_in_place(module)
        module.requires_grad_(False)
        with torch.no_grad():
            try:
                _Shapes(module).run(images)
            except Exception as error:  # what a network does to an image of another size may raise anything
                depth = "" if channels == 3 else f"{channels} channels and "
                images_of = f"the network can't take images of {depth}{size[0]} x {size[1]} pixels"
                raise InputError(Finding("E308", f"{images_of}: {_first_line(error)}")) from None
    return follow(module)


def private(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, over the same storage; the model itself is left as it is."""
    return _private(model, {}).eval()


def _private(module: nn.Module, known: dict[int, nn.Module]) -> nn.Module:
    """The same tree of modules over the same storage: what is set on it, gradients too, is not set on the user's."""
    if id(module) not in known:
        # Not the type's own __new__: that of a graph module makes another type, without its forward method.
        twin = object.__new__(type(module))
        twin.__dict__.update(module.__dict__)
        known[id(module)] = twin
        twin.__dict__["_buffers"] = dict(module._buffers)
        children = {name: child and _private(child, known) for name, child in module._modules.items()}
        twin.__dict__["_modules"] = children
        twin.__dict__["_parameters"] = {
            name: each if each is None else nn.Parameter(each.detach(), requires_grad=False)
            for name, each in module._parameters.items()
        }
    return known[id(module)]


class _Tracer(fx.Tracer):
    """Goes into every module but those of PyTorch and what computes the same as its convolutions and linear layers."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        for kind in (nn.Conv2d, nn.Linear):
            if isinstance(m, kind) and type(m).forward is kind.forward:
                return getattr(type(m), "_conv_forward", None) is getattr(kind, "_conv_forward", None)
        return super().is_leaf_module(m, module_qualified_name)


def _traced(private: nn.Module, images: torch.Tensor) -> fx.GraphModule:
    """The forward method as operations. What decides by the images' values or sizes is followed for these images."""
    try:
        tracer = _Tracer()
        return fx.GraphModule(private, tracer.trace(private))
    except Exception as error:  # tracing runs the model's own code, which may raise anything
        first = _first_line(error)
    try:
        return _exported(private, images)
    except InputError as error:
        second = f"{error.findings[0].message}: {error.findings[0].label}"
    except Exception as error:  # the same
        second = _first_line(error)
    raise InputError(Finding("E308", f"the network can't be traced: {first}", None, f"torch.export: {second}"))


def _exported(private: nn.Module, images: torch.Tensor) -> fx.GraphModule:
    """The network by way of a program, over the private network's own tensors. It is right for any number of images."""
    with torch.no_grad():
        program = torch.export.export(private, (images,))
    file = io.BytesIO()
    torch.export.save(program, file)
    own = {**dict(private.named_parameters()), **dict(private.named_buffers())}
    return network(read_exported(file, {name: tensor.detach() for name, tensor in own.items()}))


def _layers_of_functions(module: fx.GraphModule) -> None:
    """Calls of the functions of layers with weights of their own become layers at the path of these weights."""
    for node in list(module.graph.nodes):
        kind = {functional.conv2d: nn.Conv2d, torch.conv2d: nn.Conv2d, functional.linear: nn.Linear}.get(node.target)
        if kind is None:
            continue
        words = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        given = {**dict(zip(words, node.args, strict=False)), **node.kwargs}
        source, weight, bias = given.pop("input"), given.pop("weight"), given.pop("bias", None)
        stored = [each for each in (weight, bias) if each is not None]
        if not all(isinstance(each, fx.Node) and each.op == "get_attr" for each in stored):
            continue
        if any(isinstance(each, fx.Node) for each in given.values()):
            continue
        layer = _layer(kind, [operator.attrgetter(str(each.target))(module) for each in stored], given)
        path = str(weight.target).removesuffix(".weight")
        path = node.name if path == str(weight.target) else path
        known = module.get_submodule(path) if path in dict(module.named_modules()) else None
        if isinstance(known, (nn.Conv2d, nn.Linear)) and repr(known) != repr(layer):
            continue
        module.add_submodule(path, layer)
        with module.graph.inserting_before(node):
            node.replace_all_uses_with(module.graph.call_module(path, (source,)))
        module.graph.erase_node(node)
    module.graph.eliminate_dead_code(lambda node: node.op != "get_attr")
    module.recompile()


def _layer(kind: Any, tensors: list[torch.Tensor], given: Mapping[str, Any]) -> nn.Module:
    """A layer over a weight and perhaps a bias."""
    out, inner, *sides = tensors[0].shape
    sizes = (inner * given.get("groups", 1), out, *([tuple(sides)] if sides else []))
    # On no device: the values that a layer begins with are not drawn.
    with torch.device("meta"):
        layer: nn.Module = kind(*sizes, bias=len(tensors) > 1, **given)
    for word, tensor in zip(("weight", "bias"), tensors, strict=False):
        setattr(layer, word, nn.Parameter(tensor.detach()))
    return layer.eval()


_OUT_OF_PLACE: Mapping[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}
# What gives back its input, and what gives another look at its memory.
_ITSELF = {
    "contiguous", "to", "float", "double", "detach", "dropout", "dropout2d", "stochastic_depth", "Identity", "Dropout",
    "Dropout2d", "AlphaDropout",
}  # fmt: skip
_VIEWS = {
    "getitem", "chunk", "split", "unbind", "view", "reshape", "flatten", "unflatten", "permute", "transpose",
    "swapaxes", "movedim", "moveaxis", "squeeze", "unsqueeze", "expand", "expand_as", "narrow", "select", "view_as",
    "Flatten", "Unflatten",
}  # fmt: skip


def _not_in_place(module: fx.GraphModule) -> None:
    """Operations that write into their input would falsify what is observed of it: they give a new result, which is
    used in the place of the input from there on. What looks at the input in another way is not followed."""
    nodes = list(module.graph.nodes)
    order = {node: number for number, node in enumerate(nodes)}
    same: dict[fx.Node, set[fx.Node]] = {}
    for node in nodes:
        same[node] = {node}
        writes = _writes(module, node)
        if (writes or _word(module, node) in _ITSELF | _VIEWS) and node.args and isinstance(node.args[0], fx.Node):
            source = node.args[0]
            if writes:
                views = any(_word(module, each) in _VIEWS for each in same[source])
                for each in same[source]:
                    for user in [user for user in each.users if order[user] > order[node]]:
                        if views:
                            user.meta["written"] = node.name
                        else:
                            user.replace_input_with(each, node)
            same[node] = same[source]
            same[source].add(node)
        if writes:
            _rewrite(node)
    for layer in module.modules():
        if getattr(layer, "inplace", False) is True:
            layer.inplace = False  # type: ignore[assignment]
    module.recompile()


def _word(module: fx.GraphModule, node: fx.Node) -> str:
    if node.op == "call_module":
        return type(module.get_submodule(str(node.target))).__name__
    return str(getattr(node.target, "__name__", node.target))


def _writes(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether an operation writes into its first argument."""
    if node.op == "call_module":
        return getattr(module.get_submodule(str(node.target)), "inplace", False) is True
    word = _word(module, node)
    if node.op == "call_method" or (node.op == "call_function" and word.endswith("_")):
        return word.endswith("_") and not word.endswith("__")
    if node.op != "call_function":
        return False
    return node.target in _OUT_OF_PLACE or _given(node).get("inplace") is True


def _given(node: fx.Node) -> Mapping[str, Any]:
    """The arguments of a function by name, where it says its names."""
    try:
        return inspect.signature(node.target).bind(*node.args, **node.kwargs).arguments  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return node.kwargs


def _rewrite(node: fx.Node) -> None:
    """Make an operation that writes into its input one that gives a new result."""
    if node.op == "call_method":
        node.target = str(node.target)[:-1]
    elif node.op == "call_function" and node.target in _OUT_OF_PLACE:
        node.target = _OUT_OF_PLACE[node.target]
    elif node.op == "call_function" and "inplace" in (given := _given(node)):
        node.args, node.kwargs = (), {**given, "inplace": False}
        node.args, node.kwargs = (given["input"],), {k: v for k, v in node.kwargs.items() if k != "input"}
    elif node.op == "call_function":
        word = str(node.target.__name__).rstrip("_")  # type: ignore[union-attr]
        node.target = getattr(torch, word, None) or getattr(functional, word)


# Of an image, these say nothing but its size and kind.
_SIZES = {"size", "dim", "numel", "ndimension", "stride", "len", "zeros_like", "ones_like", "new_zeros", "new_ones"}
_TRAITS = {"shape", "ndim", "dtype", "device"}


class _Shapes(fx.Interpreter):
    """Runs a traced network, and notes the shape of every tensor and the value of what is the same for all images."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, torch.Tensor):
            n.meta["shape"] = value.shape
        if not _depends(n):
            n.meta["value"] = value
        return value


def _depends(node: fx.Node) -> bool:
    """Whether a result depends on the images' values."""
    if node.op == "placeholder":
        return True
    word = str(getattr(node.target, "__name__", node.target))
    if word in _SIZES or (word == "getattr" and node.args[1] in _TRAITS):
        return False
    return any("value" not in each.meta for each in node.all_input_nodes)


def _first_line(error: Exception) -> str:
    return next(iter(_lines(error)), type(error).__name__)


def _lines(error: Exception) -> Iterator[str]:
    return filter(None, map(str.strip, str(error).split("\n")))
