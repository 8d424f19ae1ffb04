"""Traced operations → steps: of each operation, which channels feed which.

There are three kinds of rules. A table says which operations treat each channel by itself, and what a position sees.
A second one says which mix channels. Operations that only move numbers about need no rule: they are carried out on
numbers that say where they come from. What has no rule is not followed.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from circuitlang.engine.graph import Graph, Kind, Layer, Link, Step, Window, Windows

# Images that a network is run with when it is read: two, to see that one does not look at another.
BATCH = 2
# The first number that says where a value comes from; what is below was made on the way, by padding or of a constant.
_FIRST = 1 << 40
_ONE = (Window(1, 1, 0), Window(1, 1, 0))

Moved: TypeAlias = "Tensor | tuple[Moved, ...] | list[Moved]"


class Refused(Exception):  # noqa: N818
    """Why an operation can't be followed."""


def follow(module: fx.GraphModule) -> Graph:
    """The channels of a traced network, whose nodes know their shapes (`meta["shape"]`, of a batch) and what
    does not depend on the images (`meta["value"]`)."""
    return _Reader(module).read()


class _Reader:
    """Goes through a traced graph once."""

    def __init__(self, module: fx.GraphModule) -> None:
        self._module = module
        self._steps: dict[str, Step] = {}
        self._moved: dict[str, Moved] = {}
        self._origins: list[tuple[int, Step]] = []
        self._layers = dict(_layers(module))
        for node in module.graph.nodes:
            if node.op == "call_module" and str(node.target) in self._layers:
                node.meta["layer"] = self._layers[str(node.target)].name

    def read(self) -> Graph:
        image = ""
        for node in self._module.graph.nodes:
            if node.op == "placeholder" and not image:
                image, shape = node.name, tuple(node.meta["shape"][1:])
                self._keep(node, Step(node.name, shape[0], (), "image", shape=shape))
            elif "value" in node.meta:
                node.meta["followed"] = True
            elif node.op not in ("placeholder", "output"):
                try:
                    self._keep(node, self._step(node))
                except Refused as refusal:
                    node.meta["refused"] = str(refusal)
        return Graph(self._module, self._steps, image)

    def _keep(self, node: fx.Node, step: Step | None) -> None:
        if step is not None:
            self._steps[node.name] = step
        if step is not None or node.name in self._moved:
            node.meta["followed"] = True

    def _step(self, node: fx.Node) -> Step | None:
        """The step of a node; None where its channels can't be followed, which `find` reports if it matters."""
        if "written" in node.meta:
            raise Refused(f"it reads what {node.meta['written']} wrote into")
        inputs = [each for each in node.all_input_nodes if "value" not in each.meta]
        if any("followed" not in each.meta for each in inputs):
            return None
        if node.op == "call_module":
            module = self._module.get_submodule(str(node.target))
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                return self._layer(node, module)
            rule: Any = next((RULES[kind] for kind in type(module).__mro__ if kind in RULES), None)
            call = _Call(node, inputs, (node.args[0], *_arguments(module)), {})
        else:
            rule = RULES.get(node.target) or RULES.get(getattr(node.target, "__name__", node.target))
            call = _Call(node, inputs, node.args, node.kwargs)
        unchanged = getattr(node.target, "__name__", node.target) in _UNCHANGED
        if rule is _moves or (unchanged and inputs[0].name in self._moved):
            return self._move(node)
        if rule is _cat:
            return self._concatenated(node)
        return rule(call, self._steps) if rule else None

    def _layer(self, node: fx.Node, module: nn.Conv2d | nn.Linear) -> Step | None:
        source = self._steps.get(node.all_input_nodes[0].name)
        layer, shape = self._layers[str(node.target)], tuple(node.meta["shape"][1:])
        if source is None or len(source.shape) != len(shape):
            return None
        own = torch.arange(source.width)
        link = Link(source.name, own, own)
        if isinstance(module, nn.Linear):
            if source.axis % (len(shape) + 1) != len(shape):
                raise Refused("its inputs are not the channels")
            return Step(
                node.name, layer.out_channels, (link,), "layer", layer, _ONE, 1 if len(shape) == 1 else -1, shape
            )
        if source.axis != 1 or len(shape) != 3:
            raise Refused("its inputs are not the channels")
        windows = _windows(module.kernel_size, module.stride, _padding(module), module.dilation)
        return Step(node.name, layer.out_channels, (link,), "layer", layer, windows, 1, shape)

    def _concatenated(self, node: fx.Node) -> Step | None:
        """Steps joined along their channels, or channel by channel along rows or columns."""
        parts = node.args[0] if node.args else node.kwargs["tensors"]
        axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
        if not isinstance(parts, (list, tuple)) or not isinstance(axis, int):
            return None
        shape = tuple(node.meta["shape"][1:])
        rank = len(shape) + 1
        steps = [self._steps.get(each.name) for each in parts if isinstance(each, fx.Node) and "value" not in each.meta]
        if None in steps or len({step.axis for step in steps if step}) > 1 or axis % rank == 0:
            return self._move(node)
        found = next(step for step in steps if step)
        if found.axis % rank != axis % rank:
            own = torch.arange(found.width)
            along = tuple(Link(step.name, own, own) for step in steps if step)
            return Step(node.name, found.width, along, "each", windows=None, axis=found.axis, shape=shape)
        links, start = [], 0
        for part in parts:
            step = self._steps.get(part.name) if isinstance(part, fx.Node) else None
            width = step.width if step else part.meta["value"].shape[axis]
            if step:
                own = torch.arange(width)
                links.append(Link(step.name, own, own + start))
            start += width
        return Step(node.name, start, tuple(links), "cat", axis=found.axis, shape=shape)

    def _move(self, node: fx.Node) -> Step | None:
        """Carry an operation out on numbers that say where they come from, and see what became of the channels."""

        def value(used: fx.Node) -> Any:
            if "value" in used.meta:
                return used.meta["value"]
            return self._moved[used.name] if used.name in self._moved else self._numbered(self._steps[used.name])

        arguments, words = fx.map_arg(node.args, value), fx.map_arg(node.kwargs, value)
        try:
            if node.op == "call_module":
                moved = self._module.get_submodule(str(node.target))(*arguments, **words)
            elif node.op == "call_method":
                moved = getattr(arguments[0], str(node.target))(*arguments[1:], **words)
            else:
                moved = node.target(*arguments, **words)  # type: ignore[operator]
        except (RuntimeError, NotImplementedError, TypeError, IndexError) as error:
            raise Refused(str(error).strip().split("\n")[0]) from None
        self._moved[node.name] = moved
        step = self._seen(node, moved) if isinstance(moved, Tensor) else None
        if step is not None:
            del self._moved[node.name]
        return step

    def _numbered(self, step: Step) -> Tensor:
        """A number for each value of a step's output for a batch."""
        size = math.prod(step.shape) * BATCH
        start = self._origins[-1][0] if self._origins else _FIRST
        last = self._origins[-1][1] if self._origins else None
        start += math.prod(last.shape) * BATCH if last else 0
        self._origins.append((start, step))
        return torch.arange(start, start + size, dtype=torch.float64, device="cpu").reshape(BATCH, *step.shape)

    def _seen(self, node: fx.Node, numbers: Tensor) -> Step | None:
        """The step of values that were moved; None where a channel of them is not one channel of one step."""
        shape = tuple(numbers.shape[1:])
        if len(numbers) != BATCH or not shape:
            return None
        numbers, other = numbers.nan_to_num(0, 0, 0).to(torch.int64)
        channel, place = torch.full_like(numbers, -1), torch.full_like(numbers, -1)
        present, first = [], 0
        for start, step, where in self._present(numbers):
            size = math.prod(step.shape)
            own = numbers[where] - start
            # Of the first image, and the same of the second.
            if (own >= size).any() or not torch.equal(other[where], numbers[where] + size):
                return None
            inner = math.prod(step.shape[step.axis % (len(step.shape) + 1) :])
            rest = own // inner
            channel[where] = rest % step.width + first
            place[where] = rest // step.width * inner + own % inner
            first += step.width
            present.append(step)
        if not present or (other[numbers < _FIRST] >= _FIRST).any():
            return None
        axis = _axis(numbers, channel)
        if axis is None:
            return None
        channel, place = (each.movedim(axis, 0).reshape(shape[axis], -1) for each in (channel, place))
        feeding = channel.amax(1)
        links, first = [], 0
        for step in present:
            target = ((feeding >= first) & (feeding < first + step.width)).nonzero()[:, 0]
            links.append(Link(step.name, feeding[target] - first, target))
            first += step.width
        positions = shape[:axis] + shape[axis + 1 :]
        kind, windows = _kind(place, positions, links, present, [each.name for each in node.all_input_nodes])
        along = 1 if axis == 0 else axis - len(shape)
        return Step(node.name, len(feeding), tuple(links), kind, None, windows, along, shape)

    def _present(self, numbers: Tensor) -> Iterator[tuple[int, Step, Any]]:
        """The steps that values come from: where their numbers begin, and which values are theirs."""
        starts = [start for start, _ in self._origins]
        low, high = (bisect_right(starts, int(each)) - 1 for each in (numbers.min(), numbers.max()))
        if low == high >= 0:
            yield *self._origins[low], slice(None)
        elif low < high:
            origin = torch.bucketize(numbers.contiguous(), torch.tensor(starts), right=True) - 1
            for number in range(max(low, 0), high + 1):
                where = origin == number
                if where.any():
                    yield *self._origins[number], where


