"""Rules of operators that remain functions: arithmetic, moves, reductions, products.

Each gives the call that treats every image by itself and keeps the number of images free, or says why there is none.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional


@dataclass(frozen=True)
class Free:
    """A placeholder for a size that isn't a number: the number of images, if `name` is known as such."""

    name: str = ""


@dataclass(frozen=True)
class Call:
    """An operation of the network."""

    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] | None = None


# Functions of the sizes of the input and of the result, and of the arguments by their names in the schema.
Rule = Callable[..., Call]
# Arguments that say along which dimensions something is done.
_DIMENSIONS = ("dim", "dims", "dim0", "dim1", "axis0", "axis1", "source", "destination")
# Arguments that say nothing of the numbers.
_UNSAID = ("device", "layout", "pin_memory", "memory_format", "non_blocking", "copy", "requires_grad", "generator")


def called(target: str, function: Callable[..., Any]) -> Rule:
    """The rule of a function that takes what its operator takes, in the same order."""
    name, overload = target.rsplit(".", 1)

    def rule(before: Any, _after: Any, **arguments: Any) -> Call:
        schema = getattr(getattr(torch.ops.aten, name), overload)._schema
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        last = 0
        for argument in schema.arguments:
            if argument.name not in arguments and not argument.has_default_value():
                raise ValueError(f"it lacks {argument.name}")
            value = arguments.get(argument.name, argument.default_value)
            if argument.name in _UNSAID:
                continue
            if argument.name in _DIMENSIONS and not isinstance(arguments.get("tensors"), list):
                _inside(before, value)
            if argument.kwarg_only:
                kwargs |= {argument.name: value} if argument.name in arguments else {}
            else:
                args.append(value)
                last = len(args) if argument.name in arguments else last
        return Call(function, tuple(args[:last]), kwargs)

    return rule


def _inside(before: Any, axes: Any) -> tuple[int, ...]:
    """Dimensions that are not the images'."""
    if axes is None or not before:
        # It depends on nothing that an image has.
        if before:
            raise ValueError("it is done to all images at once")
        return ()
    positive = tuple(axis % len(before) for axis in ((axes,) if isinstance(axes, int) else axes))
    if 0 in positive or not positive:
        raise ValueError("it takes images apart")
    return positive


def arithmetic(function: Callable[..., Any]) -> Rule:
    """The rule of a sum or product of two steps, or of a step and a number or a stored tensor."""

    def rule(_before: Any, after: Any, self: Any, other: Any, alpha: float = 1, **mode: Any) -> Call:
        if isinstance(other, Free):
            raise ValueError("one side is a size")
        if any(
            isinstance(tensor, Tensor) and tensor.dim() == len(after) and len(tensor) != 1 for tensor in (self, other)
        ):
            raise ValueError("one side is a stored tensor of several images")
        if mode.get("rounding_mode") is not None:
            return Call(torch.div, (self, other), mode)
        if alpha != 1:
            return Call(function, (self, other), {"alpha": alpha})
        return Call(_OPERATORS.get(function, function), (self, other))

    return rule


def reversed_difference(_before: Any, after: Any, self: Any, other: Any, alpha: float = 1) -> Call:
    return arithmetic(torch.sub)(_before, after, other, self, alpha)


_OPERATORS: Mapping[Any, Any] = {
    torch.add: operator.add, torch.sub: operator.sub, torch.mul: operator.mul, torch.div: operator.truediv,
}  # fmt: skip


def concatenate(_before: Any, after: Any, tensors: Any, dim: int = 0) -> Call:
    if dim % len(after) == 0:
        raise ValueError("it joins images")
    return Call(torch.cat, (tensors, dim))


def stack(_before: Any, after: Any, tensors: Any, dim: int = 0) -> Call:
    if dim % len(after) == 0:
        raise ValueError("it makes images of parts")
    return Call(torch.stack, (tensors, dim))


def reshape(before: Any, after: Any, self: Any, **_: Any) -> Call:
    """A reshape of each image, however it is written; sizes of images are compared as they are written."""
    if not before or not after or before[0] != after[0]:
        raise ValueError("it reshapes more than each image")
    if len(after) == 2:
        return Call(torch.flatten, (self, 1))
    return Call(torch.reshape, (self, (-1, *sizes(after[1:]))))


def sizes(value: Any) -> tuple[int, ...]:
    """Sizes that are numbers."""
    if not all(isinstance(size, int) for size in value):
        raise ValueError("its sizes depend on the image")
    return tuple(value)


def permute(before: Any, _after: Any, self: Any, dims: Any) -> Call:
    axes = [axis % len(before) for axis in dims]
    if axes[0] != 0:
        raise ValueError("it moves the images")
    return Call(torch.permute, (self, axes))


def transpose(before: Any, _after: Any, self: Any, **axes: int) -> Call:
    return Call(torch.transpose, (self, *_inside(before, tuple(axes.values()))))


def move_dimension(before: Any, _after: Any, self: Any, source: Any, destination: Any) -> Call:
    _inside(before, source), _inside(before, destination)
    return Call(torch.movedim, (self, source, destination))


