"""Circuit → module: what a circuit needs of a network, cut out as a network of its own.

A circuit is a network with edits; most channels of it may never reach the target. Here only those are computed that
do. Channels without an image behind them are not zero, but what biases and borders make of them: they stay channels
of their layer, or become stored constants where a whole step has no other.
"""

from __future__ import annotations

import copy
import io
import itertools
import operator
from collections import Counter
from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any

import msgspec
import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.nn.utils import fusion
from torch.utils._pytree import tree_leaves, tree_map_only

from circuitlang.base.diagnostics import CircuitError, Finding
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_nodes import ChannelEdge, ChannelNode
from circuitlang.engine.graph.image_mixing import BATCH
from circuitlang.engine.programs.interpreted import Interpreted
from circuitlang.engine.programs.pt2_reader import PREPROCESS
from circuitlang.plugins.preprocess import Preprocess
from circuitlang.plugins.protocols import Batches, Edits, Masks

# On so many pictures a module is compared with the circuit in the network.
CHECKED = 16
# Another number of images than networks are read with, so that none is taken for granted.
_IMAGES = 3
# What changes nothing once a network is in evaluation mode.
_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)
# Functions whose tensors [channels] lie along the channels, not along the last dimension.
_BY_CHANNEL = ("batch_norm", "instance_norm", "prelu")
_JOINED = ("cat", "concat", "concatenate", "stack")
# What gives the shape that it is given, which takes torch long to find out.
_ALIKE = (nn.ReLU, torch.relu, nn.functional.relu)
# The most by which a module may differ from the network it was cut out of; rounding alone stays far below.
_TOLERANCE = 1e-4


def extract(section: TargetSubnetwork, edits: Edits) -> fx.GraphModule:
    """The circuit that some edits make of a network, as a module of torch's layers and functions alone.

    It takes images [N, C, H, W] of the size the network was read for, and gives the target's maps [N, maps, H, W]
    (1 x 1 for a linear layer or a fixed position; for the position `max`, whole maps). Raises CircuitError naming an
    operation that can't be narrowed.
    """
    with torch.no_grad():
        return ModuleExtractor(section, {path: section.keeping(path, edit) for path, edit in edits.items()}).cut()


def verify(section: TargetSubnetwork, edits: Edits, module: nn.Module, images: Batches) -> float:
    """The largest difference between a module and the edited network on some images, as a share of the largest value.

    Raises CircuitError where it is more than rounding can explain.
    """
    apart, largest = 0.0, 0.0
    with torch.no_grad(), section.edited(edits):
        for batch in images.batches("checking the module"):
            expected, found = section.maps(batch), module(batch)
            # In this order: whatever is compared to NaN stays NaN.
            apart = max(float((found - expected).abs().max()), apart)
            largest = max(float(expected.abs().max()), largest)
    difference = apart / largest if largest else apart
    if not difference <= _TOLERANCE:
        message = f"the circuit's module differs from the circuit in the network by {difference:.1e}"
        label = f"at most {_TOLERANCE:.0e} of the largest value is rounding"
        raise CircuitError(Finding("E350", message, None, label, "report the network and the spec as a bug"))
    return difference


def rows(section: TargetSubnetwork) -> dict[str, Tensor]:
    """Of each layer, the output channels that the target depends on: those in which a circuit is not the network."""
    every = {layer.path: torch.ones(layer.out_channels, layer.inner, dtype=torch.bool) for layer in section.layers}
    wanted = _needed(section, every, None)
    found = {}
    for layer in section.layers:
        edited = torch.zeros(layer.out_channels, dtype=torch.bool)
        for step in section.graph.uses(layer):
            edited[wanted.get(step.name, [])] = True
        found[layer.path] = edited.nonzero()[:, 0]
    return found


