"""Traced operations → steps: of each operation, which channels feed which.

There are rules for operations that treat each channel by itself and for those that mix channels (`rules`). Operations
that only move numbers need no rule: they are carried out on numbers that say where they come from (`moves`). The result
of any other operation is taken to depend on all channels that go into it; it becomes a step where a layer, or a step
whose channels are known, says along which dimension its channels lie. Whether it mixes images is tried.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn

from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_nodes import ChannelEdge, ChannelNode, Layer
from circuitlang.engine.graph.channel_rules import (
    ONE,
    PLACED,
    RULES,
    STACKED,
    TUPLES,
    UNCHANGED,
    Call,
    Mixed,
    Unsupported,
    arguments,
    joined,
    moves,
    padding,
    same,
    windows_of,
)
from circuitlang.engine.graph.index_tracing import axis_of, kind_of

# Images that a network is run with when it is read: two, to see that one does not look at another.
BATCH = 2
# The first number that says where a value comes from; what is below was made on the way, by padding or of a constant.
_FIRST = 1 << 40

Moved: TypeAlias = "Tensor | tuple[Moved, ...] | list[Moved]"


def follow(module: fx.GraphModule) -> Graph:
    """The channels of a traced network, whose nodes know their shapes (`meta["shape"]`, of a batch) and what
    does not depend on the images (`meta["value"]`)."""
    return _Reader(module).read()


class _Reader:
    """Goes through a traced graph once."""

    def __init__(self, module: fx.GraphModule) -> None:
        self._module = module
        self._steps: dict[str, ChannelNode] = {}
        self._moved: dict[str, Moved] = {}
        # By what is no step, the steps that it is made of.
        self._bases: dict[str, tuple[str, ...]] = {}
        self._tuples: dict[str, Call] = {}
        self._origins: list[tuple[int, ChannelNode]] = []
        self._layers = dict(_layers(module))
        for node in module.graph.nodes:
            if node.op == "call_module" and str(node.target) in self._layers:
                node.meta["layer"] = self._layers[str(node.target)].name

    def read(self) -> Graph:
        image = ""
        for node in self._module.graph.nodes:
            if node.op == "placeholder" and not image:
                image, shape = node.name, tuple(node.meta["shape"][1:])
                self._keep(node, ChannelNode(node.name, shape[0], (), "image", shape=shape))
            elif "value" in node.meta:
                node.meta["followed"] = True
            elif node.op not in ("placeholder", "output"):
                try:
                    self._keep(node, self._step(node))
                except Unsupported as refusal:
                    node.meta["refused"] = str(refusal)
        self._name_the_rest()
        return Graph(self._module, self._steps, image)

    def _keep(self, node: fx.Node, step: ChannelNode | None) -> None:
        if step is not None:
            self._steps[node.name] = step
        if step is not None or node.name in self._bases:
            node.meta["followed"] = True

    def _name_the_rest(self) -> None:
        """Make steps of what a target may name: what modules give, and the output."""
        *_, output = self._module.graph.nodes
        for node in self._module.graph.nodes:
            if node.name in self._bases and (node.op == "call_module" or output in node.users):
                rank = len(node.meta.get("shape", ()))
                try:
                    self._demand(node, -1 if rank == 3 else 1)
                except Mixed:
                    continue
                except Unsupported as refusal:
                    del node.meta["followed"]
                    node.meta["refused"] = str(refusal)

    def _step(self, node: fx.Node) -> ChannelNode | None:
        """The step of a node; None where it has none, as yet."""
        if "written" in node.meta:
            raise Unsupported(f"it reads what {node.meta['written']} wrote into")
        inputs = [each for each in node.all_input_nodes if "value" not in each.meta]
        if any("followed" not in each.meta for each in inputs):
            return None
        try:
            return self._exact(node, inputs)
        except Mixed:
            if "refused" in node.meta and "computed" not in node.meta:
                raise Unsupported(node.meta["refused"]) from None
            self._own_weights(node)
            self._bases[node.name] = self._bases_of(inputs)
            return None

    def _own_weights(self, node: fx.Node) -> None:
        """See that an operation with weights of its own shares none with a layer, whose kernels may be removed."""
        for used in node.all_input_nodes:
            if used.op == "get_attr":
                layer = self._layers.get(str(used.target).rpartition(".")[0])
                if layer is not None:
                    raise Unsupported(f"it shares its weights with {layer.path}")

    def _bases_of(self, inputs: list[fx.Node]) -> tuple[str, ...]:
        """The steps that some nodes are, or are made of."""
        each = ((node.name,) if node.name in self._steps else self._bases[node.name] for node in inputs)
        return tuple(dict.fromkeys(name for names in each for name in names))

    def _exact(self, node: fx.Node, inputs: list[fx.Node]) -> ChannelNode | None:
        """The step of a node by the rule of its operation. Raises Mixed where all that is known is what goes in."""
        if node.op == "call_module":
            module = self._module.get_submodule(str(node.target))
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                return self._layer(node, module)
            rule: Any = next((RULES[kind] for kind in type(module).__mro__ if kind in RULES), None)
            call = Call(node, inputs, (*node.args[:1], *arguments(module)), {})
        else:
            rule = RULES.get(node.target) or RULES.get(_word(node))
            call = Call(node, inputs, node.args, node.kwargs)
        if rule is not joined and _word(node) in TUPLES and "shape" not in node.meta:
            # Values and places: a step each, as they are taken out.
            self._tuples[node.name] = call
            raise Mixed
        if _word(node) in ("getitem", "getattr") and inputs[0].name in self._tuples:
            return self._taken(node, self._tuples[inputs[0].name])
        if rule is moves or (_word(node) in UNCHANGED and inputs[0].name in self._moved):
            return self._rearranged(node, call)
        if rule is None:
            raise Mixed
        self._agree(inputs, rule)
        step: ChannelNode | None = self._concatenated(node) if rule is joined else rule(call, self._steps)
        return step

    def _taken(self, node: fx.Node, call: Call) -> ChannelNode:
        """One of the results of an operation."""
        rule: Any = RULES[_word(call.node)]
        self._agree(call.inputs, rule)
        call.shape = tuple(node.meta["shape"][1:])
        step: ChannelNode = rule(call, self._steps)
        return replace(step, name=node.name)

    def _agree(self, inputs: list[fx.Node], rule: Any) -> None:
        """Have inputs whose channels may lie along any dimension lie along that of the others, or that of the rule."""
        known = [self._steps[each.name] for each in inputs if each.name in self._steps]
        for each in inputs:
            if each.name not in self._steps:
                shape = each.meta.get("shape", ())
                axes = [step.axis for step in known if len(step.shape) + 1 == len(shape)]
                if not axes and rule not in PLACED:
                    raise Mixed
                self._demand(each, axes[0] if axes else 1)

    def _demand(self, node: fx.Node, axis: int) -> ChannelNode:
        """The step of a node, its channels along a dimension; those of what has none so far lie along any."""
        shape = tuple(node.meta.get("shape", ()))
        if node.name not in self._steps:
            if len(shape) < 2 or shape[0] != BATCH or not -len(shape) < axis < len(shape):
                raise Mixed
            self._try(node)
            found = []
            for name in self._bases[node.name]:
                own = torch.arange(self._steps[name].width)
                found.append(ChannelEdge(name, own, torch.zeros_like(own)))
            axis = axis if axis == 1 else axis % len(shape) - len(shape)
            self._steps[node.name] = ChannelNode(
                node.name, shape[axis], tuple(found), "mix", None, None, 1 if len(shape) == 2 else axis, shape[1:], 1
            )
        step = self._steps[node.name]
        if step.axis % len(shape) != axis % len(shape):
            raise Mixed
        return step

    def _try(self, node: fx.Node) -> None:
        """See by random numbers that no image has a say in another's result, nor chance in any."""
        like = next((each for each in self._module.parameters() if each.is_floating_point()), torch.zeros(()))
        if like.is_meta:
            return
        generator = torch.Generator().manual_seed(0)
        order, bases = list(self._between(node)), [self._steps[name] for name in self._bases[node.name]]
        one = {step.name: torch.rand(BATCH, *step.shape, generator=generator).to(like) for step in bases}
        other = {name: 10 * torch.rand(each.shape, generator=generator).to(each) for name, each in one.items()}
        found = _run(self._module, order, one)
        for image in range(BATCH):
            mixed = {name: each.clone() for name, each in one.items()}
            for name, values in mixed.items():
                values[image] = other[name][image]
            again, rest = _run(self._module, order, mixed), 1 - image
            for each in order:
                first, second = found[each.name], again[each.name]
                alone = _alike(first[rest], second[rest]) if each is node else _in_its_share(first, second)
                if not alone:
                    raise Unsupported(f"{_word(each)} (step '{each.name}') mixes images, or is random")

    def _between(self, node: fx.Node) -> Iterator[fx.Node]:
        """The nodes from which one is computed, from its bases on, in order."""
        bases, wanted = self._bases[node.name], {node}
        for each in reversed(list(self._module.graph.nodes)):
            if each in wanted:
                used = [used for used in each.all_input_nodes if used.name not in bases]
                wanted.update(each for each in used if "value" not in each.meta)
        yield from (each for each in self._module.graph.nodes if each in wanted)

    def _layer(self, node: fx.Node, module: nn.Conv2d | nn.Linear) -> ChannelNode | None:
        (given,) = node.all_input_nodes
        layer, shape = self._layers[str(node.target)], tuple(node.meta["shape"][1:])
        convolution = isinstance(module, nn.Conv2d)
        source = self._steps.get(given.name)
        if source is None:
            source = self._demand(given, 1 if convolution or len(shape) == 1 else -1)
        if len(source.shape) != len(shape):
            raise Mixed
        own = torch.arange(source.width)
        link = ChannelEdge(source.name, own, own)
        if not convolution:
            if source.axis % (len(shape) + 1) != len(shape):
                # Its inputs are positions of each channel, which it mixes; its weights are no kernels.
                return same(Call(node, [given], node.args, {}), self._steps, None)
            return ChannelNode(
                node.name, layer.out_channels, (link,), "layer", layer, ONE, 1 if len(shape) == 1 else -1, shape
            )
        if source.axis != 1 or len(shape) != 3:
            raise Mixed
        assert isinstance(module, nn.Conv2d)
        windows = windows_of(module.kernel_size, module.stride, padding(module), module.dilation)
        return ChannelNode(node.name, layer.out_channels, (link,), "layer", layer, windows, 1, shape)

    def _rearranged(self, node: fx.Node, call: Call) -> ChannelNode | None:
        """The step of an operation that only moves numbers. Of steps side by side it is one step of as many channels,
        where they are no channels of one dimension; what moves them on knows where each of them came from."""
        stacked = self._stacked(node, call)
        try:
            return self._move(node) or stacked
        except Mixed:
            if stacked is None:
                raise
            return stacked

    def _stacked(self, node: fx.Node, call: Call) -> ChannelNode | None:
        """Steps side by side along a new dimension, each channel by itself; None where it is something else."""
        parts = call.argument(0, "tensors")
        if _word(node) not in STACKED or not isinstance(parts, (list, tuple)):
            return None
        steps = [self._steps.get(each.name) for each in parts if isinstance(each, fx.Node)]
        first = steps[0] if steps else None
        if first is None or any(step is None or step.axis != first.axis or step.width != first.width for step in steps):
            return None
        rank, shape = len(first.shape) + 1, tuple(node.meta["shape"][1:])
        new = call.argument(1, "dim", 0) % (rank + 1)
        if new == 0:
            return None
        axis = first.axis % rank
        axis += axis >= new
        own = torch.arange(first.width)
        links = tuple(ChannelEdge(step.name, own, own) for step in steps if step)
        return ChannelNode(
            node.name, first.width, links, "each", None, None, 1 if axis == 1 else axis - rank - 1, shape
        )

    def _concatenated(self, node: fx.Node) -> ChannelNode | None:
        """Steps joined along their channels, or channel by channel along rows or columns."""
        parts = node.args[0] if node.args else node.kwargs["tensors"]
        axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
        if not isinstance(parts, (list, tuple)) or not isinstance(axis, int):
            raise Mixed
        shape = tuple(node.meta["shape"][1:])
        rank = len(shape) + 1
        steps = [self._steps.get(each.name) for each in parts if isinstance(each, fx.Node) and "value" not in each.meta]
        if None in steps or len({step.axis for step in steps if step}) > 1 or axis % rank == 0:
            return self._move(node)
        found = next(step for step in steps if step)
        if found.axis % rank != axis % rank:
            own = torch.arange(found.width)
            along = tuple(ChannelEdge(step.name, own, own) for step in steps if step)
            return ChannelNode(node.name, found.width, along, "each", windows=None, axis=found.axis, shape=shape)
        links, start = [], 0
        for part in parts:
            step = self._steps.get(part.name) if isinstance(part, fx.Node) else None
            width = step.width if step else part.meta["value"].shape[axis]
            if step:
                own = torch.arange(width)
                links.append(ChannelEdge(step.name, own, own + start))
            start += width
        return ChannelNode(node.name, start, tuple(links), "cat", axis=found.axis, shape=shape)

    def _move(self, node: fx.Node) -> ChannelNode | None:
        """Carry an operation out on numbers that say where they come from, and see what became of the channels."""
        inputs = [each for each in node.all_input_nodes if "value" not in each.meta]
        if any(each.name not in self._steps and each.name not in self._moved for each in inputs):
            raise Mixed

        def value(used: fx.Node) -> Any:
            if "value" in used.meta:
                return used.meta["value"]
            return self._moved[used.name] if used.name in self._moved else self._numbered(self._steps[used.name])

        arguments, words = fx.map_arg(node.args, value), fx.map_arg(node.kwargs, value)
        try:
            moved = _call(self._module, node, arguments, words)
        except (RuntimeError, NotImplementedError, TypeError, IndexError):
            raise Mixed from None
        self._moved[node.name] = moved
        self._bases[node.name] = self._bases_of(inputs)
        step = self._seen(node, moved) if isinstance(moved, Tensor) else None
        if step is not None:
            del self._moved[node.name], self._bases[node.name]
        return step

    def _numbered(self, step: ChannelNode) -> Tensor:
        """A number for each value of a step's output for a batch."""
        size = math.prod(step.shape) * BATCH
        start = self._origins[-1][0] if self._origins else _FIRST
        last = self._origins[-1][1] if self._origins else None
        start += math.prod(last.shape) * BATCH if last else 0
        self._origins.append((start, step))
        return torch.arange(start, start + size, dtype=torch.float64, device="cpu").reshape(BATCH, *step.shape)

    def _seen(self, node: fx.Node, numbers: Tensor) -> ChannelNode | None:
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
        axis = axis_of(numbers, channel)
        if axis is None:
            return None
        channel, place = (each.movedim(axis, 0).reshape(shape[axis], -1) for each in (channel, place))
        feeding = channel.amax(1)
        links, first = [], 0
        for step in present:
            target = ((feeding >= first) & (feeding < first + step.width)).nonzero()[:, 0]
            links.append(ChannelEdge(step.name, feeding[target] - first, target))
            first += step.width
        positions = shape[:axis] + shape[axis + 1 :]
        kind, windows = kind_of(place, positions, links, present, [each.name for each in node.all_input_nodes])
        along = 1 if axis == 0 else axis - len(shape)
        return ChannelNode(node.name, len(feeding), tuple(links), kind, None, windows, along, shape)

    def _present(self, numbers: Tensor) -> Iterator[tuple[int, ChannelNode, Any]]:
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


