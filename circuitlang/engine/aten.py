"""Program → network: the operators of an exported program as the layers that they were called by.

Each operator that is known has a rule; any other is refused by name. Every rule treats each image by itself, so a
program that was exported for one image is right for any number of them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from circuitlang.engine.archive import Operation, Program
from circuitlang.engine.result_tree import Tree
from circuitlang.errors import Finding, InputError

T = TypeVar("T")
Arguments = Mapping[str, Any]
# What stands for a size that isn't a number.
_FREE = object()


def network(program: Program) -> fx.GraphModule:
    """The network of a program, its layers at the paths of their weights. Raises InputError naming the operator that
    can't be read."""
    return _Lowering(program).lower()


class _Lowering:
    """Goes through a program once and builds the network, step by step."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._graph = fx.Graph()
        self._steps: dict[str, fx.Node] = {}
        self._modules: dict[str, nn.Module | Tensor] = {}
        self._made_by: dict[str, tuple[str, str]] = {}
        # Names of one tensor: what is written into one is written into all.
        self._same: dict[str, set[str]] = {}
        self._overwritten: dict[str, str] = {}

    def lower(self) -> fx.GraphModule:
        image = self._program.image
        size = self._program.sizes.get(image, ())
        if len(size) != 4 or not isinstance(size[1], int):
            said = " x ".join(str(each) if isinstance(each, int) else "any" for each in size) or "no tensor"
            message = f"the program takes {said}, not a batch of images"
            raise InputError(Finding("E308", message))
        self._steps[image] = self._graph.placeholder("image")
        self._same[image] = {image}
        for operation in self._program.operations:
            if operation.target not in _PASSED_OVER and not operation.target.startswith("_operator."):
                self._steps[operation.name] = self._step(operation)
        self._graph.output(self._result(self._program.result))
        return fx.GraphModule(self._modules, self._graph).eval()

    def _result(self, tree: Tree) -> Any:
        """The steps of the tensors that the program gives, nested as they are in its result."""
        if isinstance(tree, dict):
            return {word: self._result(each) for word, each in tree.items()}
        if isinstance(tree, tuple):
            return tuple(map(self._result, tree))
        if tree in self._program.stored:
            return self._constant(self._program.tensors[self._program.stored[tree]])
        if tree is not None and (tree in self._overwritten or tree not in self._steps):
            reason = f"its result {tree} can't be told from what is written into it"
            raise InputError(Finding("E308", "the program can't be followed to its end", None, reason))
        return self._steps.get(tree)

    def _step(self, operation: Operation) -> fx.Node:
        target, in_place = operation.target, False
        if target not in _MODULES and target not in _FUNCTIONS:
            in_place, target = True, target.replace("_.", ".")
        given = {name: self._argument(operation, value) for name, value in operation.arguments.items()}
        source = _source(operation.arguments)
        self._same[operation.name] = {operation.name}
        if target in _ALIASES and source in self._same:
            self._same[operation.name] = self._same[source]
            self._same[source].add(operation.name)
        if target == _EXPAND and source in self._program.stored:
            node = self._spread(operation, given)
        elif target in _FUNCTIONS:
            node = self._call(operation, _FUNCTIONS[target], given)
        elif target in _MODULES:
            node = self._module(operation, _MODULES[target], given)
        else:
            raise _refused(operation, "it is not among the operators that are known")
        if in_place:
            self._write(operation, source, node)
            self._same[operation.name] = self._same[source]
            self._same[source].add(operation.name)
        for number, part in enumerate(operation.parts):
            self._steps[part] = self._graph.call_function(operator.getitem, (node, number))
            self._same[part] = self._same[operation.name]
            self._same[part].add(part)
        return node

    def _write(self, operation: Operation, name: str, node: fx.Node) -> None:
        """From here on a tensor is what was written into it; what looks at it in another way may not be used."""
        for each in self._same.get(name, set()) - {name, operation.name}:
            self._overwritten[each] = operation.name
        self._steps[name] = node

    def _argument(self, operation: Operation, value: Arguments) -> Any:
        """An argument as a step of the network, a stored tensor, or a plain value."""
        ((kind, content),) = value.items()
        match kind:
            case "as_tensor":
                return self._tensor(operation, content["name"])
            case "as_tensors":
                return [self._tensor(operation, each["name"]) for each in content]
            case "as_none":
                return None
            case "as_sym_int":
                return content.get("as_int", _FREE)
            case "as_sym_ints":
                return [each.get("as_int", _FREE) for each in content]
            case "as_int" | "as_ints" | "as_float" | "as_floats" | "as_bool" | "as_bools" | "as_string":
                return content
        raise _refused(operation, f"it is given {kind.removeprefix('as_')}")

    def _tensor(self, operation: Operation, name: str) -> fx.Node | Tensor:
        if name in self._overwritten:
            raise _refused(operation, f"it reads what {self._overwritten[name]} wrote into in another shape")
        if name in self._program.stored:
            return self._program.tensors[self._program.stored[name]]
        if name not in self._steps:
            raise _refused(operation, f"it reads {name}, one of several results")
        return self._steps[name]

    def _call(self, operation: Operation, rule: Callable[..., Any], given: Arguments) -> fx.Node:
        sizes = self._program.sizes
        before, after = sizes.get(_source(operation.arguments), ()), sizes.get(operation.name, ())
        try:
            function, *arguments = rule(before, after, **given)
        except (TypeError, ValueError) as error:
            raise _refused(operation, str(error)) from None
        return self._graph.call_function(function, tuple(map(self._constant, arguments)))

    def _spread(self, operation: Operation, given: Arguments) -> fx.Node:
        """A stored tensor of one image for every image."""
        stored, sizes = given["self"], self._program.sizes
        after = sizes.get(operation.name, ())
        if stored.dim() != len(after) or len(stored) != 1 or after[0] != sizes[self._program.image][0]:
            raise _refused(operation, "it repeats a stored tensor, but not for every image")
        count = self._graph.call_method("size", (self._steps[self._program.image], 0))
        return self._graph.call_method("expand", (self._constant(stored), count, *_sizes(after[1:])))

    def _constant(self, value: Any) -> Any:
        """A stored tensor as a step of the network; what else an argument is, as it is."""
        if isinstance(value, (list, tuple)):
            return type(value)(map(self._constant, value))
        if not isinstance(value, Tensor):
            return value
        path = next(path for path, tensor in self._program.tensors.items() if tensor is value)
        # As a parameter, so that tracing sees what is done with it.
        stored = nn.Parameter(value, requires_grad=False) if value.is_floating_point() else value
        self._modules.setdefault(path, stored)
        return self._graph.get_attr(path)

    def _module(self, operation: Operation, rule: Callable[..., nn.Module], given: Arguments) -> fx.Node:
        rest = dict(given)
        source = rest.pop("input" if "input" in rest else "self", None)
        if not isinstance(source, fx.Node):
            raise _refused(operation, "its input is a stored tensor")
        rank = len(self._program.sizes.get(_source(operation.arguments), ()))
        try:
            # On no device: the values that a layer begins with are not drawn.
            with torch.device("meta"):
                module = rule(rank, **rest)
        except (TypeError, ValueError) as error:
            raise _refused(operation, str(error)) from None
        for word, own in (("weight", "weight"), ("bias", "bias")):
            if isinstance(rest.get(word), Tensor):
                setattr(module, own, nn.Parameter(rest[word]))
        for word in ("running_mean", "running_var"):
            if isinstance(rest.get(word), Tensor):
                setattr(module, word, rest[word])
        path = self._place(operation, module)
        self._modules.setdefault(path, module)
        return self._graph.call_module(path, (source,))

    def _place(self, operation: Operation, module: nn.Module) -> str:
        """The path of the module that made the call, or else the call's own name; a weight has one place only."""
        weight = operation.arguments.get("weight", {}).get("as_tensor", {}).get("name", "")
        stored = self._program.stored.get(weight, "")
        own = operation.path if operation.kind.startswith("torch.nn.modules.") else ""
        path = stored.removesuffix(".weight") if stored.endswith(".weight") else own or operation.name
        made = (stored, repr(module))
        if self._made_by.setdefault(path, made) == made:
            return path
        if stored:
            raise _refused(operation, f"it uses {stored} in another way than before")
        self._made_by[operation.name] = made
        return operation.name


