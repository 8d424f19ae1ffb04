"""Rules for operations: which channels feed each channel of the result, and what a position sees.

The tables at the end say which operations treat each channel by itself, which mix channels, and which move values.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from circuitlang.engine.graph.channel_nodes import ChannelEdge, ChannelNode, Kind, ReceptiveWindow, Windows

ONE = (ReceptiveWindow(1, 1, 0), ReceptiveWindow(1, 1, 0))


class Unsupported(Exception):  # noqa: N818
    """The reason why channels can't be tracked through an operation."""


class Mixed(Unsupported):
    """The reason why an operation has no channel rule here: its result is taken to depend on all its input channels."""


def padding(module: nn.Conv2d) -> tuple[int, int]:
    """Return the padding before the first row and column, also for padding given as a word (`same`)."""
    if isinstance(module.padding, str):
        left, _, top, _ = module._reversed_padding_repeated_twice
        return top, left
    return module.padding[0], module.padding[1]


def windows_of(kernel: Any, stride: Any, padding: Any = 0, dilation: Any = 1) -> Windows:
    """Return the windows of a convolution or pool from its arguments, numbers or pairs."""
    sizes, steps, edges, holes = (
        value if isinstance(value, (tuple, list)) else (value, value)
        for value in (kernel, stride or kernel, padding, dilation)
    )
    vertical, horizontal = (
        ReceptiveWindow(
            holes[axis % len(holes)] * (sizes[axis % len(sizes)] - 1) + 1, steps[axis % len(steps)], edges[axis]
        )
        for axis in (0, 1)
    )
    return vertical, horizontal


class Call:
    """An operation with its arguments: a call of a function, a method or a module."""

    def __init__(self, node: fx.Node, inputs: list[fx.Node], args: Any, words: Mapping[str, Any]) -> None:
        self.node = node
        self.inputs = inputs
        self._args = args
        self._words = words
        self.shape: tuple[int, ...] = tuple(node.meta.get("shape", ())[1:])

    def argument(self, position: int, word: str, default: Any = None) -> Any:
        """Return an argument by position or name, as it was when the network was traced."""
        value = self._args[position] if len(self._args) > position else self._words.get(word, default)
        return fx.map_arg(value, lambda node: node.meta.get("value", node))


def arguments(module: nn.Module) -> tuple[Any, ...]:
    """Return the arguments that a module passes to its function, as far as rules read them."""
    if isinstance(module, nn.MaxPool2d):
        return module.kernel_size, module.stride, module.padding, module.dilation
    if isinstance(module, nn.AvgPool2d):
        return module.kernel_size, module.stride, module.padding
    if isinstance(module, nn.LPPool2d):
        return module.norm_type, module.kernel_size, module.stride
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        return module.running_mean, module.running_var, module.weight, module.bias, module.running_mean is None
    if isinstance(module, (nn.InstanceNorm1d, nn.InstanceNorm2d)):
        return module.running_mean, module.running_var, module.weight, module.bias, module.running_mean is None
    if isinstance(module, nn.LayerNorm):
        return (module.normalized_shape,)
    if isinstance(module, nn.GroupNorm):
        return (module.num_groups,)
    if isinstance(module, nn.LocalResponseNorm):
        return (module.size,)
    if isinstance(module, (nn.Softmax, nn.LogSoftmax, nn.Softmin)):
        return (module.dim,)
    if isinstance(module, nn.Softmax2d):
        return (1,)
    return ()


Rule = Callable[[Call, Mapping[str, ChannelNode]], "ChannelNode | None"]