def pack(module: fx.GraphModule, shape: tuple[int, ...], preprocess: Preprocess | None = None) -> bytes:
    """A module as torch.export.save writes it, for any number of images of this shape (channels, height, width).

    With it, as an extra file that `archive` reads, goes how pictures become images. It is moved to the CPU, which every
    reader has.

    Raises CircuitError where torch.export can't write it.
    """
    module.cpu()
    example = next((each for each in module.parameters()), torch.zeros(()))
    images = torch.zeros(2, *shape, dtype=example.dtype)
    try:
        with torch.no_grad():
            program = torch.export.export(module.eval(), (images,), dynamic_shapes=({0: torch.export.Dim("images")},))
    except Exception as error:  # the exporter raises whatever an operation drives it to
        reason = str(error).strip().split("\n")[0]
        raise CircuitError(Finding("E351", "the circuit's module can't be exported", None, reason)) from None
    # The images it was traced with would be most of a small circuit's file.
    program.example_inputs = None
    for node in program.graph.nodes:
        # It names files of this machine.
        node.meta.pop("stack_trace", None)
    file = io.BytesIO()
    extra = {PREPROCESS: msgspec.json.encode(preprocess).decode()} if preprocess else {}
    torch.export.save(program, file, extra_files=extra)
    return file.getvalue()


@cache
def _blank(convolution: bool) -> nn.Conv2d | nn.Linear:
    """A layer to be filled in: torch draws new weights for each that it makes, which takes it long even on `meta`."""
    if convolution:
        return nn.Conv2d(1, 1, 1, bias=False, device="meta").eval()
    return nn.Linear(1, 1, bias=False, device="meta").eval()


def _reached(section: TargetSubnetwork, kept: Masks) -> dict[str, Tensor]:
    """Which channels of each step depend on the image."""
    graph = section.graph
    fed: dict[str, Tensor] = {}
    for step in graph.ancestors(section.target.step.name):
        if step.name == graph.image:
            fed[step.name] = torch.ones(step.width, dtype=torch.bool)
        elif step.layer:
            fed[step.name] = (step.layer.spread(fed[step.links[0].node]) & kept[step.layer.path]).any(1)
        else:
            reached = torch.zeros(step.width, dtype=torch.bool)
            for link in step.links:
                reached[link.target[fed[link.node][link.source]]] = True
            fed[step.name] = step.block_any(reached)
    return fed


