"""Operators of a program that remain functions: arithmetic, moves, reductions, products.

Most are called as they are, with their arguments in the order of their schemas; they read tensors and numbers, write
none, and neither draw at random nor know files. A few have rules that keep the number of images free.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from circuitlang.engine.aten_modules import aten


@dataclass(frozen=True)
class Free:
    """What stands for a size that isn't a number: that of the images, where `name` is known as such."""

    name: str = ""


@dataclass(frozen=True)
class Call:
    """An operation of the network."""

    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] | None = None


# Of the sizes of the input and of the result, and the arguments by their names in the schema.
Rule = Callable[..., Call]
# Arguments that say along which dimensions something is done.
_DIMENSIONS = ("dim", "dims", "dim0", "dim1", "axis0", "axis1", "source", "destination")
# Arguments that say nothing of the numbers.
_UNSAID = ("device", "layout", "pin_memory", "memory_format", "non_blocking", "copy", "requires_grad", "generator")


def called(target: str, function: Callable[..., Any]) -> Rule:
    """The rule of a function that takes what its operator takes, in the same order."""
    name, overload = target.rsplit(".", 1)

    def rule(before: Any, _after: Any, **given: Any) -> Call:
        schema = getattr(getattr(torch.ops.aten, name), overload)._schema
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        last = 0
        for argument in schema.arguments:
            if argument.name not in given and not argument.has_default_value():
                raise ValueError(f"it lacks {argument.name}")
            value = given.get(argument.name, argument.default_value)
            if argument.name in _UNSAID:
                continue
            if argument.name in _DIMENSIONS and not isinstance(given.get("tensors"), list):
                _inside(before, value)
            if argument.kwarg_only:
                kwargs |= {argument.name: value} if argument.name in given else {}
            else:
                args.append(value)
                last = len(args) if argument.name in given else last
        return Call(function, tuple(args[:last]), kwargs)

    return rule


def _inside(before: Any, axes: Any) -> tuple[int, ...]:
    """Dimensions that are not the images'."""
    if axes is None or not before:
        # Of nothing that an image has.
        if before:
            raise ValueError("it is done to all images at once")
        return ()
    found = tuple(axis % len(before) for axis in ((axes,) if isinstance(axes, int) else axes))
    if 0 in found or not found:
        raise ValueError("it takes images apart")
    return found


def _arithmetic(function: Callable[..., Any]) -> Rule:
    """The rule of a sum or product of two steps, or of a step and a number or a stored tensor."""

    def rule(_before: Any, after: Any, self: Any, other: Any, alpha: float = 1, **mode: Any) -> Call:
        if isinstance(other, Free):
            raise ValueError("one side is a size")
        if any(isinstance(each, Tensor) and each.dim() == len(after) and len(each) != 1 for each in (self, other)):
            raise ValueError("one side is a stored tensor of several images")
        if mode.get("rounding_mode") is not None:
            return Call(torch.div, (self, other), mode)
        if alpha != 1:
            return Call(function, (self, other), {"alpha": alpha})
        return Call(_OPERATORS.get(function, function), (self, other))

    return rule


def _reversed_difference(_before: Any, after: Any, self: Any, other: Any, alpha: float = 1) -> Call:
    return _arithmetic(torch.sub)(_before, after, other, self, alpha)


_OPERATORS: Mapping[Any, Any] = {
    torch.add: operator.add, torch.sub: operator.sub, torch.mul: operator.mul, torch.div: operator.truediv,
}  # fmt: skip


def _concatenate(_before: Any, after: Any, tensors: Any, dim: int = 0) -> Call:
    if dim % len(after) == 0:
        raise ValueError("it joins images")
    return Call(torch.cat, (tensors, dim))


def _stack(_before: Any, after: Any, tensors: Any, dim: int = 0) -> Call:
    if dim % len(after) == 0:
        raise ValueError("it makes images of parts")
    return Call(torch.stack, (tensors, dim))


def _reshape(before: Any, after: Any, self: Any, **_: Any) -> Call:
    """A reshape of each image, however it is written; sizes of images are compared as they are written."""
    if not before or not after or before[0] != after[0]:
        raise ValueError("it reshapes more than each image")
    if len(after) == 2:
        return Call(torch.flatten, (self, 1))
    return Call(torch.reshape, (self, (-1, *sizes(after[1:]))))


def sizes(found: Any) -> tuple[int, ...]:
    """Sizes that are numbers."""
    if not all(isinstance(size, int) for size in found):
        raise ValueError("its sizes depend on the image")
    return tuple(found)


def _permute(before: Any, _after: Any, self: Any, dims: Any) -> Call:
    axes = [axis % len(before) for axis in dims]
    if axes[0] != 0:
        raise ValueError("it moves the images")
    return Call(torch.permute, (self, axes))