def same(
    call: Call, steps: Mapping[str, ChannelNode], windows: Windows | None = ONE, blocks: int = 0
) -> ChannelNode | None:
    """Return the node of an operation on each channel by itself, or, with blocks, on all channels of a block.

    An input with a single channel feeds all channels. Raises Mixed if the channels of inputs lie along different
    dimensions.
    """
    sources = [_step(source, steps) for source in call.inputs]
    if any(len(step.shape) != len(call.shape) for step in sources):
        raise Mixed("its inputs have different numbers of dimensions")
    widest = max(sources, key=lambda step: step.width)
    dimension = (widest.axis - 1) if widest.axis > 0 else widest.axis
    if any(step.axis != widest.axis and (step.width > 1 or step.shape[dimension] > 1) for step in sources):
        raise Mixed("its inputs have their channels along different dimensions")
    width = call.shape[dimension]
    own = torch.arange(width)
    edges = tuple(
        ChannelEdge(step.name, own if step.width == width else torch.zeros_like(own), own) for step in sources
    )
    kind: Kind = "mix" if blocks else "each"
    return ChannelNode(call.node.name, width, edges, kind, None, windows, widest.axis, call.shape, blocks)


def _whole(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    """Return the node of an operation on each channel by itself whose positions see the whole input."""
    return same(call, steps, None)


def _pool(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    kernel, stride = call.argument(1, "kernel_size"), call.argument(2, "stride")
    padding, dilation = call.argument(3, "padding", 0), call.argument(4, "dilation", 1)
    _along_rows(call, steps)
    return same(call, steps, windows_of(kernel, stride, padding, dilation))


def _average_pool(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    kernel, stride = call.argument(1, "kernel_size"), call.argument(2, "stride")
    _along_rows(call, steps)
    return same(call, steps, windows_of(kernel, stride, call.argument(3, "padding", 0)))


def _power_pool(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    _along_rows(call, steps)
    return same(call, steps, windows_of(call.argument(2, "kernel_size"), call.argument(3, "stride")))


def _adaptive_pool(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    _along_rows(call, steps)
    return same(call, steps, None)


def _along_rows(call: Call, steps: Mapping[str, ChannelNode]) -> None:
    """Check that the last two dimensions are rows and columns. Raises Mixed."""
    if len(_second(call, steps).shape) != 3:
        raise Mixed("its input has no rows and columns")


def _batch_norm(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    if call.argument(5, "training", False) or call.argument(1, "running_mean") is None:
        raise Unsupported("it normalises by the batch")
    _second(call, steps)
    return same(call, steps)


def _instance_norm(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    _second(call, steps)
    return same(call, steps, None if call.argument(5, "use_input_stats", True) else ONE)


def _second(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode:
    """Return the node of the only input, whose channels must lie along the second dimension. Raises Mixed."""
    step = _only(call, steps)
    if step.axis != 1:
        raise Mixed("its channels are not in the place of channels")
    return step


def _only(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode:
    """Return the node of an operation's only input. Raises Mixed if there are several."""
    if len(call.inputs) != 1:
        raise Mixed("it has several inputs")
    return _step(call.inputs[0], steps)


def _step(node: fx.Node, steps: Mapping[str, ChannelNode]) -> ChannelNode:
    if node.name not in steps:
        raise Mixed(f"the channels of '{node.name}' are not each image's along one dimension")
    return steps[node.name]


def _dropout(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    if call.node.op != "call_module" and call.argument(2, "training", True):
        raise Unsupported("it drops at random, also after eval()")
    return same(call, steps)


def _stochastic_depth(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    if call.argument(3, "training", True):
        raise Unsupported("it drops at random, also after eval()")
    return same(call, steps)


def _over(call: Call, steps: Mapping[str, ChannelNode], axes: set[int]) -> ChannelNode | None:
    """Return the node of a norm over some dimensions, counted with the batch. Raises Unsupported for the batch."""
    step = _only(call, steps)
    if 0 in axes:
        raise Unsupported("it mixes images")
    axis = step.axis % (len(step.shape) + 1)
    return same(call, steps, ONE if axes == {axis} else None, int(axis in axes))


def _layer_norm(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    over, rank = call.argument(1, "normalized_shape"), len(call.shape) + 1
    return _over(call, steps, set(range(rank - (1 if isinstance(over, int) else len(over)), rank)))


def _softmax(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    axis = call.argument(1, "dim")
    if not isinstance(axis, int):
        raise Mixed("it doesn't say over what")
    return _over(call, steps, {axis % (len(call.shape) + 1)})


def _normalize(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    return _over(call, steps, {call.argument(2, "dim", 1) % (len(call.shape) + 1)})


def _group_norm(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    _second(call, steps)
    return same(call, steps, None, call.argument(1, "num_groups"))


def _neighbours(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    """Return the node of a norm whose channels depend on those within half a size of them."""
    step, size = _second(call, steps), call.argument(1, "size")
    own = torch.arange(step.width)
    near = own[:, None] + torch.arange(-(size // 2), (size - 1) // 2 + 1)
    target, source = own[:, None].expand_as(near), near
    inside = (near >= 0) & (near < step.width)
    edge = ChannelEdge(step.name, source[inside], target[inside])
    return ChannelNode(call.node.name, step.width, (edge,), "mix", None, ONE, 1, call.shape, step.width)


def _reduced(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    """Return the node of a mean, sum or extreme over rows and columns, or over all channels."""
    step = _only(call, steps)
    rank = len(step.shape) + 1
    # A norm is told which one it is before that.
    axes = call.argument(2 if _word(call) in _ORDERED else 1, "dim", call.argument(1, "axis"))
    over = {dim % rank for dim in (axes if isinstance(axes, (list, tuple)) else (axes,)) if isinstance(dim, int)}
    if not over or 0 in over:
        raise Unsupported("it mixes images")
    axis, own = step.axis % rank, torch.arange(step.width)
    kept = len(call.shape) + 1 == rank
    if axis in over:
        if not kept:
            raise Mixed("it leaves no channels")
        edge = ChannelEdge(step.name, own, torch.zeros_like(own))
        windows = ONE if over == {axis} else None
        return ChannelNode(call.node.name, 1, (edge,), "mix", None, windows, step.axis, call.shape, 1)
    place = axis if kept else axis - sum(reduced < axis for reduced in over)
    place = place if place == 1 else place - len(call.shape) - 1
    return ChannelNode(
        call.node.name, step.width, (ChannelEdge(step.name, own, own),), "each", None, None, place, call.shape
    )


def _extreme(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    """Return the node of the greater or lesser of two inputs, or of the extreme over a dimension."""
    return same(call, steps) if len(call.inputs) > 1 else _reduced(call, steps)


def _running(call: Call, steps: Mapping[str, ChannelNode]) -> ChannelNode | None:
    """Return the node of a running sum along a dimension."""
    return _over(call, steps, {call.argument(1, "dim") % (len(call.shape) + 1)})


def _word(call: Call) -> str:
    return str(getattr(call.node.target, "__name__", call.node.target))


def moves(_: Call, __: Mapping[str, ChannelNode]) -> None:
    """Mark operations that only move values; see `index_tracing`."""


def joined(_: Call, __: Mapping[str, ChannelNode]) -> None:
    """Mark concatenations; see `channel_joins`."""


_SAME_MODULES = (
    nn.ReLU, nn.ReLU6, nn.RReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh,
    nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Hardshrink, nn.Softshrink, nn.Tanhshrink, nn.Softplus, nn.Softsign,
    nn.LogSigmoid, nn.Threshold, nn.Identity,
)  # fmt: skip
_SAME = (
    "add", "sub", "mul", "div", "truediv", "iadd", "isub", "imul", "itruediv", "true_divide", "subtract", "multiply",
    "divide", "neg", "negative", "pow", "square", "sqrt", "rsqrt", "exp", "log", "abs", "sign", "sin", "cos", "erf",
    "clamp", "clip", "clamp_min", "clamp_max", "maximum", "minimum", "relu", "relu6", "leaky_relu", "elu", "selu",
    "celu", "gelu", "silu", "mish", "sigmoid", "tanh", "hardswish", "hardsigmoid", "hardtanh", "hardshrink",
    "softshrink", "tanhshrink", "softplus", "softsign", "logsigmoid", "log_sigmoid", "threshold", "_threshold",
    "contiguous", "clone", "detach", "float", "double", "half", "to", "type_as", "where", "gt", "addcmul",
)  # fmt: skip
# Operations that leave numbers as they are, also while channels lie along several dimensions.
UNCHANGED = ("contiguous", "clone", "detach")
_MOVE_MODULES = (
    nn.Flatten, nn.Unflatten, nn.ChannelShuffle, nn.PixelShuffle, nn.PixelUnshuffle, nn.ZeroPad2d, nn.ConstantPad2d,
    nn.ReflectionPad2d, nn.ReplicationPad2d, nn.CircularPad2d,
)  # fmt: skip
_MOVES = (
    "getitem", "chunk", "split", "split_with_sizes", "tensor_split", "unbind", "view", "reshape", "view_as",
    "reshape_as", "flatten", "unflatten", "permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis",
    "squeeze", "unsqueeze", "expand", "broadcast_to", "stack", "narrow", "select", "index_select", "flip",
    "roll", "pad", "repeat", "repeat_interleave", "tile", "channel_shuffle", "pixel_shuffle", "pixel_unshuffle",
)  # fmt: skip

# Operations that return a tuple of values and places, or of a variance and a mean.
TUPLES = ("max", "min", "var_mean")
# Norms, which are told their order first.
_ORDERED = ("norm", "linalg_vector_norm")
STACKED = ("stack",)

# Rules by type of module, by function, or by name for methods and for functions that several modules export.
RULES: Mapping[Any, Rule] = {
    **dict.fromkeys((*_SAME_MODULES, *_SAME), same),
    **dict.fromkeys((*_MOVE_MODULES, *_MOVES), moves),
    **dict.fromkeys(("cat", "concat", "concatenate"), joined),
    **dict.fromkeys((nn.MaxPool2d, functional.max_pool2d, torch.max_pool2d), _pool),
    **dict.fromkeys((nn.AvgPool2d, functional.avg_pool2d), _average_pool),
    **dict.fromkeys((nn.LPPool2d, functional.lp_pool2d), _power_pool),
    **dict.fromkeys(
        (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, functional.adaptive_avg_pool2d, functional.adaptive_max_pool2d),
        _adaptive_pool,
    ),
    **dict.fromkeys((nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d, "interpolate"), _adaptive_pool),
    **dict.fromkeys((nn.BatchNorm2d, nn.BatchNorm1d, "batch_norm"), _batch_norm),
    **dict.fromkeys((nn.InstanceNorm2d, nn.InstanceNorm1d, "instance_norm"), _instance_norm),
    **dict.fromkeys((nn.LayerNorm, "layer_norm"), _layer_norm),
    **dict.fromkeys((nn.GroupNorm, "group_norm"), _group_norm),
    **dict.fromkeys((nn.LocalResponseNorm, "local_response_norm"), _neighbours),
    **dict.fromkeys((nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d, "softmax", "log_softmax"), _softmax),
    **dict.fromkeys((nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout), _dropout),
    **dict.fromkeys(("dropout", "dropout2d", "alpha_dropout", "feature_alpha_dropout"), _dropout),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "std", "var", "var_mean"), _reduced),
    **dict.fromkeys(_ORDERED, _reduced),
    **dict.fromkeys(("max", "min"), _extreme),
    "cumsum": _running,
    **dict.fromkeys((nn.PReLU, "prelu"), lambda call, steps: _second(call, steps) and same(call, steps)),
    "expand_as": _whole,
    "normalize": _normalize,
    "stochastic_depth": _stochastic_depth,
    operator.getitem: moves,
}

# Rules of operations whose channels are always the second dimension.
PLACED = (_pool, _average_pool, _power_pool, _adaptive_pool, _batch_norm, _instance_norm, _group_norm)