def _needed(section: TargetSubnetwork, kept: Masks, fed: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """Which channels of each step the target depends on, in order; nothing is asked of what feeds a step that is the
    same for all images. Of a mixing step and of the image all channels are there."""
    graph, target = section.graph, section.target
    steps = graph.ancestors(target.step.name)
    wanted = {step.name: torch.zeros(step.width, dtype=torch.bool) for step in steps}
    wanted[target.step.name][list(target.units)] = True
    for step in reversed(steps):
        asked = wanted[step.name]
        if not (asked if fed is None else asked & fed[step.name]).any():
            continue
        if step.layer:
            kernels = kept[step.layer.path] & asked[:, None]
            wanted[step.links[0].node] |= kernels.reshape(step.layer.groups, -1, step.layer.inner).any(1).flatten()
        elif step.kind == "mix":
            asked[:] = True
            for link in step.links:
                wanted[link.node][:] = True
        else:
            for link in step.links:
                wanted[link.node][link.source[asked[link.target]]] = True
    wanted[graph.image][:] = True
    return {name: channels.nonzero()[:, 0] for name, channels in wanted.items()}


class ModuleExtractor:
    """Goes through a network once and builds the module, finding the shape of every operation's output as it goes."""

    def __init__(self, section: TargetSubnetwork, edits: Edits) -> None:
        self._graph, self._target = section.graph, section.target
        self._steps = self._graph.ancestors(self._target.step.name)
        self._origin = {node.name: node for node in self._graph.module.graph.nodes}
        self._weights = {path: weight * _taps(edits[path].gain, weight) for path, weight in section.weights.items()}
        self._offsets = {path: edits[path].offset for path in self._weights}
        self._kept = {
            path: (_taps(edits[path].gain, weight) != 0).flatten(2).any(-1).cpu()
            for path, weight in section.weights.items()
        }
        self._fed = _reached(section, self._kept)
        self._wanted = _needed(section, self._kept, self._fed)
        weight = next(iter(self._weights.values()))
        shape = self._graph.steps[self._graph.image].shape
        with section.edited(edits):
            image = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0)).to(weight)
            self._values = section.values(image, {step.name for step in self._steps if self._constants(step)})
        self._part = fx.Graph()
        self._modules: dict[str, nn.Module | Tensor] = {}
        self._made: dict[Any, str] = {}
        self._nodes: dict[str, fx.Node] = {}
        self._image = self._part.placeholder("image")
        self._image.meta["example"] = weight.new_empty(_IMAGES, *shape, device="meta")
        self._nodes[self._graph.image] = self._image
        self._readers = Counter(link.node for step in self._steps for link in step.links)

    def cut(self) -> fx.GraphModule:
        for step in self._steps:
            if step.name != self._graph.image and self._alive(step):
                self._nodes[step.name] = self._step(step)
        self._part.output(self._feature())
        for node in self._part.nodes:
            node.meta.clear()
        return Interpreted(self._modules, self._part, "Circuit").eval()

    def _alive(self, step: ChannelNode) -> bool:
        """Whether a step is needed and not the same for all images."""
        return bool(self._fed[step.name][self._wanted[step.name]].any())

    def _constants(self, step: ChannelNode) -> bool:
        """Whether some of a step's wanted channels are the same for all images, and not those of a layer's own rows."""
        if not self._alive(step):
            return len(self._wanted[step.name]) > 0
        if step.kind not in ("cat", "copy"):
            return False
        linked = torch.zeros(step.width, dtype=torch.bool)
        for link in step.links:
            linked[link.target] = True
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
        """A layer's wanted rows over the inputs that they have kernels from, in groups of equal size: those that have
        fewer are filled up with rows that nobody reads, and with kernels of zero over inputs that are there anyway."""
        layer, rows = step.layer, self._wanted[step.name]
        assert layer is not None
        group = rows // (layer.out_channels // layer.groups)
        groups = torch.unique(group)
        within = torch.searchsorted(groups, group)
        kept = torch.zeros(len(groups), layer.inner, dtype=torch.bool)
        kept.index_put_((within,), self._kept[layer.path][rows], accumulate=True)
        height, width = int(within.bincount().max()), int(kept.sum(1).max())
        place = torch.arange(len(rows)) - torch.searchsorted(within, within)
        number, column = kept.nonzero(as_tuple=True)
        slot = torch.arange(len(column)) - torch.searchsorted(number, number)
        inputs = (groups[number] * layer.inner + column)[0].repeat(len(groups) * width)
        inputs[number * width + slot] = groups[number] * layer.inner + column
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
            self._made[key] = self._add(layer.path, self._sliced(layer.path, weight, full, len(groups)))
        node = self._part.call_module(self._made[key], (self._channels(step.links[0].node, inputs),))
        node.meta["example"] = _resized(
            self._weights[layer.path].new_empty(_IMAGES, *step.shape, device="meta"), step.axis, len(groups) * height
        )
        return self._select(node, step.axis, within * height + place, len(groups) * height)

    def _bias(self, path: str) -> Tensor | None:
        original, offset = self._graph.module.get_submodule(path).bias, self._offsets[path]
        own = original.detach() if isinstance(original, Tensor) else None
        if offset is None or not offset.any():
            return own
        offset = offset.to(self._weights[path])
        return offset if own is None else own + offset

    def _sliced(self, path: str, weight: Tensor, bias: Tensor | None, groups: int) -> nn.Module:
        """A layer like the one at a path, of another weight [out, in / groups, h, w] and bias."""
        original = self._graph.module.get_submodule(path)
        module = copy.deepcopy(_blank(isinstance(original, nn.Conv2d)))
        if isinstance(module, nn.Conv2d) and isinstance(original, nn.Conv2d):
            module.in_channels, module.out_channels, module.groups = weight.shape[1] * groups, len(weight), groups
            for word in ("kernel_size", "stride", "padding", "dilation", "padding_mode"):
                setattr(module, word, getattr(original, word))
            module._reversed_padding_repeated_twice = original._reversed_padding_repeated_twice
        elif isinstance(module, nn.Linear):
            weight = weight.flatten(1)
            module.out_features, module.in_features = weight.shape
        module.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        module.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        return module.eval()

    def _folded(self, step: ChannelNode) -> fx.Node | None:
        """A batch norm as part of the layer right before it, where nothing else reads that."""
        origin = self._origin[step.name]
        norm = self._graph.module.get_submodule(str(origin.target)) if origin.op == "call_module" else None
        if not isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)) or norm.running_var is None:
            return None
        node = self._nodes[step.links[0].node]
        if node.op != "call_module" or self._read(node) > 1:
            return None
        path = str(node.target)
        layer = self._modules[path]
        if not isinstance(layer, (nn.Conv2d, nn.Linear)) or len(self._uses(path)) > 1:
            return None
        if not torch.equal(self._wanted[step.name], self._wanted[step.links[0].node]):
            return None
        norm = self._narrowed(norm, step).double()
        fuse: Any = fusion.fuse_conv_bn_weights if isinstance(layer, nn.Conv2d) else fusion.fuse_linear_bn_weights
        bias = None if layer.bias is None else layer.bias.double()
        statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        # In double precision: the scale is a root, and is rounded once.
        fused = fuse(layer.weight.double(), bias, *statistics)
        layer.weight, layer.bias = (nn.Parameter(each.to(layer.weight.dtype), requires_grad=False) for each in fused)
        # A layer is folded into once; another step with the same rows must get one of its own.
        self._made = {key: made for key, made in self._made.items() if made != path}
        return node

    def _read(self, node: fx.Node) -> int:
        """How many steps read what a node puts out, also under the names of steps that only pass it on."""
        names = {name for name, own in self._nodes.items() if own is node}
        passed = sum(link.node in names for step in self._steps if step.name in names for link in step.links)
        return sum(self._readers[name] for name in names) - passed

    def _uses(self, path: str) -> list[fx.Node]:
        return [node for node in self._part.nodes if node.op == "call_module" and node.target == path]

    def _applied(self, step: ChannelNode) -> fx.Node:
        """An operation on its wanted channels alone; where it insists on their number, zeros stand for the others."""
        origin, wanted = self._origin[step.name], self._wanted[step.name]
        whole = torch.arange(step.width)
        module = self._graph.module.get_submodule(str(origin.target)) if origin.op == "call_module" else None
        if isinstance(module, _NOTHING) and step.kind == "each":
            return self._channels(step.links[0].node, wanted)
        reason = ""
        for channels in (wanted, whole):
            operands = {link.node: self._operand(step, link, channels, wanted) for link in step.links}
            try:
                node = self._call(step, origin, operands, channels)
            except (RuntimeError, TypeError, ValueError, IndexError) as error:
                reason = str(error).strip().split("\n")[0]
                continue
            shape = list(step.shape)
            shape[_axis(step) - 1] = len(channels)
            if tuple(node.meta["example"].shape) == (_IMAGES, *shape):
                return node if channels is wanted else self._select(node, step.axis, wanted, step.width)
            reason = f"it gives {tuple(node.meta['example'].shape)}"
        word = getattr(origin.target, "__name__", origin.target)
        raise CircuitError(
            Finding("E351", f"the circuit can't be cut out at {word} (step '{step.name}')", None, reason)
        )

    def _operand(self, step: ChannelNode, link: ChannelEdge, channels: Tensor, wanted: Tensor) -> fx.Node:
        """What a step is given of another for some of its channels; zeros where these aren't wanted."""
        source = self._graph.steps[link.node]
        if step.kind == "mix":
            return self._spread(self._channels(link.node, torch.arange(source.width)))
        if source.width == 1 < step.width:
            return self._channels(link.node, torch.tensor([0]))
        feeding = torch.zeros(step.width, dtype=torch.int64)
        feeding[link.target] = link.source
        node = self._channels(link.node, feeding[wanted])
        if len(channels) == len(wanted):
            return node
        place = torch.full((step.width,), len(wanted))
        place[wanted] = torch.arange(len(wanted))
        rank = node.meta["example"].dim()
        pad = [0, 0] * (rank - 1 - source.axis % rank) + [0, 1]
        padded = self._emit("call_function", nn.functional.pad, node, pad)
        return self._select(padded, source.axis, place, len(wanted) + 1)

    def _call(self, step: ChannelNode, origin: fx.Node, operands: dict[str, fx.Node], channels: Tensor) -> fx.Node:
        """An operation of the network, and those between it and its operands."""
        word = str(getattr(origin.target, "__name__", origin.target))
        # What is joined must be there for every image; anything else does with one for all.
        joined = word in _JOINED

        def given(node: fx.Node) -> Any:
            if "value" in node.meta:
                return self._fixed(node, step, channels, word)
            if node.name not in operands:
                operands[node.name] = self._call(step, node, operands, channels)
            return self._spread(operands[node.name]) if joined else operands[node.name]

        if word in ("expand", "broadcast_to", "expand_as") and step.kind != "mix":
            name = step.links[0].node
            pairs = zip(self._graph.steps[name].shape, step.shape, strict=True)
            return self._emit("call_method", "expand", operands[name], -1, *(-1 if a == b else b for a, b in pairs))
        if origin.op == "call_module":
            module = self._narrowed(self._graph.module.get_submodule(str(origin.target)), step, channels)
            path = self._add(str(origin.target), module)
            args, kwargs = fx.map_arg(origin.args, given), fx.map_arg(origin.kwargs, given)
            return self._emit("call_module", path, *args, **kwargs)
        args, kwargs = fx.map_arg(origin.args, given), fx.map_arg(origin.kwargs, given)
        return self._emit(origin.op, origin.target, *args, **kwargs)

    def _fixed(self, node: fx.Node, step: ChannelNode, channels: Tensor, word: str) -> Any:
        """What is the same for all images, as an operation is given it; of as many images as there are."""
        value: Any = node.meta["value"]
        larger: Any = self._graph.larger[node.name] if _grows(node) else value
        if not isinstance(value, Tensor):
            return self._sized(value, larger)
        name = str(node.target) if node.op == "get_attr" else node.name
        if value.shape == larger.shape:
            return self._stored(name, _along(value, step, channels, word))
        (axis,) = [axis for axis, pair in enumerate(zip(value.shape, larger.shape, strict=True)) if pair[0] != pair[1]]
        alone = larger.shape[axis] - value.shape[axis]
        stored = self._stored(name, _along(value.narrow(axis, 0, alone), step, channels, word))
        if step.kind != "mix" and word not in _JOINED:
            return stored
        count = self._count
        times = [count if each == axis else 1 for each in range(value.dim())]
        return self._emit("call_method", "repeat", stored, *times)

    def _sized(self, value: Any, larger: Any) -> Any:
        """A number, or several, some of which may be in proportion to the number of images."""
        if isinstance(value, (list, tuple)):
            return tuple(self._sized(one, other) for one, other in zip(value, larger, strict=True))
        if not isinstance(value, int) or value == larger:
            return value
        each = larger - value
        count = self._count
        found = count if each == 1 else self._emit("call_function", operator.mul, count, each)
        rest = value - each * BATCH
        return found if rest == 0 else self._emit("call_function", operator.add, found, rest)

    def _narrowed(self, module: nn.Module, step: ChannelNode, channels: Tensor | None = None) -> nn.Module:
        """A module with those of its parameters that lie along the channels cut to some of them."""
        channels = self._wanted[step.name] if channels is None else channels
        twin = copy.deepcopy(module).requires_grad_(False)
        if step.kind == "mix":
            return twin
        for name, tensor in [*twin.named_parameters(recurse=False), *twin.named_buffers(recurse=False)]:
            if tensor.dim() == 1 and len(tensor) == step.width:
                cut = tensor.detach()[channels.to(tensor.device)].clone()
                setattr(twin, name, nn.Parameter(cut, requires_grad=False) if isinstance(tensor, nn.Parameter) else cut)
        if isinstance(twin, (nn.modules.batchnorm._NormBase)):
            twin.num_features = len(channels)
            # A count of training steps, which has no say here.
            twin.num_batches_tracked = None
        return twin

    def _copied(self, step: ChannelNode) -> fx.Node:
        """Channels of other steps side by side, and constants that no step feeds."""
        wanted = self._wanted[step.name]
        found: list[tuple[Tensor, fx.Node]] = []
        missing = torch.zeros(step.width, dtype=torch.bool)
        missing[wanted] = True
        for link in step.links:
            chosen = missing[link.target]
            if chosen.any():
                missing[link.target] = False
                target, order = link.target[chosen].sort()
                node = self._channels(link.node, link.source[chosen][order])
                found.append((target, self._placed(node, self._graph.steps[link.node], step, len(target))))
        if missing.any():
            rest = missing.nonzero()[:, 0]
            found.append((rest, self._constant(step, rest)))
        found.sort(key=lambda each: int(each[0][0]))
        if len(found) == 1:
            return found[0][1]
        joined = self._emit("call_function", torch.cat, [self._spread(node) for _, node in found], _axis(step))
        order = torch.cat([target for target, _ in found]).argsort()
        return self._select(joined, step.axis, order, len(order))

    def _placed(self, node: fx.Node, source: ChannelNode, step: ChannelNode, count: int) -> fx.Node:
        """Channels of one step as another has them: along its dimension, their positions in its shape."""
        if source.positions == step.positions and _axis(source) == _axis(step):
            return node
        node = self._moved(node, _axis(source), 1, len(source.shape) + 1)
        if source.positions != step.positions:
            node = self._emit("call_function", torch.reshape, node, (-1, count, *step.positions))
        return self._moved(node, 1, _axis(step), len(step.shape) + 1)

    def _moved(self, node: fx.Node, before: int, after: int, rank: int) -> fx.Node:
        """A dimension put in another place."""
        if before == after:
            return node
        axes = [axis for axis in range(rank) if axis != before]
        axes.insert(after, before)
        return self._emit("call_function", torch.permute, node, axes)

    def _flat(self, step: ChannelNode) -> fx.Node:
        """Single positions of channels as channels."""
        (link,), wanted = step.links, self._wanted[step.name]
        source = self._graph.steps[link.node]
        count = step.width // len(torch.unique(link.source))
        feeding = torch.zeros(step.width, dtype=torch.int64)
        feeding[link.target] = link.source
        channels, row = torch.unique(feeding[wanted], return_inverse=True)
        node = self._moved(self._channels(link.node, channels), _axis(source), 1, len(source.shape) + 1)
        node = self._emit("call_function", torch.flatten, node, 1)
        node = self._select(node, 1, row * count + wanted % count, len(channels) * count)
        if len(step.shape) == 1:
            return node
        shape = list(step.shape)
        shape[_axis(step) - 1] = len(wanted)
        return self._emit("call_function", torch.reshape, node, (-1, *shape))

    def _feature(self) -> fx.Node:
        """The target's maps, as the network's are given."""
        target, step = self._target, self._target.step
        node = self._spread(self._channels(step.name, torch.tensor(target.units)))
        node = self._moved(node, _axis(step), 1, len(step.shape) + 1)
        if len(step.positions) < 2:
            shape = (-1, len(target.units), *step.positions, *[1] * (2 - len(step.positions)))
            node = self._emit("call_function", torch.reshape, node, shape)
        if target.coefficients:
            weights = torch.tensor(target.coefficients)[:, None, None].to(next(iter(self._weights.values())))
            node = self._emit("call_function", operator.mul, node, self._stored("coefficients", weights))
            node = self._emit("call_function", torch.sum, node, [1], True)
        if isinstance(target.at, tuple):
            row, column = target.at
            places = (slice(None), slice(None), slice(row, row + 1), slice(column, column + 1))
            node = self._emit("call_function", operator.getitem, node, places)
        return node

    def _channels(self, name: str, channels: Tensor) -> fx.Node:
        """Some channels of a step, in this order; stored for one image where they are the same for all."""
        step = self._graph.steps[name]
        if name not in self._nodes:
            return self._constant(step, channels)
        have = self._wanted[name]
        return self._select(self._nodes[name], step.axis, torch.searchsorted(have, channels), len(have))

    def _select(self, node: fx.Node, axis: int, index: Tensor, width: int) -> fx.Node:
        """Some of `width` channels, in this order."""
        axis = axis % node.meta["example"].dim()
        # In order and without gaps: neither one channel twice nor a permutation is.
        if len(index) and bool((index.diff() == 1).all()):
            if len(index) == width:
                return node
            first, last = int(index[0]), int(index[-1]) + 1
            places = (*[slice(None)] * axis, slice(first, last))
            return self._emit("call_function", operator.getitem, node, places)
        taken = self._part.call_function(torch.index_select, (node, axis, self._stored("channels", index)))
        taken.meta["example"] = _resized(node.meta["example"], axis, len(index))
        return taken

    def _constant(self, step: ChannelNode, channels: Tensor) -> fx.Node:
        axis = _axis(step)
        value = self._values[step.name].index_select(axis, channels.to(self._values[step.name].device))
        node = self._stored(step.name, value)
        node.meta["constant"] = True
        return node

    def _spread(self, node: fx.Node) -> fx.Node:
        """A stored constant for every image; anything else as it is."""
        if not node.meta.get("constant"):
            return node
        count = self._count
        return self._emit("call_method", "expand", node, count, *[-1] * (node.meta["example"].dim() - 1))

    @cached_property
    def _count(self) -> fx.Node:
        """The number of images."""
        return self._emit("call_method", "size", self._image, 0)

    def _stored(self, name: str, value: Tensor) -> fx.Node:
        value = value.detach().clone()
        # As a parameter where it can be one: what a module is made of is counted by these.
        stored = nn.Parameter(value, requires_grad=False) if value.is_floating_point() else value
        path = self._add(name, stored)
        node = self._part.get_attr(path)
        node.meta["example"] = value
        return node

    def _add(self, path: str, content: nn.Module | Tensor) -> str:
        """Keep a module or tensor at a path, or near it where that is taken."""
        words, free = path.split("."), path
        number = 1
        while free in self._modules:
            number += 1
            free = ".".join([*words[:-1], f"{words[-1]}_{number}"])
        self._modules[free] = content
        return free

    def _emit(self, op: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """An operation of the module."""
        given = fx.map_arg((args, kwargs), lambda node: node.meta["example"])
        if given[0] and (type(self._modules[target]) if op == "call_module" else target) in _ALIKE:
            node = self._part.create_node(op, target, args, kwargs)
            node.meta["example"] = given[0][0]
            return node
        try:
            # Without numbers nobody would see that an index is out of range.
            found = None if _indexed(target, given) else self._shape(op, target, _moved_to(given, "meta"))
        except NotImplementedError:
            # Whoever wrote the operation didn't say what shape it gives.
            found = None
        found = self._shape(op, target, _moved_to(given, "cpu")) if found is None else found
        node = self._part.create_node(op, target, args, kwargs)
        node.meta["example"] = _moved_to(found, "meta")
        return node

    def _shape(self, op: str, target: Any, given: Any) -> Any:
        """What an operation gives: on the device `meta`, a shape without numbers."""
        args, words = given
        match op:
            case "call_module":
                module = self._modules[target]
                assert isinstance(module, nn.Module)
                device = next(each for each in args if isinstance(each, Tensor)).device
                tensors = itertools.chain(module.named_parameters(), module.named_buffers())
                return functional_call(module, {name: each.to(device) for name, each in tensors}, args, words)
            case "call_method":
                return getattr(args[0], target)(*args[1:], **words)
            case _:
                return target(*args, **words)


def _grows(node: fx.Node) -> bool:
    """Whether what is the same for all images may be larger or more where they are more."""
    waiting, seen = [node], set()
    while waiting:
        each = waiting.pop()
        if each.op == "placeholder" or "value" not in each.meta:
            return True
        waiting += [used for used in each.all_input_nodes if used not in seen]
        seen.update(each.all_input_nodes)
    return False


def _moved_to(given: Any, device: str) -> Any:
    """Tensors on a device; those without numbers become zeros where they come from `meta`."""

    def there(tensor: Tensor) -> Tensor:
        return torch.zeros_like(tensor, device=device) if tensor.is_meta else tensor.to(device)

    return tree_map_only(Tensor, there, given)


def _indexed(target: Any, given: Any) -> bool:
    """Whether anything is taken by its place."""
    numbers = [each for each in tree_leaves(given) if isinstance(each, Tensor) and not each.is_floating_point()]
    return target is operator.getitem or bool(numbers)


def _resized(example: Tensor, axis: int, width: int) -> Tensor:
    """As many channels as that of what has no numbers."""
    shape = list(example.shape)
    shape[axis] = width
    return example.new_empty(shape)


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
