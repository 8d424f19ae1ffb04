"""Extract a circuit from its network as a module of its own.

Only channels that reach the target are computed. Channels that do not depend on the image are not zero, but what biases
and borders make of them: they stay channels of their layer, or become stored constants where a whole step has no other.
"""

from __future__ import annotations

import copy
import operator
from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn

from circuitlang.base.diagnostics import CircuitError, Finding
from circuitlang.engine.circuits.extraction.emission import IMAGES, ModuleBuilder, grows, resized
from circuitlang.engine.circuits.extraction.folding import fold_norm, narrowed
from circuitlang.engine.circuits.extraction.liveness import channels_with_image, needed_channels
from circuitlang.engine.circuits.extraction.slicing import sliced
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_nodes import ChannelEdge, ChannelNode
from circuitlang.engine.graph.image_mixing import BATCH
from circuitlang.engine.programs.interpreted import Interpreted
from circuitlang.plugins.protocols import Edits

# Modules that change nothing in evaluation mode.
_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)
# Functions whose tensors [channels] lie along the channels, not along the last dimension.
_BY_CHANNEL = ("batch_norm", "instance_norm", "prelu")
_JOINED = ("cat", "concat", "concatenate", "stack")


def extract(subnetwork: TargetSubnetwork, edits: Edits) -> fx.GraphModule:
    """Return the circuit that edits make of a network, as a module of torch's layers and functions alone.

    It takes images [N, C, H, W] of the size the network was read for, and gives the target's maps [N, maps, H, W]
    (1 x 1 for a linear layer or a fixed position; for the position `max`, whole maps). Raises CircuitError naming an
    operation that can't be narrowed.
    """
    with torch.no_grad():
        return ModuleExtractor(subnetwork, {path: subnetwork.keeping(path, edit) for path, edit in edits.items()}).cut()


