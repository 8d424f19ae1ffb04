"""Tracing by torch.fx with the shapes of the traced images, for forward methods that decide by shapes.

Every operation is also carried out, for two numbers of images. A length that is the same for both is a number, which
Python may look at; a length that differs goes with the number of images, and stays a traced value.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn

_ENOUGH = 2


class _Known(fx.Proxy):
    """A traced value that knows its shape."""

    tracer: KnownShapes

    @property
    def shape(self) -> Any:
        lengths = [self.size(axis) for axis in range(self.dim())]
        return torch.Size(lengths) if all(isinstance(length, int) for length in lengths) else tuple(lengths)

    @property
    def ndim(self) -> int:
        return self.dim()

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.tracer.values(self.node)[0].dtype
        return dtype

    @property
    def device(self) -> torch.device:
        device: torch.device = self.tracer.values(self.node)[0].device
        return device

    def numel(self) -> Any:
        one, other = (tensor.numel() for tensor in self.tracer.values(self.node))
        return int(one) if one == other else self.tracer.create_proxy("call_method", "numel", (self,), {})

    def dim(self) -> int:
        return int(self.tracer.values(self.node)[0].dim())

    def size(self, dim: int | None = None) -> Any:
        if dim is None:
            return self.shape
        one, other = (tensor.shape[dim] for tensor in self.tracer.values(self.node))
        return int(one) if one == other else self.tracer.create_proxy("call_method", "size", (self, dim), {})

    def __len__(self) -> int:
        lengths = {len(shape) for shape in self.tracer.values(self.node)}
        if len(lengths) > 1:
            raise TypeError("how long it is depends on the number of images")
        return lengths.pop()

    def __iter__(self) -> Iterator[Any]:
        return iter([operator.getitem(self, index) for index in range(len(self))])


class KnownShapes(fx.Tracer):
    """Carries out what it traces, for `_ENOUGH` numbers of images. What is done to parameters is traced too."""

    def __init__(self, net: nn.Module, images: torch.Tensor) -> None:
        # The tracer that it is mixed into is made first.
        self._values: dict[fx.Node, list[Any]] = {}
        self._of: nn.Module = net
        self._images = [torch.cat([images, *[images[:1]] * more]) for more in range(_ENOUGH)]
        self._paths = {id(tensor): f"net.{path}" for path, tensor in (*net.named_parameters(), *net.named_buffers())}
        self._looking = False

    def values(self, node: fx.Node) -> list[Any]:
        """Return the results of a node, one for each number of images."""
        if node not in self._values and node.op == "get_attr":
            # A tensor that the forward method made, which becomes a node where it meets a traced value.
            self._values[node] = [self._run(node, number) for number in range(_ENOUGH)]
        return self._values[node]

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Known(node, self)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **words: Any) -> Any:
        if kind == "call_method":
            args, kwargs = self._on_any_device(target, args, kwargs)
        proxy = super().create_proxy(kind, target, args, kwargs, *rest, **words)
        self._looking = True
        try:
            self._values[proxy.node] = [self._run(proxy.node, number) for number in range(_ENOUGH)]
        finally:
            self._looking = False
        return proxy

    def _on_any_device(self, target: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """A method's arguments less the device of the images: a tensor is on it already, and the network may move."""
        kept = tuple(arg for arg in args if not self._own_device(arg))
        words = {word: kwarg for word, kwarg in kwargs.items() if not self._own_device(kwarg)}
        if target == "to" and len(kept) == 1 and not words:
            return (*kept, args[0].dtype), words
        return kept, words

    def _own_device(self, value: Any) -> bool:
        return isinstance(value, torch.device) and value == self._images[0].device

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:  # noqa: ARG002
        if self._looking or not isinstance(attr_val, torch.Tensor):
            return attr_val
        path = self._paths.get(id(attr_val))
        if path is None:
            # A buffer that the forward method replaced, which a size may be given to as well.
            made = self.create_arg(attr_val)
            return self.proxy(made) if isinstance(made, fx.Node) else attr_val
        if path not in parameter_proxy_cache:
            parameter_proxy_cache[path] = self.create_proxy("get_attr", path, (), {})
        return parameter_proxy_cache[path]

    def _run(self, node: fx.Node, number: int) -> Any:
        """Run one operation."""
        args, words = fx.map_arg((node.args, node.kwargs), lambda used: self.values(used)[number])
        if node.op == "placeholder":
            return self._images[number]
        if node.op == "call_function":
            return node.target(*args, **words)  # type: ignore[operator]
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **words)
        if node.op == "call_module":
            module = self._of.get_submodule(str(node.target))
            return type(module).forward(module, *args, **words)
        if node.op == "get_attr":
            path, _, name = str(node.target).rpartition(".")
            return getattr(self._of.get_submodule(path), name)
        return args[0]
