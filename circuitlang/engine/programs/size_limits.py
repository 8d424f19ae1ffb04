"""Compute the sizes of a program's tensors without running it, and reject programs that are too large."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._ops import OpOverload
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map_only

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.programs.interpreted import Interpreted
from circuitlang.engine.programs.pt2_reader import Program

# Limits for one image: the numbers of one result, of all results, and the products that are added up. The largest
# networks in use have a tenth of these.
_MOST_OF_ONE, _MOST, _MOST_WORK = 1 << 26, 1 << 32, 1 << 43
# The side of an image.
_LARGEST = 4096
_IMAGES = 2


def bounded(module: Interpreted, program: Program) -> Interpreted:
    """A network all of whose results have the sizes that its program says. Raises InputError where one has others, or
    is larger than those of networks."""
    size = [side if isinstance(side, int) else 224 for side in program.sizes[program.image][1:]]
    if max(size) > _LARGEST:
        raise InputError(Finding("E308", f"the program takes images of {size[1]} x {size[2]} pixels"))
    kinds = (tensor.dtype for tensor in program.tensors.values() if tensor.is_floating_point())
    images = torch.empty(_IMAGES, *size, device="meta", dtype=next(kinds, torch.float32))
    _Sizes(module, program).run(images)
    for node in module.graph.nodes:
        node.meta.clear()
    return module


class _Sizes(fx.Interpreter):
    """Runs a network on tensors without numbers."""

    def __init__(self, module: Interpreted, program: Program) -> None:
        super().__init__(module)
        self._batch = program.sizes[program.image][0]
        self._all = self._work = 0

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "output":
            return value
        for leaf in tree_leaves(value):
            if isinstance(leaf, Tensor):
                numbers = leaf.numel() // _IMAGES
                self._all += numbers
                self._work += numbers * self._products(n)
                if numbers > _MOST_OF_ONE or self._all > _MOST or self._work > _MOST_WORK:
                    label = f"step '{n.name}' has {numbers:,} numbers for one image"
                    raise InputError(Finding("E308", "the program is too large", None, label))
        if isinstance(value, Tensor) and "declared" in n.meta:
            self._compare(n, value)
        return value

    def _compare(self, node: fx.Node, value: Tensor) -> None:
        """Raises InputError where a result is not of the size that the program says."""
        said = node.meta["declared"]
        pairs = list(zip(said, value.shape, strict=False))
        # The number of images, here another, is the first size of what is computed from them.
        apart = [a for a, b in (pairs[1:] if pairs and pairs[0][0] == self._batch else pairs) if a != b]
        if len(said) != value.dim() or any(isinstance(length, int) for length in apart):
            message = f"the program says wrongly what size step '{node.name}' has"
            raise InputError(
                Finding("E306", message, None, f"it is {'x'.join(map(str, value.shape[1:]))} for an image")
            )

    def _products(self, node: fx.Node) -> int:
        """Return about how many products each number of a result is the sum of."""
        if node.op != "call_module":
            return 1
        module: Any = self.fetch_attr(str(node.target))
        weight, kernel = getattr(module, "weight", None), getattr(module, "kernel_size", 1)
        if isinstance(weight, Tensor) and weight.dim() > 1:
            return weight[:1].numel() if not isinstance(module, nn.ConvTranspose2d) else weight.numel() // len(weight)
        return kernel**2 if isinstance(kernel, int) else math.prod(kernel)

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        module: nn.Module = self.fetch_attr(target)
        tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        return functional_call(module, {name: tensor.to("meta") for name, tensor in tensors.items()}, args, kwargs)

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        return tree_map_only(Tensor, lambda tensor: tensor.to("meta"), super().get_attr(target, args, kwargs))

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if isinstance(target, OpOverload) and any(argument.name == "device" for argument in target._schema.arguments):
            # The block below is for functions of torch: an operator makes its tensor where it is told to.
            kwargs = {**kwargs, "device": "meta"}
        with torch.device("meta"):
            return super().call_function(target, args, kwargs)