def _source(arguments: Arguments) -> str:
    """The name of the tensor that an operator works on."""
    first = arguments.get("input") or arguments.get("self") or {}
    return str(first.get("as_tensor", {}).get("name", ""))


def _refused(operation: Operation, reason: str) -> InputError:
    where = f"in '{operation.path}'" if operation.path else f"step '{operation.name}'"
    name = operation.target.removeprefix("torch.ops.")
    cure = "name a model source that builds the network, such as python(...)"
    return InputError(Finding("E308", f"the program can't be followed through {name} ({where})", None, reason, cure))


def _convolution(
    _rank: int,
    weight: Any,
    bias: Any = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
) -> nn.Module:
    if not isinstance(weight, Tensor) or weight.dim() != 4:
        raise ValueError("its weight is computed")
    stride, dilation = _pair(stride), _pair(dilation)
    padding = padding if isinstance(padding, str) else _pair(padding)
    out, inner, height, width = weight.shape
    return nn.Conv2d(
        inner * groups, out, (height, width), stride, padding, dilation, groups, bias=isinstance(bias, Tensor)
    )


def _linear(_rank: int, weight: Any, bias: Any = None) -> nn.Module:
    if not isinstance(weight, Tensor):
        raise ValueError("its weight is computed")
    return nn.Linear(weight.shape[1], weight.shape[0], bias=isinstance(bias, Tensor))


