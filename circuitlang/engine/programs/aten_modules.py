"""Operators of a program that become modules: the layers, norms, pools and activations that they were called by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

T = TypeVar("T")
# Functions of the sizes of the input and of the other arguments, by their names in the schema.
Rule = Callable[..., nn.Module]


def aten(rules: Mapping[str, T]) -> Mapping[str, T]:
    """Rules by the whole names of their operators."""
    return {f"torch.ops.aten.{name}": rule for name, rule in rules.items()}


def pair(value: Any) -> tuple[int, int]:
    """A number or one or two of them, for both axes."""
    values = (value,) if isinstance(value, int) else tuple(value)
    if len(values) not in (1, 2) or not all(isinstance(number, int) for number in values):
        raise ValueError("its sizes depend on the image")
    return values[0], values[-1]


def _single(value: Any) -> int:
    """A number, or a list of one."""
    values = (value,) if isinstance(value, int) else tuple(value)
    if len(values) != 1 or not isinstance(values[0], int):
        raise ValueError("its sizes depend on the image")
    return values[0]


def _convolution(
    _size: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
) -> nn.Module:
    stride, dilation = pair(stride), pair(dilation)
    padding = padding if isinstance(padding, str) else pair(padding)
    out, inner, height, width = weight.shape
    return nn.Conv2d(
        inner * groups, out, (height, width), stride, padding, dilation, groups, bias=isinstance(bias, Tensor)
    )


def _convolution_of_rows(
    _size: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> nn.Module:
    stride, dilation = _single(stride), _single(dilation)
    padding = padding if isinstance(padding, str) else _single(padding)
    out, inner, width = weight.shape
    return nn.Conv1d(inner * groups, out, width, stride, padding, dilation, groups, bias=isinstance(bias, Tensor))


def _transposed_convolution(
    _size: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    output_padding: Any = (0, 0),
    groups: int = 1,
    dilation: Any = (1, 1),
) -> nn.Module:
    inner, out, height, width = weight.shape
    sides = pair(stride), pair(padding), pair(output_padding)
    with_bias = isinstance(bias, Tensor)
    return nn.ConvTranspose2d(inner, out * groups, (height, width), *sides, groups, with_bias, pair(dilation))


def _linear(_size: Any, weight: Any, bias: Any = None) -> nn.Module:
    return nn.Linear(weight.shape[1], weight.shape[0], bias=isinstance(bias, Tensor))


def _batch_norm(
    size: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
    **_: Any,
) -> nn.Module:
    if training or not isinstance(running_mean, Tensor) or not isinstance(running_var, Tensor):
        raise ValueError("it normalises by the batch: export model.eval()")
    if isinstance(weight, Tensor) != isinstance(bias, Tensor):
        raise ValueError("it has one of weight and bias alone")
    kind = nn.BatchNorm2d if len(size) == 4 else nn.BatchNorm1d
    module = kind(len(running_mean), eps, momentum, affine=isinstance(weight, Tensor))
    # A count of training steps, which has no say here.
    module.num_batches_tracked = None
    return module


def _instance_norm(
    size: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    **_: Any,
) -> nn.Module:
    if isinstance(weight, Tensor) != isinstance(bias, Tensor):
        raise ValueError("it has one of weight and bias alone")
    tracked = not use_input_stats
    if tracked and not (isinstance(running_mean, Tensor) and isinstance(running_var, Tensor)):
        raise ValueError("it has no mean and variance")
    kind = nn.InstanceNorm2d if len(size) == 4 else nn.InstanceNorm1d
    module = kind(size[1], eps, momentum, affine=isinstance(weight, Tensor), track_running_stats=tracked)
    module.num_batches_tracked = None
    return module


def _layer_norm(_size: Any, normalized_shape: Any, eps: float = 1e-5, **rest: Any) -> nn.Module:
    affine = isinstance(rest.get("weight"), Tensor)
    return nn.LayerNorm(normalized_shape, eps, elementwise_affine=affine, bias=isinstance(rest.get("bias"), Tensor))


def _group_norm(size: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, **_: Any) -> Any:
    if isinstance(weight, Tensor) != isinstance(bias, Tensor):
        raise ValueError("it has one of weight and bias alone")
    return nn.GroupNorm(num_groups, size[1], eps, affine=isinstance(weight, Tensor))


def _prelu(_size: Any, weight: Any) -> nn.Module:
    return nn.PReLU(weight.numel())


def _softplus(_size: Any, beta: float = 1.0, threshold: float = 20.0) -> nn.Module:
    return nn.Softplus(beta, threshold)


def _dropout(_size: Any, p: float, train: bool) -> nn.Module:
    if train:
        raise ValueError("it drops at random: export model.eval()")
    return nn.Dropout(p)


def _threshold(_size: Any, threshold: float, value: float) -> nn.Module:
    return nn.Threshold(threshold, value)


def _leaky(_size: Any, lower: float = 0.125, upper: float = 1 / 3, training: bool = False, **_: Any) -> nn.Module:
    if training:
        raise ValueError("it changes at random: export model.eval()")
    return nn.RReLU(lower, upper)


def _max_pool(
    _size: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> nn.Module:
    return nn.MaxPool2d(
        pair(kernel_size), pair(stride or kernel_size), pair(padding), pair(dilation), ceil_mode=ceil_mode
    )


def _average_pool(
    _size: Any,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> nn.Module:
    return nn.AvgPool2d(
        pair(kernel_size), pair(stride or kernel_size), pair(padding), ceil_mode, count_include_pad, divisor_override
    )


def _adaptive_pool(_size: Any, output_size: Any) -> nn.Module:
    return nn.AdaptiveAvgPool2d(pair(output_size))


def _hardtanh(_size: Any, min_val: float = -1.0, max_val: float = 1.0) -> nn.Module:
    return nn.Hardtanh(min_val, max_val)


def _leaky_relu(_size: Any, negative_slope: float = 0.01) -> nn.Module:
    return nn.LeakyReLU(negative_slope)


def _elu(_size: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> nn.Module:
    if (alpha, scale, input_scale) == (1.6732632423543772, 1.0507009873554805, 1):
        return nn.SELU()
    if (scale, input_scale) != (1.0, 1.0):
        raise ValueError("it is scaled")
    return nn.ELU(alpha)


def _gelu(_size: Any, approximate: str = "none") -> nn.Module:
    if approximate not in ("none", "tanh"):
        raise ValueError("its approximation is unknown")
    return nn.GELU(approximate)


def _identity(_size: Any, **_: Any) -> nn.Module:
    return nn.Identity()


def _plain(kind: Callable[[], nn.Module]) -> Rule:
    """The rule of a module without parameters."""
    return lambda _size: kind()


MODULES: Mapping[str, Rule] = aten(
    {
        "conv2d.default": _convolution,
        "conv2d.padding": _convolution,
        "conv1d.default": _convolution_of_rows,
        "conv1d.padding": _convolution_of_rows,
        "conv_transpose2d.input": _transposed_convolution,
        "linear.default": _linear,
        "batch_norm.default": _batch_norm,
        "instance_norm.default": _instance_norm,
        "layer_norm.default": _layer_norm,
        "group_norm.default": _group_norm,
        "prelu.default": _prelu,
        "threshold.default": _threshold,
        "softplus.default": _softplus,
        "dropout.default": _dropout,
        "feature_dropout.default": _dropout,
        "alpha_dropout.default": _dropout,
        "feature_alpha_dropout.default": _dropout,
        "rrelu.default": _leaky,
        "max_pool2d.default": _max_pool,
        "avg_pool2d.default": _average_pool,
        "adaptive_avg_pool2d.default": _adaptive_pool,
        "hardtanh.default": _hardtanh,
        "leaky_relu.default": _leaky_relu,
        "elu.default": _elu,
        "gelu.default": _gelu,
        "relu.default": _plain(nn.ReLU),
        "relu6.default": _plain(nn.ReLU6),
        "selu.default": _plain(nn.SELU),
        "sigmoid.default": _plain(nn.Sigmoid),
        "tanh.default": _plain(nn.Tanh),
        "log_sigmoid.default": _plain(nn.LogSigmoid),
        "silu.default": _plain(nn.SiLU),
        "mish.default": _plain(nn.Mish),
        "hardswish.default": _plain(nn.Hardswish),
        "hardsigmoid.default": _plain(nn.Hardsigmoid),
        **dict.fromkeys(
            ("contiguous.default", "clone.default", "detach.default", "alias.default", "lift_fresh_copy.default"),
            _identity,
        ),
    }
)