def _axis(numbers: Tensor, channel: Tensor) -> int | None:
    """The dimension along which the channels lie: all others have the same ones throughout, or constants."""
    found = []
    for axis in range(numbers.dim()):
        rows = channel.movedim(axis, 0).reshape(channel.shape[axis], -1)
        highest = rows.amax(1, keepdim=True)
        if torch.equal(rows.amin(1, keepdim=True), highest) or ((rows == highest) | (rows < 0)).all():
            found.append(axis)
    if len(found) > 1:
        # A single channel: it lies where nothing else does.
        free = [axis for axis in found if (numbers == numbers.narrow(axis, 0, 1)).all()]
        found = free or ([0] if numbers.dim() == 1 else [])
        found = found[:1] if found[:1] == [0] else found[-1:]
    return found[0] if found else None


def _kind(
    place: Tensor, positions: tuple[int, ...], links: list[Link], steps: list[Step], inputs: list[str]
) -> tuple[Kind, Windows | None]:
    """What was done to the channels, of which each row [channels, positions] says what is where."""
    count = math.prod(steps[0].positions)
    whole = (place == torch.arange(place.shape[1])) | (place < 0).all(1, keepdim=True)
    if whole.all() and all(math.prod(step.positions) == place.shape[1] for step in steps):
        return "copy", _ONE if count == 1 or all(step.positions == positions for step in steps) else None
    if len(steps) > 1:
        raise Refused("it takes apart and joins several results")
    if place.shape[1] == 1 and len(place) == steps[0].width * count > steps[0].width:
        blocks = place.reshape(-1, count)
        if (blocks == torch.arange(count)).all() and (links[0].source.reshape(-1, count).diff(dim=1) == 0).all():
            return "flat", None
    own = torch.arange(steps[0].width)
    if not (torch.equal(links[0].source, own) and torch.equal(links[0].target, own) and (place == place[0]).all()):
        raise Refused("it takes channels and positions at once")
    if links[0].node not in inputs:
        raise Refused("it moves positions in several operations")
    if len(positions) != 2 or len(steps[0].positions) != 2:
        return "each", None
    seen = place[0].reshape(positions)
    width = steps[0].positions[1]
    return "each", (_window(seen, 0, lambda each: each // width), _window(seen, 1, lambda each: each % width))


def _window(seen: Tensor, axis: int, along: Callable[[Tensor], Tensor]) -> Window:
    """What a position sees of its input along one axis, where it is one other position or nothing."""
    valid = seen >= 0
    own = torch.arange(seen.shape[axis]).reshape(-1, 1) if axis == 0 else torch.arange(seen.shape[axis])
    own, found = own.expand(seen.shape)[valid], along(seen)[valid]
    reach = int(own.max() - own.min())
    stride = max(1, round(int(found.max() - found.min()) / reach)) if reach else 1
    shift = found - own * stride
    return Window(int(shift.max() - shift.min()) + 1, stride, -int(shift.min()))


def _layers(module: fx.GraphModule) -> Iterator[tuple[str, Layer]]:
    """Layers by path. Users call them convN and fcN in execution order, unless the model has such names itself."""
    taken = {name for name, _ in module.named_modules()}
    uses = {str(node.target): node.name for node in module.graph.nodes if node.op == "call_module"}
    numbers = {"conv": 0, "fc": 0}
    for path in dict.fromkeys(str(node.target) for node in module.graph.nodes if node.op == "call_module"):
        layer = module.get_submodule(path)
        if not isinstance(layer, (nn.Conv2d, nn.Linear)):
            continue
        word = "conv" if isinstance(layer, nn.Conv2d) else "fc"
        numbers[word] += 1
        alias = f"{word}{numbers[word]}"
        name = path if alias in taken else alias
        if isinstance(layer, nn.Conv2d):
            height, width = layer.kernel_size
            sizes = layer.out_channels, layer.in_channels, layer.groups, (height, width)
            yield path, Layer(path, name, "conv", uses[path], *sizes)
        else:
            yield path, Layer(path, name, "linear", uses[path], layer.out_features, layer.in_features, 1, (1, 1))


def _padding(module: nn.Conv2d) -> tuple[int, int]:
    """Padding before the first row and column, also where it is given as a word."""
    if isinstance(module.padding, str):
        left, _, top, _ = module._reversed_padding_repeated_twice
        return top, left
    return module.padding[0], module.padding[1]


def _windows(kernel: Any, stride: Any, padding: Any = 0, dilation: Any = 1) -> Windows:
    """The windows of a convolution or pool from its arguments, numbers or pairs."""
    sizes, steps, edges, holes = (
        value if isinstance(value, (tuple, list)) else (value, value)
        for value in (kernel, stride or kernel, padding, dilation)
    )
    vertical, horizontal = (
        Window(holes[axis % len(holes)] * (sizes[axis % len(sizes)] - 1) + 1, steps[axis % len(steps)], edges[axis])
        for axis in (0, 1)
    )
    return vertical, horizontal


class _Call:
    """An operation with its arguments, whether it is a function, a method or a module."""

    def __init__(self, node: fx.Node, inputs: list[fx.Node], given: Any, words: Mapping[str, Any]) -> None:
        self.node = node
        self.inputs = inputs
        self._given = given
        self._words = words
        self.shape: tuple[int, ...] = tuple(node.meta.get("shape", ())[1:])

    def argument(self, position: int, word: str, default: Any = None) -> Any:
        """An argument by position or name, as it was when the network was read."""
        value = self._given[position] if len(self._given) > position else self._words.get(word, default)
        return fx.map_arg(value, lambda node: node.meta.get("value", node))


def _arguments(module: nn.Module) -> tuple[Any, ...]:
    """The arguments with which a module calls its function, those that rules look at."""
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


Rule = Callable[[_Call, Mapping[str, Step]], "Step | None"]


def _same(call: _Call, steps: Mapping[str, Step], windows: Windows | None = _ONE, blocks: int = 0) -> Step | None:
    """Channels go through one by one, or one is used for all, or (in blocks) all for all."""
    sources = [_step(each, steps) for each in call.inputs]
    if any(len(step.shape) != len(call.shape) for step in sources):
        raise Refused("its inputs have different numbers of dimensions")
    widest = max(sources, key=lambda step: step.width)
    dimension = (widest.axis - 1) if widest.axis > 0 else widest.axis
    if any(step.axis != widest.axis and (step.width > 1 or step.shape[dimension] > 1) for step in sources):
        raise Refused("its inputs have their channels along different dimensions")
    width = call.shape[dimension]
    own = torch.arange(width)
    links = tuple(Link(step.name, own if step.width == width else torch.zeros_like(own), own) for step in sources)
    kind: Kind = "mix" if blocks else "each"
    return Step(call.node.name, width, links, kind, None, windows, widest.axis, call.shape, blocks)


def _whole(call: _Call, steps: Mapping[str, Step]) -> Step | None:
    """Channel by channel, where a position sees the whole input."""
    return _same(call, steps, None)


def _pool(call: _Call, steps: Mapping[str, Step]) -> Step | None:
    kernel, stride = call.argument(1, "kernel_size"), call.argument(2, "stride")
    padding, dilation = call.argument(3, "padding", 0), call.argument(4, "dilation", 1)
    _along_rows(call, steps)
    return _same(call, steps, _windows(kernel, stride, padding, dilation))


def _average_pool(call: _Call, steps: Mapping[str, Step]) -> Step | None:
    kernel, stride = call.argument(1, "kernel_size"), call.argument(2, "stride")
    _along_rows(call, steps)
    return _same(call, steps, _windows(kernel, stride, call.argument(3, "padding", 0)))


def _power_pool(call: _Call, steps: Mapping[str, Step]) -> Step | None:
    _along_rows(call, steps)
    return _same(call, steps, _windows(call.argument(2, "kernel_size"), call.argument(3, "stride")))


def _adaptive_pool(call: _Call, steps: Mapping[str, Step]) -> Step | None:
    _along_rows(call, steps)
    return _same(call, steps, None)


def _along_rows(call: _Call, steps: Mapping[str, Step]) -> None:
    """The last two dimensions are rows and columns."""
    if len(_second(call, steps).shape) != 3:
        raise Refused("its input has no rows and columns")


def _batch_norm(call: _Call, steps: Mapping[str, Step]) -> Step | None:
    if call.argument(5, "training", False) or call.argument(1, "running_mean") is None:
        raise Refused("it normalises by the batch")
    _second(call, steps)
    return _same(call, steps)


def _instance_norm(call: _Call, steps: Mapping[str, Step]) -> Step | None:
    _second(call, steps)
    return _same(call, steps, None if call.argument(5, "use_input_stats", True) else _ONE)


def _second(call: _Call, steps: Mapping[str, Step]) -> Step:
    """The only input, whose channels must be the second dimension."""
    step = _only(call, steps)
    if step.axis != 1:
        raise Refused("its channels are not in the place of channels")
    return step


def _only(call: _Call, steps: Mapping[str, Step]) -> Step:
    """The step of an operation's only input."""
    if len(call.inputs) != 1:
        raise Refused("it has several inputs")
    return _step(call.inputs[0], steps)


def _step(node: fx.Node, steps: Mapping[str, Step]) -> Step:
    if node.name not in steps:
        raise Refused(f"the channels of '{node.name}' are not each image's along one dimension")
    return steps[node.name]


def _dropout(call: _Call, steps: Mapping[str, Step]) -> Step | None:
    if call.node.op != "call_module" and call.argument(2, "training", True):
        raise Refused("it drops at random, also after eval()")
    return _same(call, steps)


def _stochastic_depth(call: _Call, steps: Mapping[str, Step]) -> Step | None:
    if call.argument(3, "training", True):
        raise Refused("it drops at random, also after eval()")
    return _same(call, steps)


def _over(call: _Call, steps: Mapping[str, Step], axes: set[int]) -> Step | None:
    """A norm over some dimensions (of one image and its batch)."""
    step = _only(call, steps)
    if 0 in axes:
        raise Refused("it mixes images")
    axis = step.axis % (len(step.shape) + 1)
    return _same(call, steps, _ONE if axes == {axis} else None, int(axis in axes))


def _layer_norm(call: _Call, steps: Mapping[str, Step]) -> Step | None:
    over, rank = call.argument(1, "normalized_shape"), len(call.shape) + 1
    return _over(call, steps, set(range(rank - (1 if isinstance(over, int) else len(over)), rank)))


def _softmax(call: _Call, steps: Mapping[str, Step]) -> Step | None:
    axis = call.argument(1, "dim")
    if not isinstance(axis, int):
        raise Refused("it doesn't say over what")
    return _over(call, steps, {axis % (len(call.shape) + 1)})


def _normalize(call: _Call, steps: Mapping[str, Step]) -> Step | None:
    return _over(call, steps, {call.argument(2, "dim", 1) % (len(call.shape) + 1)})


def _group_norm(call: _Call, steps: Mapping[str, Step]) -> Step | None:
    _second(call, steps)
    return _same(call, steps, None, call.argument(1, "num_groups"))


def _neighbours(call: _Call, steps: Mapping[str, Step]) -> Step | None:
    """Each channel depends on those within half a size of it."""
    step, size = _second(call, steps), call.argument(1, "size")
    own = torch.arange(step.width)
    near = own[:, None] + torch.arange(-(size // 2), (size - 1) // 2 + 1)
    target, source = own[:, None].expand_as(near), near
    inside = (near >= 0) & (near < step.width)
    link = Link(step.name, source[inside], target[inside])
    return Step(call.node.name, step.width, (link,), "mix", None, _ONE, 1, call.shape, step.width)


def _reduced(call: _Call, steps: Mapping[str, Step], position: int = 1) -> Step | None:
    """A mean, sum or extreme over rows and columns, or over channels into one, as an argument says."""
    step = _only(call, steps)
    rank = len(step.shape) + 1
    axes = call.argument(position, "dim", call.argument(position, "axis"))
    over = {each % rank for each in (axes if isinstance(axes, (list, tuple)) else (axes,)) if isinstance(each, int)}
    if not over or 0 in over:
        raise Refused("it mixes images")
    axis, own = step.axis % rank, torch.arange(step.width)
    kept = len(call.shape) + 1 == rank
    if axis in over:
        if not kept:
            raise Refused("it leaves no channels")
        link = Link(step.name, own, torch.zeros_like(own))
        windows = _ONE if over == {axis} else None
        return Step(call.node.name, 1, (link,), "mix", None, windows, step.axis, call.shape, 1)
    place = axis if kept else axis - sum(each < axis for each in over)
    place = place if place == 1 else place - len(call.shape) - 1
    return Step(call.node.name, step.width, (Link(step.name, own, own),), "each", None, None, place, call.shape)


def _vector_norm(call: _Call, steps: Mapping[str, Step]) -> Step | None:
    return _reduced(call, steps, 2)


def _moves(_: _Call, __: Mapping[str, Step]) -> None:
    """Numbers move and nothing else happens."""


def _cat(_: _Call, __: Mapping[str, Step]) -> None:
    """Steps are joined."""


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
    "contiguous", "clone", "detach", "float", "double", "half", "to", "type_as",
)  # fmt: skip
# What leaves numbers as they are, also where channels lie along several dimensions for now.
_UNCHANGED = ("contiguous", "clone", "detach")
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

# By type of module, by function, or by name for methods and for functions that several modules export.
RULES: Mapping[Any, Rule] = {
    **dict.fromkeys((*_SAME_MODULES, *_SAME), _same),
    **dict.fromkeys((*_MOVE_MODULES, *_MOVES), _moves),
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
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
    **dict.fromkeys(("mean", "sum", "amax", "amin", "std", "var"), _reduced),
    **dict.fromkeys((nn.PReLU, "prelu"), lambda call, steps: _second(call, steps) and _same(call, steps)),
    "linalg_vector_norm": _vector_norm,
    "expand_as": _whole,
    "normalize": _normalize,
    "stochastic_depth": _stochastic_depth,
    operator.getitem: _moves,
}