def _word(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target))


def _call(module: fx.GraphModule, node: fx.Node, arguments: Any, words: Any) -> Any:
    """What a node's operation gives."""
    if node.op == "call_module":
        return module.get_submodule(str(node.target))(*arguments, **words)
    if node.op == "call_method":
        return getattr(arguments[0], str(node.target))(*arguments[1:], **words)
    return node.target(*arguments, **words)  # type: ignore[operator]


def _run(module: fx.GraphModule, order: list[fx.Node], known: dict[str, Tensor]) -> dict[str, Any]:
    """What some nodes give, carried out one after the other."""
    found: dict[str, Any] = dict(known)

    def value(used: fx.Node) -> Any:
        return used.meta["value"] if "value" in used.meta else found[used.name]

    with torch.no_grad():
        for node in order:
            arguments, words = fx.map_arg(node.args, value), fx.map_arg(node.kwargs, value)
            found[node.name] = _call(module, node, arguments, words)
    return found


def _in_its_share(one: Any, other: Any) -> bool:
    """Whether one of the images changed no more of what lies on the way to a result than its share of the numbers;
    where the images lie in it can't be told: attention puts queries, keys and values in front of them."""
    if not isinstance(one, Tensor) or one.dim() < 2 or len(one) != BATCH:
        return True
    return BATCH * int(_differs(one, other).sum()) <= one.numel()


def _differs(one: Tensor, other: Tensor) -> Tensor:
    """Where two results differ by more than rounding."""
    if not one.is_floating_point():
        return one != other
    scale = float(one.abs().nan_to_num(0, 0, 0).max()) if one.numel() else 0.0
    return ~torch.isclose(one, other, rtol=1e-3, atol=1e-4 * scale, equal_nan=True)


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two results are the same to rounding."""
    return not bool(_differs(one, other).any())


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