def _transpose(before: Any, _after: Any, self: Any, **axes: int) -> Call:
    return Call(torch.transpose, (self, *_inside(before, tuple(axes.values()))))


def _move_dimension(before: Any, _after: Any, self: Any, source: Any, destination: Any) -> Call:
    _inside(before, source), _inside(before, destination)
    return Call(torch.movedim, (self, source, destination))


def _slice(before: Any, _after: Any, self: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    if dim % len(before) == 0 and start in (None, 0) and step == 1 and (end is None or _whole(end)):
        return Call(operator.getitem, (self, slice(None)))
    (axis,) = _inside(before, dim)
    if isinstance(start, Free) or isinstance(end, Free):
        raise ValueError("its sizes depend on the image")
    return Call(operator.getitem, (self, (*[slice(None)] * axis, slice(start, end, step))))


def _whole(end: Any) -> bool:
    return isinstance(end, int) and end >= 1 << 62


def _index(before: Any, _after: Any, self: Any, indices: Any) -> Call:
    """Places of some dimensions, not of the images'."""
    if before and (not indices or indices[0] is not None):
        raise ValueError("it takes images apart")
    return Call(operator.getitem, (self, tuple(slice(None) if each is None else each for each in indices)))


def _select(before: Any, _after: Any, self: Any, dim: int, index: Any) -> Call:
    return Call(torch.select, (self, *_inside(before, dim), index))


def _parts(function: Callable[..., Any]) -> Rule:
    """The rule of a division into several parts, by their number or sizes."""

    def rule(before: Any, _after: Any, self: Any, dim: int = 0, **sizes: Any) -> Call:
        (size,) = sizes.values()
        return Call(function, (self, size, *_inside(before, dim)))

    return rule


def _expand(before: Any, after: Any, self: Any, **_: Any) -> Call:
    if len(before) != len(after) or before[0] != after[0]:
        raise ValueError("it repeats images")
    found = [-1 if old == new else new for old, new in zip(before, after, strict=True)]
    return Call(torch.Tensor.expand, (self, [-1, *sizes(found[1:])]))


def _repeat(before: Any, _after: Any, self: Any, repeats: Any) -> Call:
    if len(repeats) != len(before) or repeats[0] != 1:
        raise ValueError("it repeats images")
    return Call(torch.Tensor.repeat, (self, *repeats))


def _repeat_one(before: Any, _after: Any, self: Any, repeats: Any, dim: Any = None, **_: Any) -> Call:
    (axis,) = _inside(before, dim)
    return Call(torch.repeat_interleave, (self, repeats, axis))


def _pad(_before: Any, after: Any, self: Any, pad: Any, mode: str = "constant", value: Any = None) -> Call:
    if len(pad) > 2 * len(after) - 2:
        raise ValueError("it adds images")
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise ValueError("its mode is unknown")
    return Call(functional.pad, (self, list(pad), mode, value))


def _reduce(function: Callable[..., Any]) -> Rule:
    """The rule of a mean, sum or extreme over some dimensions, not the images'."""

    def rule(before: Any, _after: Any, self: Any, dim: Any = None, keepdim: bool = False, **rest: Any) -> Call:
        rest = {word: value for word, value in rest.items() if value is not None or word == "correction"}
        return Call(function, (self, sorted(_inside(before, dim or ())), keepdim), rest)

    return rule


def _spread_out(function: Callable[..., Any]) -> Rule:
    """The rule of a standard deviation or variance."""

    def rule(before: Any, _after: Any, self: Any, dim: Any = None, **rest: Any) -> Call:
        if "unbiased" in rest:
            rest["correction"] = int(rest.pop("unbiased"))
        rest.setdefault("correction", 1)
        return Call(function, (self, sorted(_inside(before, dim or ()))), rest)

    return rule


def _vector_norm(
    before: Any, _after: Any, self: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, **_: Any
) -> Call:
    return Call(torch.linalg.vector_norm, (self, ord, sorted(_inside(before, dim or ())), keepdim))


def _upsample(mode: str) -> Rule:
    """The rule of an upsampling, to sizes or by factors."""

    def rule(before: Any, _after: Any, input: Any, output_size: Any, scale_factors: Any = None, **rest: Any) -> Call:
        if len(before) < 3:
            raise ValueError("its input has no positions")
        size = None if output_size is None else list(sizes(output_size))
        factors = None if scale_factors is None else list(scale_factors)
        corners = {"align_corners": rest.get("align_corners", False)} if "nearest" not in mode else {}
        return Call(functional.interpolate, (input, size, factors, mode), corners)

    return rule


def _matrix_product(function: Callable[..., Any]) -> Rule:
    """The rule of a product of matrices, of one image each."""

    def rule(_before: Any, _after: Any, **given: Any) -> Call:
        left, right = (value for value in given.values() if isinstance(value, (Tensor, fx.Node)))
        if isinstance(right, fx.Node) and right.meta["rank"] < 3:
            raise ValueError("it multiplies images with one another")
        if isinstance(left, fx.Node) and left.meta["rank"] < 2:
            raise ValueError("it multiplies images with one another")
        return Call(function, (left, right))

    return rule


def _einsum(_before: Any, _after: Any, equation: str, tensors: Any, **_: Any) -> Call:
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or "." in equation or len(terms) != len(tensors):
        raise ValueError("its equation is not of single letters")
    of_images = [term for term, each in zip(terms, tensors, strict=True) if isinstance(each, fx.Node)]
    stored = "".join(term for term, each in zip(terms, tensors, strict=True) if isinstance(each, Tensor))
    first = {term[:1] for term in of_images}
    if first != {right[:1]} or right[:1] in stored or any(term.count(right[:1]) > 1 for term in of_images):
        raise ValueError("it multiplies images with one another")
    return Call(torch.einsum, (equation, *tensors))


def _fill(function: Callable[..., Any]) -> Rule:
    """The rule of a tensor of one value."""

    def rule(_before: Any, _after: Any, size: Any, **rest: Any) -> Call:
        # Of the tensor that a new one is made like, nothing but its type is taken, which is that of all.
        value = (rest["fill_value"],) if "fill_value" in rest else ()
        dtype = rest.get("dtype")
        return Call(function, (list(size), *value), {} if dtype is None else {"dtype": dtype})

    return rule


def _to(_before: Any, _after: Any, self: Any, dtype: Any = None, other: Any = None, **_: Any) -> Call:
    if other is not None:
        return Call(torch.Tensor.type_as, (self, other))
    return Call(torch.Tensor.to, (self,) if dtype is None else (self, dtype))


# Operators of which the first of several results is taken, as their functions give it.
FIRST = ("torch.ops.aten.adaptive_max_pool2d.default", "torch.ops.aten.max_pool2d_with_indices.default")
# Functions by the names of their operators, which they are called as.
_CALLED: Mapping[str, Callable[..., Any]] = {
    **{
        f"{name}.default": getattr(torch, name)
        for name in (
            "neg", "abs", "sqrt", "rsqrt", "exp", "expm1", "log", "log1p", "log2", "sign", "sin", "cos", "tan", "atan",
            "erf", "square", "floor", "ceil", "round", "clamp", "clamp_min", "clamp_max", "maximum",
            "minimum", "logical_not", "logical_and", "logical_or", "isfinite", "zeros_like", "ones_like", "full_like",
            "flip", "channel_shuffle", "pixel_shuffle", "pixel_unshuffle", "cumsum", "gather", "topk", "sort",
            "addcmul", "nan_to_num", "logsumexp", "sinh", "cosh", "asin", "acos", "trunc", "frac", "exp2",
        )
    },
    **{
        f"{name}.default": getattr(functional, name)
        for name in ("hardshrink", "softshrink", "celu", "glu", "adaptive_avg_pool1d", "avg_pool1d",
                     "max_pool1d", "max_pool3d", "adaptive_avg_pool3d")
    },
    **{
        f"{name}.{kind}": getattr(torch, name)
        for name in ("gt", "lt", "ge", "le", "eq", "ne", "remainder")
        for kind in ("Scalar", "Tensor")
    },
    "avg_pool3d.default": functional.avg_pool3d,
    "special_expm1.default": torch.expm1,
    "clip.default": torch.clamp,
    "negative.default": torch.neg,
    "clamp.Tensor": torch.clamp,
    "clamp_min.Tensor": torch.clamp,
    "pow.Tensor_Scalar": torch.pow,
    "pow.Tensor_Tensor": torch.pow,
    "pow.Scalar": torch.pow,
    "where.self": torch.where,
    "where.ScalarOther": torch.where,
    "where.ScalarSelf": torch.where,
    "masked_fill.Scalar": torch.masked_fill,
    "softmax.int": torch.softmax,
    "log_softmax.int": torch.log_softmax,
    "roll.default": torch.roll,
    "unbind.int": torch.unbind,
    "narrow.default": torch.narrow,
    "max.dim": torch.max,
    "min.dim": torch.min,
    "prod.dim_int": torch.prod,
    "argmax.default": torch.argmax,
    "index_select.default": torch.index_select,
    "adaptive_max_pool2d.default": functional.adaptive_max_pool2d,
    "max_pool2d_with_indices.default": functional.max_pool2d,
    "scaled_dot_product_attention.default": functional.scaled_dot_product_attention,
    # Where layers' weights are computed, they are no layers.
    "conv2d.default": torch.conv2d,
    "conv2d.padding": torch.conv2d,
    "conv1d.default": torch.conv1d,
    "conv_transpose2d.input": torch.conv_transpose2d,
    "linear.default": functional.linear,
    "prelu.default": functional.prelu,
}  # fmt: skip

RESHAPES = (
    "flatten.using_ints", "view.default", "reshape.default", "_unsafe_view.default", "unflatten.int", "squeeze.dim",
    "squeeze.dims", "unsqueeze.default", "view_as.default", "reshape_as.default",
)  # fmt: skip
CALLED: Mapping[str, Rule] = aten({name: called(name, function) for name, function in _CALLED.items()})
# The rules of what remains a function: of the sizes before and after, and the arguments.
FUNCTIONS: Mapping[str, Rule] = {
    **CALLED,
    **aten(
        {
            "add.Tensor": _arithmetic(torch.add),
            **dict.fromkeys(("sub.Tensor", "subtract.Tensor"), _arithmetic(torch.sub)),
            "rsub.Scalar": _reversed_difference,
            "rsub.Tensor": _reversed_difference,
            "reciprocal.default": lambda _before, _after, self: Call(operator.truediv, (1.0, self)),
            **dict.fromkeys(("mul.Tensor", "multiply.Tensor"), _arithmetic(torch.mul)),
            **dict.fromkeys(
                ("div.Tensor", "div.Tensor_mode", "divide.Tensor", "divide.Tensor_mode", "true_divide.Tensor"),
                _arithmetic(torch.div),
            ),
            "floor_divide.default": _arithmetic(torch.floor_divide),
            **dict.fromkeys(("cat.default", "concat.default", "concatenate.default"), _concatenate),
            "stack.default": _stack,
            "mean.dim": _reduce(torch.mean),
            "sum.dim_IntList": _reduce(torch.sum),
            "amax.default": _reduce(torch.amax),
            "amin.default": _reduce(torch.amin),
            "std.correction": _spread_out(torch.std),
            "var.correction": _spread_out(torch.var),
            "std.dim": _spread_out(torch.std),
            "var.dim": _spread_out(torch.var),
            "linalg_vector_norm.default": _vector_norm,
            "index.Tensor": _index,
            "permute.default": _permute,
            "transpose.int": _transpose,
            "swapaxes.default": _transpose,
            "swapdims.default": _transpose,
            "movedim.intlist": _move_dimension,
            "movedim.int": _move_dimension,
            "moveaxis.int": _move_dimension,
            "moveaxis.intlist": _move_dimension,
            "slice.Tensor": _slice,
            "select.int": _select,
            "chunk.default": _parts(torch.chunk),
            "split.Tensor": _parts(torch.split),
            "split.sizes": _parts(torch.split),
            "split_with_sizes.default": _parts(torch.split),
            "tensor_split.sections": _parts(torch.tensor_split),
            "tensor_split.indices": _parts(torch.tensor_split),
            "expand.default": _expand,
            "expand_as.default": _expand,
            "broadcast_to.default": _expand,
            "repeat.default": _repeat,
            "tile.default": lambda before, after, self, dims: _repeat(
                before, after, self, [1] * (len(before) - len(dims)) + list(dims)
            ),
            "repeat_interleave.self_int": _repeat_one,
            "pad.default": _pad,
            "constant_pad_nd.default": _pad,
            "matmul.default": _matrix_product(torch.matmul),
            "bmm.default": _matrix_product(torch.bmm),
            "mm.default": _matrix_product(torch.mm),
            "einsum.default": _einsum,
            "zeros.default": _fill(torch.zeros),
            "ones.default": _fill(torch.ones),
            "full.default": _fill(torch.full),
            "new_zeros.default": _fill(torch.zeros),
            "new_ones.default": _fill(torch.ones),
            "new_full.default": _fill(torch.full),
            **dict.fromkeys(
                ("to.dtype", "to.dtype_layout", "to.device", "to.other", "_to_copy.default", "type_as.default"), _to
            ),
            **{
                f"upsample_{name}.vec": _upsample(mode)
                for name, mode in (
                    ("nearest1d", "nearest"), ("nearest2d", "nearest"), ("linear1d", "linear"),
                    ("bilinear2d", "bilinear"), ("bicubic2d", "bicubic"), ("_nearest_exact1d", "nearest-exact"),
                )
            },
            "_upsample_nearest_exact2d.vec": _upsample("nearest-exact"),
            "_upsample_nearest_exact1d.vec": _upsample("nearest-exact"),
            **dict.fromkeys(RESHAPES, _reshape),
        }
    ),
}  # fmt: skip
