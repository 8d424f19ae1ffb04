"""Operators of a program that remain functions, and the rules of each.

Most are called as they are; they read tensors and numbers, write none, and neither draw at random nor know files.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

from circuitlang.engine.programs import aten_rules as rules
from circuitlang.engine.programs.aten_modules import aten

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
    "arange.default": torch.arange,
    "arange.start": torch.arange,
    "arange.start_step": torch.arange,
    "linspace.default": torch.linspace,
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
    "median.dim": torch.median,
    "var_mean.correction": torch.var_mean,
    "var_mean.dim": torch.var_mean,
    "unfold.default": torch.Tensor.unfold,
    "im2col.default": functional.unfold,
    "conv3d.default": torch.conv3d,
    "grid_sampler.default": torch.grid_sampler,
    "min.dim": torch.min,
    "prod.dim_int": torch.prod,
    "argmax.default": torch.argmax,
    "index_select.default": torch.index_select,
    "adaptive_max_pool2d.default": functional.adaptive_max_pool2d,
    "max_pool2d_with_indices.default": functional.max_pool2d,
    "scaled_dot_product_attention.default": functional.scaled_dot_product_attention,
    # Layers whose weights are computed are no layers.
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
CALLED: Mapping[str, rules.Rule] = aten({name: rules.called(name, function) for name, function in _CALLED.items()})
# The rules of what remains a function: of the sizes before and after, and the arguments.
FUNCTIONS: Mapping[str, rules.Rule] = {
    **CALLED,
    **aten(
        {
            "add.Tensor": rules.arithmetic(torch.add),
            **dict.fromkeys(("sub.Tensor", "subtract.Tensor"), rules.arithmetic(torch.sub)),
            "rsub.Scalar": rules.reversed_difference,
            "rsub.Tensor": rules.reversed_difference,
            "reciprocal.default": lambda _before, _after, self: rules.Call(operator.truediv, (1.0, self)),
            **dict.fromkeys(("mul.Tensor", "multiply.Tensor"), rules.arithmetic(torch.mul)),
            **dict.fromkeys(
                ("div.Tensor", "div.Tensor_mode", "divide.Tensor", "divide.Tensor_mode", "true_divide.Tensor"),
                rules.arithmetic(torch.div),
            ),
            "floor_divide.default": rules.arithmetic(torch.floor_divide),
            **dict.fromkeys(("cat.default", "concat.default", "concatenate.default"), rules.concatenate),
            "stack.default": rules.stack,
            "mean.dim": rules.reduce(torch.mean),
            "sum.dim_IntList": rules.reduce(torch.sum),
            "amax.default": rules.reduce(torch.amax),
            "amin.default": rules.reduce(torch.amin),
            "std.correction": rules.spread_out(torch.std),
            "var.correction": rules.spread_out(torch.var),
            "std.dim": rules.spread_out(torch.std),
            "var.dim": rules.spread_out(torch.var),
            "linalg_vector_norm.default": rules.vector_norm,
            "index.Tensor": rules.index,
            "permute.default": rules.permute,
            "transpose.int": rules.transpose,
            "swapaxes.default": rules.transpose,
            "swapdims.default": rules.transpose,
            "movedim.intlist": rules.move_dimension,
            "movedim.int": rules.move_dimension,
            "moveaxis.int": rules.move_dimension,
            "moveaxis.intlist": rules.move_dimension,
            "slice.Tensor": rules.slice_,
            "select.int": rules.select,
            "chunk.default": rules.parts(torch.chunk),
            "split.Tensor": rules.parts(torch.split),
            "split.sizes": rules.parts(torch.split),
            "split_with_sizes.default": rules.parts(torch.split),
            "tensor_split.sections": rules.parts(torch.tensor_split),
            "tensor_split.indices": rules.parts(torch.tensor_split),
            "expand.default": rules.expand,
            "expand_as.default": rules.expand,
            "broadcast_to.default": rules.expand,
            "repeat.default": rules.repeat,
            "tile.default": lambda before, after, self, dims: rules.repeat(
                before, after, self, [1] * (len(before) - len(dims)) + list(dims)
            ),
            "repeat_interleave.self_int": rules.repeat_one,
            "pad.default": rules.pad,
            "constant_pad_nd.default": rules.pad,
            "matmul.default": rules.matrix_product(torch.matmul),
            "bmm.default": rules.matrix_product(torch.bmm),
            "mm.default": rules.matrix_product(torch.mm),
            "einsum.default": rules.einsum,
            "zeros.default": rules.fill(torch.zeros),
            "ones.default": rules.fill(torch.ones),
            "full.default": rules.fill(torch.full),
            "new_zeros.default": rules.fill(torch.zeros),
            "new_ones.default": rules.fill(torch.ones),
            "new_full.default": rules.fill(torch.full),
            **dict.fromkeys(
                ("to.dtype", "to.dtype_layout", "to.device", "to.other", "_to_copy.default", "type_as.default"),
                rules.convert,
            ),
            **{
                f"upsample_{name}.vec": rules.upsample(mode)
                for name, mode in (
                    ("nearest1d", "nearest"), ("nearest2d", "nearest"), ("linear1d", "linear"),
                    ("bilinear2d", "bilinear"), ("bicubic2d", "bicubic"), ("_nearest_exact1d", "nearest-exact"),
                )
            },
            "_upsample_nearest_exact2d.vec": rules.upsample("nearest-exact"),
            "_upsample_nearest_exact1d.vec": rules.upsample("nearest-exact"),
            **dict.fromkeys(RESHAPES, rules.reshape),
        }
    ),
}  # fmt: skip