def slice_(before: Any, _after: Any, self: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    if dim % len(before) == 0 and start in (None, 0) and step == 1 and (end is None or _whole(end)):
        return Call(operator.getitem, (self, slice(None)))
    (axis,) = _inside(before, dim)
    if isinstance(start, Free) or isinstance(end, Free):
        raise ValueError("its sizes depend on the image")
    return Call(operator.getitem, (self, (*[slice(None)] * axis, slice(start, end, step))))


def _whole(end: Any) -> bool:
    return isinstance(end, int) and end >= 1 << 62


def index(before: Any, _after: Any, self: Any, indices: Any) -> Call:
    """Places of some dimensions, not of the images'."""
    if before and (not indices or indices[0] is not None):
        raise ValueError("it takes images apart")
    return Call(operator.getitem, (self, tuple(slice(None) if part is None else part for part in indices)))


def select(before: Any, _after: Any, self: Any, dim: int, index: Any) -> Call:
    return Call(torch.select, (self, *_inside(before, dim), index))


def parts(function: Callable[..., Any]) -> Rule:
    """The rule of a division into several parts, by their number or sizes."""

    def rule(before: Any, _after: Any, self: Any, dim: int = 0, **sizes: Any) -> Call:
        (size,) = sizes.values()
        return Call(function, (self, size, *_inside(before, dim)))

    return rule


def expand(before: Any, after: Any, self: Any, **_: Any) -> Call:
    if len(before) != len(after) or before[0] != after[0]:
        raise ValueError("it repeats images")
    lengths = [-1 if old == new else new for old, new in zip(before, after, strict=True)]
    return Call(torch.Tensor.expand, (self, [-1, *sizes(lengths[1:])]))


def repeat(before: Any, _after: Any, self: Any, repeats: Any) -> Call:
    if len(repeats) != len(before) or repeats[0] != 1:
        raise ValueError("it repeats images")
    return Call(torch.Tensor.repeat, (self, *repeats))


def repeat_one(before: Any, _after: Any, self: Any, repeats: Any, dim: Any = None, **_: Any) -> Call:
    (axis,) = _inside(before, dim)
    return Call(torch.repeat_interleave, (self, repeats, axis))


def pad(_before: Any, after: Any, self: Any, pad: Any, mode: str = "constant", value: Any = None) -> Call:
    if len(pad) > 2 * len(after) - 2:
        raise ValueError("it adds images")
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise ValueError("its mode is unknown")
    return Call(functional.pad, (self, list(pad), mode, value))


def reduce(function: Callable[..., Any]) -> Rule:
    """The rule of a mean, sum or extreme over some dimensions, not the images'."""

    def rule(before: Any, _after: Any, self: Any, dim: Any = None, keepdim: bool = False, **rest: Any) -> Call:
        rest = {word: value for word, value in rest.items() if value is not None or word == "correction"}
        return Call(function, (self, sorted(_inside(before, dim or ())), keepdim), rest)

    return rule


def spread_out(function: Callable[..., Any]) -> Rule:
    """The rule of a standard deviation or variance."""

    def rule(before: Any, _after: Any, self: Any, dim: Any = None, **rest: Any) -> Call:
        if "unbiased" in rest:
            rest["correction"] = int(rest.pop("unbiased"))
        rest.setdefault("correction", 1)
        return Call(function, (self, sorted(_inside(before, dim or ()))), rest)

    return rule


def vector_norm(
    before: Any, _after: Any, self: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, **_: Any
) -> Call:
    return Call(torch.linalg.vector_norm, (self, ord, sorted(_inside(before, dim or ())), keepdim))


def upsample(mode: str) -> Rule:
    """The rule of an upsampling, to sizes or by factors."""

    def rule(before: Any, _after: Any, input: Any, output_size: Any, scale_factors: Any = None, **rest: Any) -> Call:
        if len(before) < 3:
            raise ValueError("its input has no positions")
        size = None if output_size is None else list(sizes(output_size))
        factors = None if scale_factors is None else list(scale_factors)
        corners = {"align_corners": rest.get("align_corners", False)} if "nearest" not in mode else {}
        return Call(functional.interpolate, (input, size, factors, mode), corners)

    return rule


def matrix_product(function: Callable[..., Any]) -> Rule:
    """The rule of a product of matrices, of one image each."""

    def rule(_before: Any, _after: Any, **arguments: Any) -> Call:
        left, right = (value for value in arguments.values() if isinstance(value, (Tensor, fx.Node)))
        if isinstance(right, fx.Node) and right.meta["rank"] < 3:
            raise ValueError("it multiplies images with one another")
        if isinstance(left, fx.Node) and left.meta["rank"] < 2:
            raise ValueError("it multiplies images with one another")
        return Call(function, (left, right))

    return rule


def einsum(_before: Any, _after: Any, equation: str, tensors: Any, **_: Any) -> Call:
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or "." in equation or len(terms) != len(tensors):
        raise ValueError("its equation is not of single letters")
    of_images = [term for term, tensor in zip(terms, tensors, strict=True) if isinstance(tensor, fx.Node)]
    stored = "".join(term for term, tensor in zip(terms, tensors, strict=True) if isinstance(tensor, Tensor))
    first = {term[:1] for term in of_images}
    if first != {right[:1]} or right[:1] in stored or any(term.count(right[:1]) > 1 for term in of_images):
        raise ValueError("it multiplies images with one another")
    return Call(torch.einsum, (equation, *tensors))


def fill(function: Callable[..., Any]) -> Rule:
    """The rule of a tensor of one value."""

    def rule(_before: Any, _after: Any, size: Any, **rest: Any) -> Call:
        # Only the type of the tensor that a new one is made like is used, and all tensors have the same.
        value = (rest["fill_value"],) if "fill_value" in rest else ()
        dtype = rest.get("dtype")
        return Call(function, (list(size), *value), {} if dtype is None else {"dtype": dtype})

    return rule


def convert(_before: Any, _after: Any, self: Any, dtype: Any = None, other: Any = None, **_: Any) -> Call:
    if other is not None:
        return Call(torch.Tensor.type_as, (self, other))
    return Call(torch.Tensor.to, (self,) if dtype is None else (self, dtype))