class ModuleExtractor:
    """Goes through a network once and builds the module."""

    def __init__(self, subnetwork: TargetSubnetwork, edits: Edits) -> None:
        self._graph, self._target = subnetwork.graph, subnetwork.target
        self._steps = self._graph.ancestors(self._target.step.name)
        self._origin = {node.name: node for node in self._graph.module.graph.nodes}
        self._weights = {path: weight * _taps(edits[path].gain, weight) for path, weight in subnetwork.weights.items()}
        self._offsets = {path: edits[path].offset for path in self._weights}
        self._kept = {
            path: (_taps(edits[path].gain, weight) != 0).flatten(2).any(-1).cpu()
            for path, weight in subnetwork.weights.items()
        }
        self._fed = channels_with_image(subnetwork, self._kept)
        self._wanted = needed_channels(subnetwork, self._kept, self._fed)
        weight = next(iter(self._weights.values()))
        shape = self._graph.steps[self._graph.image].shape
        with subnetwork.edited(edits):
            image = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0)).to(weight)
            self._values = subnetwork.values(image, {step.name for step in self._steps if self._constants(step)})
        self._out = ModuleBuilder(weight.new_empty(IMAGES, *shape, device="meta"))
        self._made: dict[Any, str] = {}
        self._nodes: dict[str, fx.Node] = {}
        self._nodes[self._graph.image] = self._out.image
        self._readers = Counter(edge.node for step in self._steps for edge in step.edges)

    def cut(self) -> fx.GraphModule:
        for step in self._steps:
            if step.name != self._graph.image and self._alive(step):
                self._nodes[step.name] = self._step(step)
        self._out.graph.output(self._feature())
        for node in self._out.graph.nodes:
            node.meta.clear()
        return Interpreted(self._out.modules, self._out.graph, "Circuit").eval()

    def _alive(self, step: ChannelNode) -> bool:
        """Return whether a step is needed and not the same for all images."""
        return bool(self._fed[step.name][self._wanted[step.name]].any())

    def _constants(self, step: ChannelNode) -> bool:
        """Return whether some needed channels of a step are the same for all images, and not a layer's own outputs."""
        if not self._alive(step):
            return len(self._wanted[step.name]) > 0
        if step.kind not in ("cat", "copy"):
            return False
        linked = torch.zeros(step.width, dtype=torch.bool)
        for edge in step.edges:
            linked[edge.target] = True
        return not bool(linked[self._wanted[step.name]].all())

    def _step(self, step: ChannelNode) -> fx.Node:
        if step.layer:
            return self._layer(step)
        match step.kind:
            case "cat" | "copy":
                return self._copied(step)
            case "flat":
                return self._flat(step)
        return self._folded(step) or self._applied(step)

    def _layer(self, step: ChannelNode) -> fx.Node:
        """Slice a layer to its needed outputs over the inputs that they have kernels from, in groups of equal size.

        Smaller groups are filled up with outputs that nobody reads, and with zero kernels over inputs that are there
        anyway.
        """
        layer, rows = step.layer, self._wanted[step.name]
        assert layer is not None
        group = rows // (layer.out_channels // layer.groups)
        groups = torch.unique(group)
        within = torch.searchsorted(groups, group)
        kept = torch.zeros(len(groups), layer.in_channels_per_group, dtype=torch.bool)
        kept.index_put_((within,), self._kept[layer.path][rows], accumulate=True)
        height, width = int(within.bincount().max()), int(kept.sum(1).max())
        place = torch.arange(len(rows)) - torch.searchsorted(within, within)
        number, column = kept.nonzero(as_tuple=True)
        slot = torch.arange(len(column)) - torch.searchsorted(number, number)
        inputs = (groups[number] * layer.in_channels_per_group + column)[0].repeat(len(groups) * width)
        inputs[number * width + slot] = groups[number] * layer.in_channels_per_group + column
        inner = torch.zeros(len(groups), width, dtype=torch.int64)
        inner[number, slot] = column
        there = torch.zeros(len(groups), width, dtype=torch.bool)
        there[number, slot] = True
        key = (layer.path, tuple(rows.tolist()), tuple(inputs.tolist()))
        if key not in self._made:
            source = self._weights[layer.path]
            weight = source.new_zeros(len(groups) * height, width, *layer.size)
            bias = self._bias(layer.path)
            taken = source[rows[:, None], inner[within]] * there[within][..., None, None].to(source)
            weight[within * height + place] = taken
            full = None if bias is None else bias.new_zeros(len(weight))
            if full is not None and bias is not None:
                full[within * height + place] = bias[rows]
            self._made[key] = self._out.add(
                layer.path, sliced(self._graph.module.get_submodule(layer.path), weight, full, len(groups))
            )
        node = self._out.graph.call_module(self._made[key], (self._channels(step.edges[0].node, inputs),))
        node.meta["example"] = resized(
            self._weights[layer.path].new_empty(IMAGES, *step.shape, device="meta"), step.axis, len(groups) * height
        )
        return self._out.select(node, step.axis, within * height + place, len(groups) * height)

    def _bias(self, path: str) -> Tensor | None:
        original, offset = self._graph.module.get_submodule(path).bias, self._offsets[path]
        own = original.detach() if isinstance(original, Tensor) else None
        if offset is None or not offset.any():
            return own
        offset = offset.to(self._weights[path])
        return offset if own is None else own + offset

    def _folded(self, step: ChannelNode) -> fx.Node | None:
        """Fold a batch norm into the layer right before it, where nothing else reads that layer."""
        origin = self._origin[step.name]
        norm = self._graph.module.get_submodule(str(origin.target)) if origin.op == "call_module" else None
        if not isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)) or norm.running_var is None:
            return None
        node = self._nodes[step.edges[0].node]
        if node.op != "call_module" or self._read(node) > 1:
            return None
        path = str(node.target)
        layer = self._out.modules[path]
        if not isinstance(layer, (nn.Conv2d, nn.Linear)) or len(self._out.calls(path)) > 1:
            return None
        if not torch.equal(self._wanted[step.name], self._wanted[step.edges[0].node]):
            return None
        fold_norm(layer, self._narrowed(norm, step))
        # A layer is folded into once; another step with the same rows must get one of its own.
        self._made = {key: made for key, made in self._made.items() if made != path}
        return node

    def _read(self, node: fx.Node) -> int:
        """Count the steps that read a node's output, also under the names of steps that only pass it on."""
        names = {name for name, own in self._nodes.items() if own is node}
        passed = sum(edge.node in names for step in self._steps if step.name in names for edge in step.edges)
        return sum(self._readers[name] for name in names) - passed

    def _applied(self, step: ChannelNode) -> fx.Node:
        """Apply an operation to its needed channels; where it insists on their number, zeros stand for the others."""
        origin, wanted = self._origin[step.name], self._wanted[step.name]
        whole = torch.arange(step.width)
        module = self._graph.module.get_submodule(str(origin.target)) if origin.op == "call_module" else None
        if isinstance(module, _NOTHING) and step.kind == "each":
            return self._channels(step.edges[0].node, wanted)
        reason = ""
        for channels in (wanted, whole):
            operands = {edge.node: self._operand(step, edge, channels, wanted) for edge in step.edges}
            try:
                node = self._call(step, origin, operands, channels)
            except (RuntimeError, TypeError, ValueError, IndexError) as error:
                reason = str(error).strip().split("\n")[0]
                continue
            shape = list(step.shape)
            shape[_axis(step) - 1] = len(channels)
            if tuple(node.meta["example"].shape) == (IMAGES, *shape):
                return node if channels is wanted else self._out.select(node, step.axis, wanted, step.width)
            reason = f"it gives {tuple(node.meta['example'].shape)}"
        word = getattr(origin.target, "__name__", origin.target)
        raise CircuitError(
            Finding("E351", f"the circuit can't be cut out at {word} (step '{step.name}')", None, reason)
        )

    def _operand(self, step: ChannelNode, edge: ChannelEdge, channels: Tensor, wanted: Tensor) -> fx.Node:
        """Return the operand of a step for some of its channels; zeros where these aren't needed."""
        source = self._graph.steps[edge.node]
        if step.kind == "mix":
            return self._out.spread(self._channels(edge.node, torch.arange(source.width)))
        if source.width == 1 < step.width:
            return self._channels(edge.node, torch.tensor([0]))
        feeding = torch.zeros(step.width, dtype=torch.int64)
        feeding[edge.target] = edge.source
        node = self._channels(edge.node, feeding[wanted])
        if len(channels) == len(wanted):
            return node
        place = torch.full((step.width,), len(wanted))
        place[wanted] = torch.arange(len(wanted))
        rank = node.meta["example"].dim()
        pad = [0, 0] * (rank - 1 - source.axis % rank) + [0, 1]
        padded = self._out.emit("call_function", nn.functional.pad, node, pad)
        return self._out.select(padded, source.axis, place, len(wanted) + 1)

    def _call(self, step: ChannelNode, origin: fx.Node, operands: dict[str, fx.Node], channels: Tensor) -> fx.Node:
        """An operation of the network, and those between it and its operands."""
        word = str(getattr(origin.target, "__name__", origin.target))
        # Joined operands must be there for every image; for other operations one for all is enough.
        joined = word in _JOINED

        def emitted(node: fx.Node) -> Any:
            if "value" in node.meta:
                return self._fixed(node, step, channels, word)
            if node.name not in operands:
                operands[node.name] = self._call(step, node, operands, channels)
            return self._out.spread(operands[node.name]) if joined else operands[node.name]

        if word in ("expand", "broadcast_to", "expand_as") and step.kind != "mix":
            name = step.edges[0].node
            pairs = zip(self._graph.steps[name].shape, step.shape, strict=True)
            return self._out.emit("call_method", "expand", operands[name], -1, *(-1 if a == b else b for a, b in pairs))
        if origin.op == "call_module":
            module = self._narrowed(self._graph.module.get_submodule(str(origin.target)), step, channels)
            path = self._out.add(str(origin.target), module)
            args, kwargs = fx.map_arg(origin.args, emitted), fx.map_arg(origin.kwargs, emitted)
            return self._out.emit("call_module", path, *args, **kwargs)
        args, kwargs = fx.map_arg(origin.args, emitted), fx.map_arg(origin.kwargs, emitted)
        return self._out.emit(origin.op, origin.target, *args, **kwargs)

    def _fixed(self, node: fx.Node, step: ChannelNode, channels: Tensor, word: str) -> Any:
        """Return a value that is the same for all images as an operand, for as many images as there are."""
        value: Any = node.meta["value"]
        larger: Any = self._graph.larger[node.name] if grows(node) else value
        if not isinstance(value, Tensor):
            return self._sized(value, larger)
        name = str(node.target) if node.op == "get_attr" else node.name
        if value.shape == larger.shape:
            return self._out.store(name, _along(value, step, channels, word))
        (axis,) = [axis for axis, pair in enumerate(zip(value.shape, larger.shape, strict=True)) if pair[0] != pair[1]]
        alone = larger.shape[axis] - value.shape[axis]
        stored = self._out.store(name, _along(value.narrow(axis, 0, alone), step, channels, word))
        if step.kind != "mix" and word not in _JOINED:
            return stored
        count = self._out.count
        times = [count if dim == axis else 1 for dim in range(value.dim())]
        return self._out.emit("call_method", "repeat", stored, *times)

    def _sized(self, value: Any, larger: Any) -> Any:
        """A number, or several, some of which may be in proportion to the number of images."""
        if isinstance(value, (list, tuple)):
            return tuple(self._sized(one, other) for one, other in zip(value, larger, strict=True))
        if not isinstance(value, int) or value == larger:
            return value
        per_image = larger - value
        count = self._out.count
        size = count if per_image == 1 else self._out.emit("call_function", operator.mul, count, per_image)
        rest = value - per_image * BATCH
        return size if rest == 0 else self._out.emit("call_function", operator.add, size, rest)

    def _narrowed(self, module: nn.Module, step: ChannelNode, channels: Tensor | None = None) -> nn.Module:
        """Return a module whose parameters along the channels of a step are cut to some of them."""
        channels = self._wanted[step.name] if channels is None else channels
        if step.kind == "mix":
            return copy.deepcopy(module).requires_grad_(False)
        return narrowed(module, step.width, channels)

    def _copied(self, step: ChannelNode) -> fx.Node:
        """Channels of other steps side by side, and constants that no step feeds."""
        wanted = self._wanted[step.name]
        copies: list[tuple[Tensor, fx.Node]] = []
        missing = torch.zeros(step.width, dtype=torch.bool)
        missing[wanted] = True
        for edge in step.edges:
            chosen = missing[edge.target]
            if chosen.any():
                missing[edge.target] = False
                target, order = edge.target[chosen].sort()
                node = self._channels(edge.node, edge.source[chosen][order])
                copies.append((target, self._placed(node, self._graph.steps[edge.node], step, len(target))))
        if missing.any():
            rest = missing.nonzero()[:, 0]
            copies.append((rest, self._constant(step, rest)))
        copies.sort(key=lambda part: int(part[0][0]))
        if len(copies) == 1:
            return copies[0][1]
        joined = self._out.emit("call_function", torch.cat, [self._out.spread(node) for _, node in copies], _axis(step))
        order = torch.cat([target for target, _ in copies]).argsort()
        return self._out.select(joined, step.axis, order, len(order))

    def _placed(self, node: fx.Node, source: ChannelNode, step: ChannelNode, count: int) -> fx.Node:
        """Channels of one step as another has them: along its dimension, their positions in its shape."""
        if source.positions == step.positions and _axis(source) == _axis(step):
            return node
        node = self._out.move_axis(node, _axis(source), 1, len(source.shape) + 1)
        if source.positions != step.positions:
            node = self._out.emit("call_function", torch.reshape, node, (-1, count, *step.positions))
        return self._out.move_axis(node, 1, _axis(step), len(step.shape) + 1)

    def _flat(self, step: ChannelNode) -> fx.Node:
        """Single positions of channels as channels."""
        (edge,), wanted = step.edges, self._wanted[step.name]
        source = self._graph.steps[edge.node]
        count = step.width // len(torch.unique(edge.source))
        feeding = torch.zeros(step.width, dtype=torch.int64)
        feeding[edge.target] = edge.source
        channels, row = torch.unique(feeding[wanted], return_inverse=True)
        node = self._out.move_axis(self._channels(edge.node, channels), _axis(source), 1, len(source.shape) + 1)
        node = self._out.emit("call_function", torch.flatten, node, 1)
        node = self._out.select(node, 1, row * count + wanted % count, len(channels) * count)
        if len(step.shape) == 1:
            return node
        shape = list(step.shape)
        shape[_axis(step) - 1] = len(wanted)
        return self._out.emit("call_function", torch.reshape, node, (-1, *shape))

    def _feature(self) -> fx.Node:
        """The target's maps, as the network's are given."""
        target, step = self._target, self._target.step
        node = self._out.spread(self._channels(step.name, torch.tensor(target.units)))
        node = self._out.move_axis(node, _axis(step), 1, len(step.shape) + 1)
        if len(step.positions) < 2:
            shape = (-1, len(target.units), *step.positions, *[1] * (2 - len(step.positions)))
            node = self._out.emit("call_function", torch.reshape, node, shape)
        if target.coefficients:
            weights = torch.tensor([*target.coefficients])[:, None, None].to(next(iter(self._weights.values())))
            node = self._out.emit("call_function", operator.mul, node, self._out.store("coefficients", weights))
            node = self._out.emit("call_function", torch.sum, node, [1], True)
            if target.bias:
                node = self._out.emit("call_function", operator.add, node, target.bias)
            if target.rectified:
                node = self._out.emit("call_function", torch.relu, node)
        if isinstance(target.at, tuple):
            row, column = target.at
            places = (slice(None), slice(None), slice(row, row + 1), slice(column, column + 1))
            node = self._out.emit("call_function", operator.getitem, node, places)
        return node

    def _channels(self, name: str, channels: Tensor) -> fx.Node:
        """Some channels of a step, in this order; stored for one image where they are the same for all."""
        step = self._graph.steps[name]
        if name not in self._nodes:
            return self._constant(step, channels)
        have = self._wanted[name]
        return self._out.select(self._nodes[name], step.axis, torch.searchsorted(have, channels), len(have))

    def _constant(self, step: ChannelNode, channels: Tensor) -> fx.Node:
        axis = _axis(step)
        value = self._values[step.name].index_select(axis, channels.to(self._values[step.name].device))
        node = self._out.store(step.name, value)
        node.meta["constant"] = True
        return node


def _axis(step: ChannelNode) -> int:
    """The dimension of a step's channels in a batch, from the front."""
    return step.axis % (len(step.shape) + 1)


def _taps(gain: Tensor, weight: Tensor) -> Tensor:
    """A gain of kernels or of single weights, to multiply weights [out, in / groups, h, w] by."""
    gain = gain.to(weight)
    return gain if gain.dim() == 4 else gain[..., None, None]


def _along(value: Tensor, step: ChannelNode, channels: Tensor, word: str) -> Tensor:
    """A stored tensor that goes into an operation, cut to some channels where it has one entry for each."""
    rank = len(step.shape) + 1
    if word in _BY_CHANNEL and value.dim() == 1:
        return value[channels] if len(value) == step.width else value
    axis = _axis(step) - rank + value.dim()
    if step.kind == "mix" or axis < 0 or value.shape[axis] != step.width or step.width == 1:
        return value
    return value.index_select(axis, channels.to(value.device))
