"""Run a network for its circuits: as it is, edited, or watched.

It never touches the user's model. A `Section` is a network of its own over the same weights, up to one feature, in
which every layer is a `_KernelLayer` that can be edited and observed; both are undone when the `with` block ends.
Maps lie channels last in memory, which is faster on a CPU for whatever a network does with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property, partial
from hashlib import blake2b
from itertools import count
from operator import attrgetter
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from circuitlang.engine.cache.tensor_cache import ScoreCache
from circuitlang.engine.circuits.norm_gradients import STEADY, light
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_nodes import ChannelNode, Layer
from circuitlang.engine.graph.reachability import constant_kernels, on_path, path_bottleneck_rank, would_be_connected
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.programs.interpreted import Interpreted
from circuitlang.plugins.protocols import Edit, Edits, LayerActivations, LayerSignals, Masks, Scores

T = TypeVar("T")
# Sees a layer in the backward pass of the cotangent of a number.
Observer = Callable[[int, Layer, LayerSignals], None]
Cotangent = Callable[[Tensor], Tensor]
# Sees a layer's input [N, I, H, W], padded, and its output [N, O, H', W'].
Watcher = Callable[[Layer, Tensor, Tensor], None]


def _sum(maps: Tensor, coefficients: Sequence[float]) -> Tensor:
    return (maps * maps.new_tensor(coefficients)[:, None, None]).sum(1, keepdim=True)


class _KernelLayer(nn.Module):
    """A convolution or linear layer whose kernels can be edited and whose traffic can be observed.

    With `rows` it computes these alone of its output channels, all of one group, from that group's input channels.
    """

    def __init__(self, layer: Layer, original: nn.Conv2d | nn.Linear, weight: Tensor, rows: Tensor | None) -> None:
        super().__init__()
        self.layer, self.rows = layer, rows
        self.groups = layer.groups
        bias = weight.new_zeros(len(weight)) if original.bias is None else original.bias.detach()
        self.channels = slice(None)
        if rows is not None:
            group = int(rows[0]) // (layer.out_channels // layer.groups)
            self.channels = slice(group * layer.inner, (group + 1) * layer.inner)
            weight, bias, self.groups = weight[rows].contiguous(memory_format=torch.channels_last), bias[rows], 1
        self.weight, self.bias = weight, bias
        self.edited_weight, self.edited_bias = self.weight, self.bias
        self.observer: Callable[[Layer, LayerSignals], None] | None = None
        self.watcher: Watcher | None = None
        self.stride, self.dilation, self.mode, self.padding = (1, 1), (1, 1), "constant", (0, 0, 0, 0)
        if isinstance(original, nn.Conv2d):
            self.stride = (original.stride[0], original.stride[1])
            self.dilation = (original.dilation[0], original.dilation[1])
            self.mode = "constant" if original.padding_mode == "zeros" else original.padding_mode
            left, right, top, bottom = original._reversed_padding_repeated_twice
            self.padding = (left, right, top, bottom)
        # Zeros, as many on either side, are left to the convolution: nothing is copied.
        plain = self.mode == "constant" and self.padding[::2] == self.padding[1::2]
        self.zeros = self.padding[2::-2] if plain else (0, 0)

    def edit(self, edit: Edit | None) -> None:
        """Do this to the layer, in place of what was done before; None restores it."""
        self.edited_weight, self.edited_bias = self.weight, self.bias
        if edit is not None:
            gain = self.own(edit.gain).to(self.weight)
            self.edited_weight = self.weight * (gain if gain.dim() == 4 else gain[..., None, None])
            if edit.offset is not None:
                self.edited_bias = self.bias + self.own(edit.offset).to(self.bias)

    def own(self, values: Tensor) -> Tensor:
        """Of values for each output channel, those of the channels that are computed."""
        return values if self.rows is None else values[self.rows.to(values.device)]

    def padded(self, x: Tensor) -> Tensor:
        """The input as the kernels see it, [N, I, H, W]."""
        x = self.maps(x)[:, self.channels]
        return functional.pad(x, self.padding, self.mode) if any(self.padding) else x

    def forward(self, x: Tensor) -> Tensor:
        seen = self.maps(x)[:, self.channels] if any(self.zeros) else self.padded(x)
        seen = seen.contiguous(memory_format=torch.channels_last)
        weight, bias = self.edited_weight, self.edited_bias
        y = functional.conv2d(seen, weight, bias, self.stride, self.zeros, self.dilation, self.groups)
        if self.watcher is not None:
            self.watcher(self.layer, self.padded(x), y)
        if self.observer is not None:
            y = self._observed(x.detach(), y)
        if self.layer.kind != "linear":
            return y
        return y.reshape(*y.shape[:2], *x.shape[1:-1]).movedim(1, -1)

    def maps(self, values: Tensor) -> Tensor:
        """The layer's input or output as maps [N, channels, H, W]: a linear layer is a convolution of 1 x 1, its
        channels come last, and its positions are rows and columns."""
        if self.layer.kind != "linear":
            return values
        values = values.movedim(-1, 1)
        places = values.shape[2:]
        return values.reshape(*values.shape[:2], *(places if len(places) == 2 else (math.prod(places), 1)))

    def patches(self, x: Tensor, places: Tensor, width: int) -> Tensor:
        """What the kernels see of an image in some places of the output, [places, groups, inner, taps]; `places` are
        its positions, counted row by row of so many columns."""
        x = self.padded(x)
        height, across = self.layer.size
        down, right = (
            torch.arange(size, device=x.device) * step
            for size, step in zip((height, across), self.dilation, strict=True)
        )
        first = places // width * self.stride[0] * x.shape[3] + places % width * self.stride[1]
        taps = (down[:, None] * x.shape[3] + right).flatten()
        # Channels lie together in memory: each place of the input is one stretch of it.
        seen = x[0].permute(1, 2, 0).flatten(0, 1)[first[:, None] + taps]
        return seen.reshape(len(places), len(taps), self.groups, -1).permute(0, 2, 3, 1)

    def mean_outputs(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean over positions of each kernel's output, float64 [N, O, I / groups], from the padded input and the
        output: that of what each weight sees, times the weight."""
        out, inner, height, width = self.weight.shape
        rows, columns = ((size - 1) * step + 1 for size, step in zip(y.shape[2:], self.stride, strict=True))
        taps = []
        for i in range(height):
            for j in range(width):
                top, left = i * self.dilation[0], j * self.dilation[1]
                part = x[..., top : top + rows : self.stride[0], left : left + columns : self.stride[1]]
                taps.append(part.mean((-2, -1), dtype=torch.float64))
        means = torch.stack(taps, -1).reshape(len(x), self.groups, 1, inner, height * width)
        weight = self.weight.double().reshape(self.groups, out // self.groups, inner, height * width)
        return (means * weight).sum(-1).flatten(1, 2)

    def _observed(self, x: Tensor, y: Tensor) -> Tensor:
        if not y.requires_grad:
            y.requires_grad_()

        def seen(gradient: Tensor) -> None:
            if self.observer is not None:
                gradient = gradient.detach()
                observation = LayerSignals(
                    self.weight, self.padded(x), gradient, self.stride, self.dilation, self.groups
                )
                self.observer(self.layer, observation)

        y.register_hook(seen)  # type: ignore[no-untyped-call]
        return y


class TargetSubnetwork:
    """A network up to one feature. `relevant` kernels have a path from the image to the feature; `shelf` keeps from run
    to run what the network does."""

    def __init__(self, graph: Graph, target: Target, shelf: ScoreCache | None = None) -> None:
        self.graph = graph
        self.target = target
        self.relevant: Masks = on_path(graph, target.step.name, torch.tensor(target.units))
        # Kernels that no circuit is without; see `Graph.constant`.
        constant = constant_kernels(graph, target.step.name, torch.tensor(target.units))
        self.constant: Masks = {path: mask for path, mask in constant.items() if mask.any()}
        self.layers = tuple(layer for layer in graph.layers if layer.path in self.relevant)
        self._kernel_layers: dict[str, _KernelLayer] = {}
        for layer in self.layers:
            original = graph.module.get_submodule(layer.path)
            assert isinstance(original, (nn.Conv2d, nn.Linear))
            self._kernel_layers[layer.path] = _KernelLayer(layer, original, graph.kernels[layer.path], self.rows(layer))
        self._module = _cut(graph, target.step.name, self._kernel_layers)
        self._units = list(range(len(target.units))) if self._narrowed else list(target.units)
        self._edited = False
        self.shelf = shelf
        self._known: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What is the same for all circuits of the feature, made when it is first asked for; the key says all that it
        follows from beside the network and the target."""
        if key not in self._known:
            self._known[key] = make()
        found: T = self._known[key]
        return found

    def kept(self, what: str) -> Scores | None:
        """Tensors on the CPU that were found before, maybe by another run, for all circuits of the feature."""
        if what not in self._known and self.shelf and (found := self.shelf.beside(what).read()) is not None:
            self._known[what] = found
        tensors: Scores | None = self._known.get(what)
        return tensors

    def keep(self, what: str, tensors: Scores) -> None:
        """Make them be `kept`."""
        self._known[what] = tensors
        if self.shelf:
            self.shelf.keep(what, tensors)

    def has(self, what: str) -> bool:
        """Whether they are `kept`."""
        return what in self._known or (self.shelf is not None and self.shelf.beside(what).has(None))

    def forget(self) -> None:
        """Give back the memory that all of this takes."""
        self._known.clear()

    def rows(self, layer: Layer) -> Tensor | None:
        """The output channels of a layer that are computed, where it isn't all: of the target's layer the target's
        own, as far as one group has them all."""
        if layer != self.target.step.layer or len(self.graph.uses(layer)) > 1:
            return None
        units = torch.tensor(self.target.units)
        groups = units // (layer.out_channels // layer.groups)
        return units if bool((groups == groups[0]).all()) else None

    @cached_property
    def nodes(self) -> Mapping[str, str]:
        """By layer path, the last step of the section that uses it."""
        return {step.layer.path: step.name for step in self.graph.ancestors(self.target.step.name) if step.layer}

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(iter(self._kernel_layers.values())).weight.device

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The original weights [out, in / groups, h, w] of every layer of the section."""
        found = {}
        for layer in self.layers:
            module = self.graph.module.get_submodule(layer.path)
            assert isinstance(module.weight, Tensor)
            weight = module.weight.detach()
            found[layer.path] = weight.reshape(*weight.shape[:2], *layer.size)
        return found

    def feature(self, images: Tensor) -> Tensor:
        """The target's maps [N, maps, H, W] of images [N, C, H, W], as the network is edited; 1 x 1 for a linear layer
        and for a position. Differentiable with respect to gains that are."""
        return self._narrow(self._maps(images), images)

    def maps(self, images: Tensor) -> Tensor:
        """`feature`, but whole maps where the position is that of the largest response."""
        return self._placed(self._maps(images))

    def everywhere(self, images: Tensor) -> Tensor:
        """The target's maps [N, maps, H, W], whatever its position; of images of another size too."""
        return self._maps(images)

    def feature_with_known(self, images: Tensor, known: Mapping[str, Any], see: Callable[[str, Any], None]) -> Tensor:
        """`feature` where what some steps put out is known: they are not computed, and `see` is given what the others
        put out, by their names."""
        return self._narrow(self._read(_Rest(self._module, see).run(images, known)), images)

    @cached_property
    def inputs(self) -> Mapping[str, Sequence[str]]:
        """By the name of everything that is computed, in execution order, what it is computed from."""
        nodes = self._module.graph.nodes
        return {node.name: [used.name for used in node.all_input_nodes] for node in nodes}

    @cached_property
    def own(self) -> Collection[str]:
        """What is not computed alike for other targets: the feature, and the rows of a layer that are the target's."""
        *_, output = self.inputs
        return {output, self.target.step.name} if self._narrowed else {output}

    @property
    def _narrowed(self) -> bool:
        return self.target.step.layer is not None and self.rows(self.target.step.layer) is not None

    def values(self, images: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """What the steps of these names put out for some images, as the network is edited; 0 for rows that aren't
        computed."""
        with torch.no_grad():
            return self.differentiable_values(images, names)

    def differentiable_values(self, images: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """`values`, differentiable with respect to the images; what lies behind the last of the steps isn't run."""
        runner = _Recorder(self._module, names)
        runner.run(images)
        found, step = runner.found, self.target.step
        if step.name in found and step.layer is not None and (rows := self.rows(step.layer)) is not None:
            axis = step.axis % (len(step.shape) + 1)
            own = found[step.name]
            whole = own.new_zeros(*own.shape[:axis], step.width, *own.shape[axis + 1 :])
            found[step.name] = whole.index_copy(axis, rows.to(whole.device), own)
        return found

    @contextmanager
    def edited(self, edits: Edits | Masks | None) -> Iterator[None]:
        """Within the block every layer is edited; a mask keeps its kernels and puts zero for the others. Kernels that
        read constant channels stay."""
        self._edited = bool(edits)
        try:
            for path, layer in self._kernel_layers.items():
                edit = edits[path] if edits else None
                layer.edit(None if edit is None else self.keeping(path, edit))
            yield
        finally:
            self._edited = False
            for layer in self._kernel_layers.values():
                layer.edit(None)

    def keeping(self, path: str, edit: Edit | Tensor) -> Edit:
        """An edit or mask of a layer, but for the kernels that read constant channels, which stay as they are."""
        edit = Edit(edit) if isinstance(edit, Tensor) else edit
        if path not in self.constant:
            return edit
        constant = self.constant[path].to(edit.gain.device)
        constant = constant if edit.gain.dim() == 2 else constant[..., None, None]
        return replace(edit, gain=torch.where(constant, torch.ones_like(edit.gain), edit.gain))

    @cached_property
    def together(self) -> int:
        """How many images are best scored at a time: more than one as far as their maps take no more memory than the
        gradients of all weights would. Of few weights and large maps it is 1, which is as fast and spares the cache."""
        steps = self.graph.ancestors(self.target.step.name)
        maps = sum(math.prod(step.shape) for step in steps)
        weights = sum(layer.weight.numel() for layer in self._kernel_layers.values())
        return 1 + weights // max(maps, 1)

    def observe(self, images: Tensor, cotangents: Sequence[Cotangent], observer: Observer) -> None:
        """One forward pass, and for each cotangent a backward pass in which the observer sees every layer, last layer
        first."""
        observe([self], lambda: [self.feature(images)] * len(cotangents), cotangents, observer)

    @contextmanager
    def observed(self, observer: Callable[[Layer, LayerSignals], None]) -> Iterator[None]:
        """Within the block the observer sees every layer in a backward pass."""
        try:
            for layer in self._kernel_layers.values():
                layer.observer = observer
            yield
        finally:
            for layer in self._kernel_layers.values():
                layer.observer = None

    def watch(self, images: Tensor, watcher: Watcher) -> None:
        """One forward pass; the watcher sees what goes into and comes out of every layer (of the target's layer its
        rows alone)."""
        layers = self._kernel_layers.values()
        try:
            for layer in layers:
                layer.watcher = watcher
            with torch.no_grad():
                self._module.forward(images)
        finally:
            for layer in layers:
                layer.watcher = None

    def mean_outputs(self, batches: Iterable[Tensor]) -> dict[str, Tensor]:
        """By layer, the mean over images and positions of each kernel's output [out, in / groups], float64, as the
        network is edited; 0 for rows that aren't computed. One forward pass."""
        sums = {path: torch.zeros(layer.weight.shape[:2]).double() for path, layer in self._kernel_layers.items()}
        seen = dict.fromkeys(sums, 0)

        def watcher(layer: Layer, x: Tensor, y: Tensor) -> None:
            sums[layer.path] += self._kernel_layers[layer.path].mean_outputs(x, y).sum(0).cpu()
            seen[layer.path] += len(x)

        for batch in batches:
            self.watch(batch, watcher)
        found = {}
        for layer in self.layers:
            found[layer.path] = torch.zeros(layer.out_channels, layer.inner).double()
            rows = self.rows(layer)
            found[layer.path][slice(None) if rows is None else rows] = sums[layer.path] / max(seen[layer.path], 1)
        return found

    def live(self, masks: Masks) -> dict[str, Tensor]:
        """Those of some kernels [out, in / groups] that are on a path from the image to the target within them."""
        return on_path(self.graph, self.target.step.name, torch.tensor(self.target.units), masks)

    def would_be_connected(self, masks: Masks) -> dict[str, Tensor]:
        """The kernels that are, or would be if they were added alone, on a path within a mask."""
        return would_be_connected(self.graph, self.target.step.name, torch.tensor(self.target.units), masks)

    def around(self, places: Masks) -> dict[str, Tensor]:
        """Of each kernel, the last place of others that a path through it from the image to the target needs."""
        return path_bottleneck_rank(self.graph, self.target.step.name, torch.tensor(self.target.units), places)

    @torch.no_grad()
    def refit(
        self, batches: Sequence[Tensor], fit: Callable[[Layer, LayerActivations], Edit | None], places: int
    ) -> dict[str, Edit]:
        """Edit the layers one after the other, each by what its input has become in the network that is edited so
        far; `fit` sees about `places` places, as many of each image, and None leaves a layer as it is. The network
        itself is as it was afterwards."""
        edits: dict[str, Edit] = {}
        seen: set[str] = set()
        whole: dict[fx.Node, list[Tensor]] = {}
        circuit: dict[fx.Node, list[Tensor]] = {}
        last = _last_uses(self._module.graph)
        # Which places are seen of an image follows from what is in it, not from how images are batched.
        draws = [[seeded(image, 0) for image in batch] for batch in batches]
        with self.edited(None):
            for node in self._module.graph.nodes:
                if node.op == "output":
                    break
                layer = self._module.get_submodule(str(node.target)) if node.op == "call_module" else None
                whole[node] = _outputs(self._module, node, whole, batches)
                if isinstance(layer, _KernelLayer) and layer.layer.path not in seen:
                    path = layer.layer.path
                    passage = _passage(layer, circuit[node.all_input_nodes[0]], whole[node], places, draws)
                    seen.add(path)
                    if (edit := fit(layer.layer, self._without_constants(path, passage))) is not None:
                        edits[path] = self.keeping(path, edit)
                edited = edits.get(layer.layer.path) if isinstance(layer, _KernelLayer) else None
                if edited is None and all(circuit[used] is whole[used] for used in node.all_input_nodes):
                    # Nothing on the way here was edited.
                    circuit[node] = whole[node]
                else:
                    if isinstance(layer, _KernelLayer):
                        layer.edit(edited)
                    circuit[node] = _outputs(self._module, node, circuit, batches)
                    if isinstance(layer, _KernelLayer):
                        layer.edit(None)
                for done in last.get(node, ()):
                    del whole[done], circuit[done]
        return edits

    def _without_constants(self, path: str, passage: LayerActivations) -> LayerActivations:
        """What is wanted of a layer beside what its kernels that read constant channels put out."""
        if path not in self.constant:
            return passage
        constant = self.constant[path].to(passage.weight.device)[passage.rows]
        groups = passage.patches.shape[1]
        weight = (passage.weight * constant[..., None, None]).reshape(groups, len(constant) // groups, -1)
        own = torch.einsum("pgk,grk->pgr", passage.patches.flatten(2), weight).flatten(1)
        return replace(passage, wanted=passage.wanted - own)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Within the block the network is as it was, and nobody looks."""
        layers = list(self._kernel_layers.values())
        held = [(each.edited_weight, each.edited_bias, each.observer, each.watcher) for each in layers]
        try:
            for layer in layers:
                layer.edit(None)
                layer.observer = layer.watcher = None
            yield
        finally:
            for layer, state in zip(layers, held, strict=True):
                layer.edited_weight, layer.edited_bias, layer.observer, layer.watcher = state

    def _maps(self, images: Tensor) -> Tensor:
        return self._read(self._module.forward(images))

    def _read(self, output: Tensor) -> Tensor:
        """The target's maps, from what its step puts out."""
        maps = as_maps(output, self.target.step)[:, self._units]
        return _sum(maps, self.target.coefficients) if self.target.coefficients else maps

    def _placed(self, maps: Tensor) -> Tensor:
        at = self.target.at
        return maps[..., at[0], at[1], None, None] if isinstance(at, tuple) else maps

    def _narrow(self, maps: Tensor, images: Tensor) -> Tensor:
        """The feature, of whole maps of some images."""
        if self.target.at != "max":
            return self._placed(maps)
        whole = maps.detach()
        if self._edited:
            with torch.no_grad(), self._whole():
                whole = self._maps(images)
        peaks = whole.flatten(2).argmax(-1, keepdim=True)
        return maps.flatten(2).gather(2, peaks)[..., None]


def as_maps(values: Tensor, step: ChannelNode) -> Tensor:
    """What a step puts out as maps [N, C, H, W]: positions along one dimension are rows, and none are one."""
    maps = values.movedim(step.axis, 1)
    return maps.reshape(*maps.shape, *[1] * (4 - maps.dim()))


def observe(
    sections: Sequence[TargetSubnetwork],
    forward: Callable[[], Sequence[Tensor]],
    cotangents: Sequence[Cotangent],
    observer: Observer,
) -> None:
    """A forward pass through sections, and from each feature that it gives a backward pass, which begins with the
    feature's cotangent and in which the observer sees every layer, last layer first."""
    number = 0

    def seen(layer: Layer, kernels: LayerSignals) -> None:
        observer(number, layer, kernels)

    with ExitStack() as stack:
        for section in sections:
            stack.enter_context(section.observed(seen))
        with torch.enable_grad():
            features = forward()
        for number, (feature, cotangent) in enumerate(zip(features, cotangents, strict=True)):
            again = number < len(features) - 1
            feature.backward(cotangent(feature.detach()), retain_graph=again)  # type: ignore[no-untyped-call]


class _Rest(fx.Interpreter):
    """Runs what is not known of a network, and shows it."""

    def __init__(self, module: fx.GraphModule, see: Callable[[str, Any], None]) -> None:
        super().__init__(module)
        self._see = see

    def run(self, images: Tensor, known: Mapping[str, Any]) -> Any:  # type: ignore[override]
        nodes = {node: known[node.name] for node in self.graph.nodes if node.name in known}
        return super().run(images, initial_env=nodes)

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self._see(n.name, value)
        return value


class _Recorder(fx.Interpreter):
    """Runs a network as far as some names and keeps their results."""

    def __init__(self, module: fx.GraphModule, names: Collection[str]) -> None:
        super().__init__(module)
        self.found: dict[str, Tensor] = {}
        self._names = names

    def run_node(self, n: fx.Node) -> Any:
        if len(self.found) == len(self._names):
            return None
        value = super().run_node(n)
        if n.name in self._names:
            self.found[n.name] = value
        return value


def _outputs(
    module: fx.GraphModule, node: fx.Node, values: Mapping[fx.Node, list[Any]], batches: Sequence[Tensor]
) -> list[Any]:
    """What a node puts out for each batch."""
    if node.op == "placeholder":
        return list(batches)
    runner = fx.Interpreter(module)
    found = []
    for number in range(len(batches)):
        args, kwargs = fx.map_arg((node.args, node.kwargs), partial(_value, values, number))
        found.append(getattr(runner, node.op)(node.target, args, kwargs))
    return found


def _value(values: Mapping[fx.Node, list[Any]], batch: int, node: fx.Node) -> Any:
    return values[node][batch]


def _last_uses(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """By node, those whose values nobody needs after it."""
    last: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        last[node] = node
        for used in node.all_input_nodes:
            last[used] = node
    found: dict[fx.Node, list[fx.Node]] = {}
    for node, user in last.items():
        found.setdefault(user, []).append(node)
    return found


def seeded(image: Tensor, seed: int) -> torch.Generator:
    """Random numbers that follow from a seed and from what is in an image, not from its place."""
    content = blake2b(image.cpu().numpy().tobytes(), digest_size=7, key=seed.to_bytes(8, "little"))
    return torch.Generator().manual_seed(int.from_bytes(content.digest(), "little"))


def _passage(
    layer: _KernelLayer,
    inputs: list[Tensor],
    outputs: list[Tensor],
    places: int,
    draws: Sequence[Sequence[torch.Generator]],
) -> LayerActivations:
    """About `places` places of a layer, as many of each image, drawn at random by a generator for each."""
    patches, wanted = [], []
    each = max(1, places // sum(map(len, outputs)))
    for xs, ys, generators in zip(inputs, outputs, draws, strict=True):
        for x, y, generator in zip(torch.split(xs, 1), torch.split(ys, 1), generators, strict=True):
            maps = layer.maps(y)
            flat = maps.flatten(2)
            chosen = torch.randperm(flat.shape[-1], generator=generator)[:each].to(y.device)
            patches.append(layer.patches(x, chosen, maps.shape[3]))
            wanted.append(flat[..., chosen].permute(0, 2, 1).flatten(0, 1))
    rows = torch.arange(len(layer.weight)) if layer.rows is None else layer.rows
    return LayerActivations(
        layer.weight, layer.bias, rows.to(layer.weight.device), torch.cat(patches), torch.cat(wanted)
    )


def _cut(graph: Graph, last: str, layers: Mapping[str, _KernelLayer]) -> fx.GraphModule:
    """The part of a graph that its step `last` depends on, with kernel layers in place of the layers."""
    part = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    modules: dict[str, Any] = {}
    wanted = _upstream(next(node for node in graph.module.graph.nodes if node.name == last))
    for node in graph.module.graph.nodes:
        if node not in wanted and node.op != "placeholder":
            continue
        copies[node] = part.node_copy(node, lambda used: copies[used])
        # A view needs its channels first in memory. Nothing writes in place here, so a copy does as well.
        copies[node].target = _RESHAPES.get(node.target) or STEADY.get(node.target) or node.target
        if node.op == "call_module":
            path = str(node.target)
            modules[path] = layers.get(path) or light(graph.module.get_submodule(path))
            if path in layers and (node.name not in graph.steps or not graph.steps[node.name].layer):
                # What it makes of constants, or of positions, isn't the circuit's.
                copies[node].target = free = _free(path, modules)
                modules[free] = graph.module.get_submodule(path)
        if node.op == "get_attr":
            modules[str(node.target)] = attrgetter(str(node.target))(graph.module)
        if node.name == last:
            part.output(copies[node])
            break
    return Interpreted(modules, part)


def _free(path: str, modules: Mapping[str, Any]) -> str:
    """A name like a path that nothing has yet."""
    return next(name for number in count(1) if (name := f"{path.replace('.', '_')}_{number}") not in modules)


def reshaped(self: Tensor, size: Sequence[int]) -> Tensor:
    """Compute `aten.view`, whose arguments bear these names in a graph, of a tensor of any strides."""
    return self.reshape(size)


_RESHAPES: dict[Any, Any] = {
    "view": "reshape",
    "view_as": "reshape_as",
    torch.ops.aten.view.default: reshaped,
    torch.ops.aten._unsafe_view.default: reshaped,
}


def _upstream(node: fx.Node) -> set[fx.Node]:
    found, waiting = {node}, [node]
    while waiting:
        for each in waiting.pop().all_input_nodes:
            if each not in found:
                found.add(each)
                waiting.append(each)
    return found