def _batch_norm(
    rank: int,
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
    kind = nn.BatchNorm2d if rank == 4 else nn.BatchNorm1d
    module = kind(len(running_mean), eps, momentum, affine=isinstance(weight, Tensor))
    # A count of training steps, which has no say here.
    module.num_batches_tracked = None
    return module


def _layer_norm(_rank: int, normalized_shape: Any, eps: float = 1e-5, **rest: Any) -> nn.Module:
    affine = isinstance(rest.get("weight"), Tensor)
    return nn.LayerNorm(normalized_shape, eps, elementwise_affine=affine, bias=isinstance(rest.get("bias"), Tensor))


def _group_norm(_rank: int, num_groups: int, weight: Any = None, eps: float = 1e-5, **_: Any) -> nn.Module:
    if not isinstance(weight, Tensor):
        raise ValueError("it has no weight")
    return nn.GroupNorm(num_groups, len(weight), eps)


def _softplus(_rank: int, beta: float = 1.0, threshold: float = 20.0) -> nn.Module:
    return nn.Softplus(beta, threshold)


def _dropout(_rank: int, p: float, train: bool) -> nn.Module:
    if train:
        raise ValueError("it drops at random: export model.eval()")
    return nn.Dropout(p)


def _max_pool(
    _rank: int, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> nn.Module:
    return nn.MaxPool2d(
        _pair(kernel_size), _pair(stride or kernel_size), _pair(padding), _pair(dilation), ceil_mode=ceil_mode
    )


def _average_pool(
    _rank: int,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> nn.Module:
    return nn.AvgPool2d(
        _pair(kernel_size), _pair(stride or kernel_size), _pair(padding), ceil_mode, count_include_pad, divisor_override
    )


def _adaptive_pool(_rank: int, output_size: Any) -> nn.Module:
    return nn.AdaptiveAvgPool2d(_pair(output_size))


def _hardtanh(_rank: int, min_val: float = -1.0, max_val: float = 1.0) -> nn.Module:
    return nn.Hardtanh(min_val, max_val)


def _leaky_relu(_rank: int, negative_slope: float = 0.01) -> nn.Module:
    return nn.LeakyReLU(negative_slope)


def _elu(_rank: int, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> nn.Module:
    if (scale, input_scale) != (1.0, 1.0):
        raise ValueError("it is scaled")
    return nn.ELU(alpha)


def _gelu(_rank: int, approximate: str = "none") -> nn.Module:
    return nn.GELU(approximate)


def _identity(_rank: int, **_: Any) -> nn.Module:
    return nn.Identity()


def _plain(kind: Callable[[], nn.Module]) -> Callable[[int], nn.Module]:
    """The rule of a module without parameters."""
    return lambda _rank: kind()


def _pair(value: Any) -> tuple[int, int]:
    """A number or one or two of them, for both axes."""
    values = (value,) if isinstance(value, int) else tuple(value)
    if len(values) not in (1, 2) or not all(isinstance(each, int) for each in values):
        raise ValueError("its sizes depend on the image")
    return values[0], values[-1]


def _arithmetic(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """The rule of a sum or product of two steps, or of a step and a number or a stored tensor."""

    def rule(_before: Any, after: Any, self: Any, other: Any, alpha: float = 1) -> tuple[Any, ...]:
        if other is _FREE:
            raise ValueError("one side is a size")
        if any(isinstance(each, Tensor) and each.dim() == len(after) and len(each) != 1 for each in (self, other)):
            raise ValueError("one side is a stored tensor of several images")
        if alpha != 1:
            raise ValueError("one side is scaled")
        return function, self, other

    return rule


def _concatenate(_before: Any, after: Any, tensors: Any, dim: int = 0) -> tuple[Any, ...]:
    if any(isinstance(each, Tensor) for each in tensors):
        raise ValueError("a part of it is a stored tensor, which has a number of images")
    if dim % len(after) == 0:
        raise ValueError("it joins images")
    return torch.cat, tensors, dim


def _reshape(before: Any, after: Any, self: Any, **_: Any) -> tuple[Any, ...]:
    """A reshape of each image, however it is written; sizes of images are compared as they are written."""
    if not before or not after or before[0] != after[0]:
        raise ValueError("it reshapes more than each image")
    if len(after) == 2:
        return torch.flatten, self, 1
    return torch.reshape, self, (-1, *_sizes(after[1:]))


def _sizes(sizes: Any) -> tuple[int, ...]:
    if not all(isinstance(size, int) for size in sizes):
        raise ValueError("its sizes depend on the image")
    return tuple(sizes)


def _permute(before: Any, _after: Any, self: Any, dims: Any) -> tuple[Any, ...]:
    axes = [axis % len(before) for axis in dims]
    if axes[0] != 0:
        raise ValueError("it moves the images")
    return torch.permute, self, axes


def _transpose(before: Any, _after: Any, self: Any, dim0: int, dim1: int) -> tuple[Any, ...]:
    return torch.transpose, self, *_inside(before, dim0, dim1)


def _inside(before: Any, *axes: int) -> tuple[int, ...]:
    """Dimensions that are not the images'."""
    found = tuple(axis % len(before) for axis in axes)
    if 0 in found:
        raise ValueError("it takes images apart")
    return found


def _slice(before: Any, _after: Any, self: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    if dim % len(before) == 0 and start in (None, 0) and step == 1 and (end is None or end >= 1 << 62):
        return operator.getitem, self, slice(None)
    (axis,) = _inside(before, dim)
    if _FREE in (start, end):
        raise ValueError("its sizes depend on the image")
    return operator.getitem, self, (*[slice(None)] * axis, slice(start, end, step))


def _select(before: Any, _after: Any, self: Any, dim: int, index: Any) -> tuple[Any, ...]:
    return torch.select, self, *_inside(before, dim), index


def _parts(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """The rule of a division into several parts, by their number or sizes."""

    def rule(before: Any, _after: Any, self: Any, dim: int = 0, **sizes: Any) -> tuple[Any, ...]:
        (size,) = sizes.values()
        return function, self, size, *_inside(before, dim)

    return rule


def _expand(before: Any, after: Any, self: Any, **_: Any) -> tuple[Any, ...]:
    if len(before) != len(after) or before[0] != after[0]:
        raise ValueError("it repeats images")
    sizes = [-1 if old == new else new for old, new in zip(before, after, strict=True)]
    return torch.Tensor.expand, self, [-1, *_sizes(sizes[1:])]


def _pad(_before: Any, after: Any, self: Any, pad: Any, mode: str = "constant", value: Any = None) -> tuple[Any, ...]:
    if len(pad) > 2 * len(after) - 2:
        raise ValueError("it adds images")
    return functional.pad, self, list(pad), mode, value


def _mean(before: Any, _after: Any, self: Any, dim: Any = None, keepdim: bool = False) -> tuple[Any, ...]:
    return torch.mean, self, _over(before, dim), keepdim


def _sum(before: Any, _after: Any, self: Any, dim: Any = None, keepdim: bool = False) -> tuple[Any, ...]:
    return torch.sum, self, _over(before, dim), keepdim


def _over(before: Any, dim: Any) -> list[int]:
    axes = sorted(axis % len(before) for axis in dim or ())
    if not axes or 0 in axes:
        raise ValueError("it sums up images")
    return axes


def _index_select(before: Any, _after: Any, self: Any, dim: int, index: Any) -> tuple[Any, ...]:
    if not isinstance(index, Tensor):
        raise ValueError("what it takes is computed")
    return torch.index_select, self, *_inside(before, dim), index


def _aten(rules: Mapping[str, Callable[..., T]]) -> Mapping[str, Callable[..., T]]:
    """Rules by the whole names of their operators."""
    return {f"torch.ops.aten.{name}": rule for name, rule in rules.items()}


# The rules of what becomes a module: of an input of a rank and the other arguments, by their names in the schema.
_MODULES: Mapping[str, Callable[..., nn.Module]] = _aten(
    {
        "conv2d.default": _convolution,
        "conv2d.padding": _convolution,
        "linear.default": _linear,
        "batch_norm.default": _batch_norm,
        "layer_norm.default": _layer_norm,
        "group_norm.default": _group_norm,
        "softplus.default": _softplus,
        "dropout.default": _dropout,
        "feature_dropout.default": _dropout,
        "max_pool2d.default": _max_pool,
        "avg_pool2d.default": _average_pool,
        "adaptive_avg_pool2d.default": _adaptive_pool,
        "hardtanh.default": _hardtanh,
        "leaky_relu.default": _leaky_relu,
        "elu.default": _elu,
        "gelu.default": _gelu,
        "relu.default": _plain(nn.ReLU),
        "relu6.default": _plain(nn.ReLU6),
        "sigmoid.default": _plain(nn.Sigmoid),
        "tanh.default": _plain(nn.Tanh),
        "silu.default": _plain(nn.SiLU),
        "mish.default": _plain(nn.Mish),
        "hardswish.default": _plain(nn.Hardswish),
        "hardsigmoid.default": _plain(nn.Hardsigmoid),
        **dict.fromkeys(
            ("contiguous.default", "clone.default", "detach.default", "alias.default"),
            _identity,
        ),
    }
)

_RESHAPES = (
    "flatten.using_ints", "view.default", "reshape.default", "_unsafe_view.default", "unflatten.int", "squeeze.dim",
    "squeeze.dims", "unsqueeze.default",
)  # fmt: skip
# The rules of what remains a function: of the sizes before and after, and the arguments.
_FUNCTIONS: Mapping[str, Callable[..., tuple[Any, ...]]] = _aten(
    {
        "add.Tensor": _arithmetic(operator.add),
        "sub.Tensor": _arithmetic(operator.sub),
        "mul.Tensor": _arithmetic(operator.mul),
        "div.Tensor": _arithmetic(operator.truediv),
        "cat.default": _concatenate,
        "mean.dim": _mean,
        "sum.dim_IntList": _sum,
        "index_select.default": _index_select,
        "permute.default": _permute,
        "transpose.int": _transpose,
        "slice.Tensor": _slice,
        "select.int": _select,
        "chunk.default": _parts(torch.chunk),
        "split.Tensor": _parts(torch.split),
        "split_with_sizes.default": _parts(torch.split),
        "expand.default": _expand,
        "pad.default": _pad,
        "constant_pad_nd.default": _pad,
        **dict.fromkeys(_RESHAPES, _reshape),
    }
)

_EXPAND = "torch.ops.aten.expand.default"
# What computes no tensor: sizes, and checks of them.
_PASSED_OVER = (
    "torch.ops.aten.sym_size.int", "torch.ops.aten._assert_tensor_metadata.default",
    "torch.ops.aten._assert_scalar.default",
)  # fmt: skip
# What may look at its input's memory.
_ALIASES = {
    f"torch.ops.aten.{name}"
    for name in (*_RESHAPES, "dropout.default", "feature_dropout.default", "contiguous.default", "detach.default",
                 "alias.default", "permute.default", "transpose.int", "slice.Tensor", "select.int", "chunk.default",
                 "split.Tensor", "split_with_sizes.default", "expand.default")
}  # fmt: skip
