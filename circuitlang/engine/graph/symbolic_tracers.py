"""Tracers of torch.fx that go through a network's own code, with its hooks and replaced forward methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves

from circuitlang.engine.graph.block_outputs import mark
from circuitlang.engine.graph.changing_strides import note_stride
from circuitlang.engine.graph.functional_layers import CALLER
from circuitlang.engine.graph.shape_tracing import KnownShapes
from circuitlang.engine.models.sandbox import hooked, unwrapped


class ImageCall(nn.Module):
    """A call of a network with images alone, so that everything is traced that such a call does."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: torch.Tensor) -> Any:
        return self.net(image)


_PREFIX = "net."


class SymbolicTracer(fx.Tracer):
    """Traces into every module except PyTorch's own and those that compute the same as one of them.

    Hooks and replaced forward methods are traced as part of the network. Operations on parameters and buffers alone are
    carried out and not traced.
    """

    def __init__(self, net: nn.Module, model: nn.Module) -> None:
        super().__init__(param_shapes_constant=True)
        self._net = net
        # Why modules that are traced into can't be targets, by path.
        self.refused: dict[str, str] = {}
        inner = unwrapped(model)
        # A replaced forward method may use the model itself, of which the network is a copy.
        self._modules = {id(module): path for path, module in inner.named_modules()}
        tensors = (*inner.named_buffers(), *inner.named_parameters())
        self._tensors = {id(tensor): path for path, tensor in tensors}

    def path_of_module(self, mod: nn.Module) -> str:
        if id(mod) in self._modules:
            return f"{_PREFIX}{self._modules[id(mod)]}"
        return super().path_of_module(mod)

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, torch.Tensor) and id(a) in self._tensors:
            return self.create_node("get_attr", f"{_PREFIX}{self._tensors[id(a)]}", (), {})
        return super().create_arg(a)

    def getattr(self, _attr: str, attr_val: Any, _cache: dict[str, Any]) -> Any:
        return attr_val

    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        if kind in ("call_module", "get_attr"):
            target = self._target(str(target))
        node = super().create_node(kind, target, *args, **kwargs)
        caller, _ = next(reversed(self.module_stack.values()), ("", None))
        node.meta[CALLER] = caller.removeprefix(_PREFIX) if caller.startswith(_PREFIX) else ""
        if kind == "call_module":
            note_stride(node, self._net.get_submodule(str(target)))
        return node

    def _target(self, target: str) -> str:
        """Return a path in the network; constants that were created during tracing are stored in it."""
        if target.startswith(_PREFIX):
            return target.removeprefix(_PREFIX)
        value = getattr(self.root, target)
        while getattr(self._net, target, value) is not value:
            target += "_"
        setattr(self._net, target, value)
        return target

    def is_leaf_module(self, m: nn.Module, _path: str) -> bool:
        if (
            m is self._net
            or self._modules.get(id(m)) == ""
            or "forward" in vars(m)
            or "_conv_forward" in vars(m)
            or parametrize.is_parametrized(m)
        ):
            return False
        if isinstance(m, (nn.Conv2d, nn.Linear)) and not isinstance(m._parameters.get("weight"), nn.Parameter):
            # A hook computes its weight.
            return False
        return computes_as_torch(type(m)) and not isinstance(m, (nn.Sequential, nn.ModuleList, nn.ModuleDict))

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        path = self.path_of_module(m)
        if not any(isinstance(argument, fx.Proxy) for argument in tree_leaves((args, kwargs))):
            # It computes a weight, or something else that is the same for all images.
            return forward(*args, **kwargs)
        leaf = self.is_leaf_module(m, path)
        if not hooked(m) or not leaf:
            output = super().call_module(m, forward, args, kwargs)
            if not leaf and path.startswith(_PREFIX) and path != _PREFIX:
                mark(self, path.removeprefix(_PREFIX), output, self.refused)
            return output
        # The module stays one operation, and its hooks are traced around it.
        vars(m)["forward"] = lambda *args, **kwargs: self.create_proxy("call_module", path, args, kwargs)
        try:
            return forward(*args, **kwargs)
        finally:
            del vars(m)["forward"]


class ParameterTracer(SymbolicTracer):
    """Traces operations on parameters and buffers too."""

    proxy_buffer_attributes = True

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return fx.Tracer.getattr(self, attr, attr_val, parameter_proxy_cache)


class ShapeTracer(KnownShapes, SymbolicTracer):
    """Traces with the shapes of the images at hand, so that the forward method may decide by them."""

    def __init__(self, net: nn.Module, model: nn.Module, images: torch.Tensor) -> None:
        SymbolicTracer.__init__(self, net, model)
        KnownShapes.__init__(self, net, images)


# Attributes that a subclass of a torch module may define and still compute the same.
_WITHOUT_EFFECT = {"__init__", "__repr__", "extra_repr", "reset_parameters", "__module__", "__doc__", "__qualname__",
                   "__annotations__", "__firstlineno__", "__static_attributes__", "__constants__",
                   "__parameters__", "__classcell__"}  # fmt: skip


def computes_as_torch(kind: type) -> bool:
    """Return whether a class is one of torch.nn, or a subclass that computes the same."""
    for base in kind.__mro__:
        if base.__module__.startswith(("torch.nn", "torch.ao.nn")):
            return base is not nn.Module
        if set(vars(base)) - _WITHOUT_EFFECT:
            return False
    return False
