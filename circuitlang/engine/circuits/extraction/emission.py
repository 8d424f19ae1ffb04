"""Build the operations of an extracted module, and find the shape of each one's output."""

from __future__ import annotations

import itertools
import operator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map_only

# Another number of images than networks are read with, so that none is taken for granted.
IMAGES = 3
# Operations that keep the shape of their input, which takes torch long to find out.
_ALIKE = (nn.ReLU, torch.relu, nn.functional.relu)


class ModuleBuilder:
    """A graph of operations under construction, with its modules and tensors by path.

    Every node has an example of its output for `IMAGES` images in `meta["example"]`, without numbers.
    """

    def __init__(self, image: Tensor) -> None:
        self.graph = fx.Graph()
        self.modules: dict[str, nn.Module | Tensor] = {}
        self.image = self.graph.placeholder("image")
        self.image.meta["example"] = image

    def select(self, node: fx.Node, axis: int, index: Tensor, width: int) -> fx.Node:
        """Select some of `width` channels, in this order."""
        axis = axis % node.meta["example"].dim()
        # In order and without gaps: neither one channel twice nor a permutation is.
        if len(index) and bool((index.diff() == 1).all()):
            if len(index) == width:
                return node
            first, last = int(index[0]), int(index[-1]) + 1
            places = (*[slice(None)] * axis, slice(first, last))
            return self.emit("call_function", operator.getitem, node, places)
        taken = self.graph.call_function(torch.index_select, (node, axis, self.store("channels", index)))
        taken.meta["example"] = resized(node.meta["example"], axis, len(index))
        return taken

    def move_axis(self, node: fx.Node, before: int, after: int, rank: int) -> fx.Node:
        """Move a dimension to another place."""
        if before == after:
            return node
        axes = [axis for axis in range(rank) if axis != before]
        axes.insert(after, before)
        return self.emit("call_function", torch.permute, node, axes)

    def spread(self, node: fx.Node) -> fx.Node:
        """Expand a stored constant for every image; return anything else as it is."""
        if not node.meta.get("constant"):
            return node
        count = self.count
        return self.emit("call_method", "expand", node, count, *[-1] * (node.meta["example"].dim() - 1))

    @cached_property
    def count(self) -> fx.Node:
        """The number of images."""
        return self.emit("call_method", "size", self.image, 0)

    def store(self, name: str, value: Tensor) -> fx.Node:
        """Add a tensor, as a parameter where it can be one."""
        value = value.detach().clone()
        # As a parameter where it can be one: what a module is made of is counted by these.
        stored = nn.Parameter(value, requires_grad=False) if value.is_floating_point() else value
        path = self.add(name, stored)
        node = self.graph.get_attr(path)
        node.meta["example"] = value
        return node

    def add(self, path: str, content: nn.Module | Tensor) -> str:
        """Add a module or tensor at a path, or at one like it where that is taken, and return the path."""
        words, free = path.split("."), path
        number = 1
        while free in self.modules:
            number += 1
            free = ".".join([*words[:-1], f"{words[-1]}_{number}"])
        self.modules[free] = content
        return free

    def emit(self, op: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """Add an operation to the module, with the shape that it gives as its example."""
        values = fx.map_arg((args, kwargs), lambda node: node.meta["example"])
        if values[0] and (type(self.modules[target]) if op == "call_module" else target) in _ALIKE:
            node = self.graph.create_node(op, target, args, kwargs)
            node.meta["example"] = values[0][0]
            return node
        try:
            # Without numbers nobody would see that an index is out of range.
            value = None if _indexed(target, values) else self._evaluate(op, target, _moved_to(values, "meta"))
        except NotImplementedError:
            # Whoever wrote the operation didn't say what shape it gives.
            value = None
        value = self._evaluate(op, target, _moved_to(values, "cpu")) if value is None else value
        node = self.graph.create_node(op, target, args, kwargs)
        node.meta["example"] = _moved_to(value, "meta")
        return node

    def _evaluate(self, op: str, target: Any, values: Any) -> Any:
        """Evaluate an operation: on the device `meta`, a shape without numbers."""
        args, words = values
        match op:
            case "call_module":
                module = self.modules[target]
                assert isinstance(module, nn.Module)
                device = next(argument for argument in args if isinstance(argument, Tensor)).device
                tensors = itertools.chain(module.named_parameters(), module.named_buffers())
                return functional_call(module, {name: tensor.to(device) for name, tensor in tensors}, args, words)
            case "call_method":
                return getattr(args[0], target)(*args[1:], **words)
            case _:
                return target(*args, **words)

    def calls(self, path: str) -> list[fx.Node]:
        """Return the operations that call a module."""
        return [node for node in self.graph.nodes if node.op == "call_module" and node.target == path]


def _moved_to(values: Any, device: str) -> Any:
    """Move tensors to a device; those from `meta`, which have no numbers, become zeros."""

    def there(tensor: Tensor) -> Tensor:
        return torch.zeros_like(tensor, device=device) if tensor.is_meta else tensor.to(device)

    return tree_map_only(Tensor, there, values)


def _indexed(target: Any, values: Any) -> bool:
    """Return whether an operation takes anything by its index."""
    numbers = [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and not leaf.is_floating_point()]
    return target is operator.getitem or bool(numbers)


def resized(example: Tensor, axis: int, width: int) -> Tensor:
    """Return an example without numbers, with another number of channels."""
    shape = list(example.shape)
    shape[axis] = width
    return example.new_empty(shape)


def grows(node: fx.Node) -> bool:
    """Return whether a value that is the same for all images may grow with their number."""
    waiting, seen = [node], set()
    while waiting:
        value = waiting.pop()
        if value.op == "placeholder" or "value" not in value.meta:
            return True
        waiting += [used for used in value.all_input_nodes if used not in seen]
        seen.update(value.all_input_nodes)
    return False
