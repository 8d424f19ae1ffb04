"""The part of a network up to a target, which can be run as it is, edited, or observed.

The user's model is never touched: a subnetwork is a module of its own over the same weights, in which every layer is a
`MaskedLayer`. Edits and observers are undone when the `with` block ends. Maps lie channels last in memory, which is
faster on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from circuitlang.engine.cache.tensor_cache import ScoreCache
from circuitlang.engine.circuits.feature_memo import FeatureMemo
from circuitlang.engine.circuits.image_parts import in_parts
from circuitlang.engine.circuits.masked_layer import MaskedLayer, Watcher
from circuitlang.engine.circuits.partial_runs import Recorder, RestOfNetwork
from circuitlang.engine.circuits.subgraph import cut_subgraph
from circuitlang.engine.device import threads_aside
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_nodes import ChannelNode, Layer
from circuitlang.engine.graph.reachability import constant_kernels, on_path, path_bottleneck_rank, would_be_connected
from circuitlang.engine.graph.targets import Place, Target
from circuitlang.plugins.protocols import Edit, Edits, LayerSignals, Masks

# Maps with fewer numbers than this for each image are computed faster than they are shared out.
LARGE = 1_000_000

# Sees a layer in the backward pass of the cotangent of a number.
Observer = Callable[[int, Layer, LayerSignals], None]
Cotangent = Callable[[Tensor], Tensor]


class TargetSubnetwork:
    """A network up to one feature.

    `relevant` kernels have a path from the image to the feature; `score_cache` stores from run to run what the network
    does.
    """

    def __init__(self, graph: Graph, target: Target, score_cache: ScoreCache | None = None) -> None:
        self.graph = graph
        self.target = target
        self.relevant: Masks = on_path(graph, target.step.name, torch.tensor(target.units))
        # Kernels that no circuit is without; see `Graph.constant`.
        constant = constant_kernels(graph, target.step.name, torch.tensor(target.units))
        self.constant: Masks = {path: mask for path, mask in constant.items() if mask.any()}
        self.layers = tuple(layer for layer in graph.layers if layer.path in self.relevant)
        self._kernel_layers: dict[str, MaskedLayer] = {}
        for layer in self.layers:
            original = graph.module.get_submodule(layer.path)
            assert isinstance(original, (nn.Conv2d, nn.Linear))
            self._kernel_layers[layer.path] = MaskedLayer(layer, original, graph.kernels[layer.path], self.rows(layer))
        self.module = cut_subgraph(graph, target.step.name, self._kernel_layers)
        self._units = list(range(len(target.units))) if self._narrowed else list(target.units)
        self._edited = False
        self.score_cache = score_cache
        self.memo = FeatureMemo(score_cache)

    def rows(self, layer: Layer) -> Tensor | None:
        """Return the output channels of a layer that are computed, or None for all.

        Only the target's own channels of the target's layer are, as far as they are in one group.
        """
        if layer != self.target.step.layer or len(self.graph.uses(layer)) > 1:
            return None
        units = torch.tensor(self.target.units)
        groups = units // (layer.out_channels // layer.groups)
        return units if bool((groups == groups[0]).all()) else None

    @cached_property
    def nodes(self) -> Mapping[str, str]:
        """The last step of the subnetwork that uses a layer, by layer path."""
        return {step.layer.path: step.name for step in self.graph.ancestors(self.target.step.name) if step.layer}

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(iter(self._kernel_layers.values())).weight.device

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The original weights [out, in / groups, h, w] of every layer, by path."""
        weights = {}
        for layer in self.layers:
            module = self.graph.module.get_submodule(layer.path)
            assert isinstance(module.weight, Tensor)
            weight = module.weight.detach()
            weights[layer.path] = weight.reshape(*weight.shape[:2], *layer.size)
        return weights

    def feature(self, images: Tensor) -> Tensor:
        """The target's maps [N, maps, H, W] of images [N, C, H, W], as the network is edited; 1 x 1 for a linear layer
        and for a position. Differentiable with respect to gains that are."""
        return self._narrow(self._maps(images), images)

    def feature_in_parts(self, images: Tensor) -> Tensor:
        """`feature`, without observers; inside `one_thread` in parts, which as many threads compute as there are.

        The parts follow from the network alone, and so do all bits of the result.
        """
        threads = threads_aside()
        if not threads or self._maps_per_image < LARGE or self.device.type != "cpu":
            return self.feature(images)
        # Weights are read, and their gradients written, once for each part.
        size = 1 + 2 * self._weights // self._maps_per_image
        maps = in_parts(self._maps, images, size, list(self._kernel_layers.values()), threads)
        return self._narrow(maps, images)

    def maps(self, images: Tensor) -> Tensor:
        """`feature`, but whole maps where the position is that of the largest response."""
        return self._placed(self._maps(images))

    def full_maps(self, images: Tensor) -> Tensor:
        """The target's maps [N, maps, H, W], whatever its position; of images of another size too."""
        return self._maps(images)

    def feature_with_known(self, images: Tensor, known: Mapping[str, Any], see: Callable[[str, Any], None]) -> Tensor:
        """Return `feature` where the values of some steps are known: they are not computed, and `see` is called with
        the name and value of every other step."""
        return self._narrow(self._read(RestOfNetwork(self.module, see).run(images, known)), images)

    @cached_property
    def inputs(self) -> Mapping[str, Sequence[str]]:
        """The operands of everything that is computed, by name, in execution order."""
        nodes = self.module.graph.nodes
        return {node.name: [used.name for used in node.all_input_nodes] for node in nodes}

    @cached_property
    def target_specific_nodes(self) -> Collection[str]:
        """The steps that differ between targets: the feature, and a layer narrowed to the target's channels."""
        *_, output = self.inputs
        return {output, self.target.step.name} if self._narrowed else {output}

    @property
    def _narrowed(self) -> bool:
        return self.target.step.layer is not None and self.rows(self.target.step.layer) is not None

    def values(self, images: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """Return the values of named steps for some images, as the network is edited; 0 for channels that aren't
        computed."""
        with torch.no_grad():
            return self.differentiable_values(images, names)

    def differentiable_values(self, images: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """`values`, differentiable with respect to the images; what lies behind the last of the steps isn't run."""
        runner = Recorder(self.module, names)
        runner.run(images)
        values, step = runner.values, self.target.step
        if step.name in values and step.layer is not None and (rows := self.rows(step.layer)) is not None:
            axis = step.axis % (len(step.shape) + 1)
            own = values[step.name]
            whole = own.new_zeros(*own.shape[:axis], step.width, *own.shape[axis + 1 :])
            values[step.name] = whole.index_copy(axis, rows.to(whole.device), own)
        return values

    @contextmanager
    def edited(self, edits: Edits | Masks | None) -> Iterator[None]:
        """Edit every layer within the block; a mask keeps its kernels and zeroes the others.

        Kernels that read constant channels stay.
        """
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

    def substituted(self, images: Tensor, others: Tensor, masks: Masks) -> Tensor:
        """Return `feature` of images [N, C, H, W] in the circuit of a mask, where each kernel outside of it puts out
        what it does in the whole network for another image, of `others` [N, C, H, W]."""
        layers = self._kernel_layers.values()
        try:
            for layer in layers:
                layer.substituting = True
            with torch.no_grad(), self.edited(masks):
                return self.feature(torch.cat([images, others]))[: len(images)]
        finally:
            for layer in layers:
                layer.substituting = False

    def keeping(self, path: str, edit: Edit | Tensor) -> Edit:
        """Return an edit or mask of a layer with the gain 1 for kernels that read constant channels."""
        edit = Edit(edit) if isinstance(edit, Tensor) else edit
        if path not in self.constant:
            return edit
        constant = self.constant[path].to(edit.gain.device)
        constant = constant if edit.gain.dim() == 2 else constant[..., None, None]
        return replace(edit, gain=torch.where(constant, torch.ones_like(edit.gain), edit.gain))

    @cached_property
    def images_per_pass(self) -> int:
        """The number of images to score at a time.

        It is more than one as far as their maps take no more memory than the gradients of all weights would. With few
        weights and large maps it is 1, which is as fast and spares the CPU's cache.
        """
        return 1 + self._weights // max(self._maps_per_image, 1)

    @cached_property
    def _weights(self) -> int:
        """The number of all weights."""
        return sum(layer.weight.numel() for layer in self._kernel_layers.values())

    @cached_property
    def _maps_per_image(self) -> int:
        """The numbers in all maps of one image."""
        return sum(math.prod(step.shape) for step in self.graph.ancestors(self.target.step.name))

    def observe(self, images: Tensor, cotangents: Sequence[Cotangent], observer: Observer) -> None:
        """Run one forward pass, and for each cotangent a backward pass in which the observer sees every layer, last
        layer first."""
        observe([self], lambda: [self.feature(images)] * len(cotangents), cotangents, observer)

    @contextmanager
    def observed(self, observer: Callable[[Layer, LayerSignals], None]) -> Iterator[None]:
        """Show every layer to the observer in a backward pass within the block."""
        try:
            for layer in self._kernel_layers.values():
                layer.observer = observer
            yield
        finally:
            for layer in self._kernel_layers.values():
                layer.observer = None

    def watch(self, images: Tensor, watcher: Watcher) -> Tensor:
        """Return `feature`; the watcher sees the input and output of every layer (only the computed channels of the
        target's layer)."""
        layers = self._kernel_layers.values()
        try:
            for layer in layers:
                layer.watcher = watcher
            with torch.no_grad():
                maps = self._maps(images)
        finally:
            for layer in layers:
                layer.watcher = None
        with torch.no_grad():
            return self._narrow(maps, images)

    def mean_outputs(self, batches: Iterable[Tensor]) -> dict[str, Tensor]:
        """Average each kernel's output over images and positions, float64 [out, in / groups], by layer.

        The network runs once as it is edited; channels that aren't computed are 0.
        """
        sums = {path: torch.zeros(layer.weight.shape[:2]).double() for path, layer in self._kernel_layers.items()}
        seen = dict.fromkeys(sums, 0)

        def watcher(layer: Layer, x: Tensor, y: Tensor) -> None:
            sums[layer.path] += self._kernel_layers[layer.path].mean_outputs(x, y).sum(0).cpu()
            seen[layer.path] += len(x)

        for batch in batches:
            self.watch(batch, watcher)
        means = {}
        for layer in self.layers:
            means[layer.path] = torch.zeros(layer.out_channels, layer.in_channels_per_group).double()
            rows = self.rows(layer)
            means[layer.path][slice(None) if rows is None else rows] = sums[layer.path] / max(seen[layer.path], 1)
        return means

    def connected(self, masks: Masks) -> dict[str, Tensor]:
        """Return the kernels [out, in / groups] of a mask that are on a path from the image to the target within it."""
        return on_path(self.graph, self.target.step.name, torch.tensor(self.target.units), masks)

    def would_be_connected(self, masks: Masks) -> dict[str, Tensor]:
        """Return the kernels that are, or would be if they were added alone, on a path within a mask."""
        return would_be_connected(self.graph, self.target.step.name, torch.tensor(self.target.units), masks)

    def path_bottleneck_rank(self, places: Masks) -> dict[str, Tensor]:
        """Return the highest rank that a path through each kernel from the image to the target needs, by layer."""
        return path_bottleneck_rank(self.graph, self.target.step.name, torch.tensor(self.target.units), places)

    @contextmanager
    def unedited(self) -> Iterator[None]:
        """Undo edits and observers within the block."""
        layers = list(self._kernel_layers.values())
        held = [(masked.edited_weight, masked.edited_bias, masked.observer, masked.watcher) for masked in layers]
        try:
            for layer in layers:
                layer.edit(None)
                layer.observer = layer.watcher = None
            yield
        finally:
            for layer, state in zip(layers, held, strict=True):
                layer.edited_weight, layer.edited_bias, layer.observer, layer.watcher = state

    def _maps(self, images: Tensor) -> Tensor:
        return self._read(self.module.forward(images))

    def _read(self, output: Tensor) -> Tensor:
        """Return the target's maps, from the value of its step."""
        return combined(as_maps(output, self.target.step)[:, self._units], self.target)

    def _placed(self, maps: Tensor) -> Tensor:
        return at_place(maps, self.target.at) if self.target.at != "max" else maps

    def _narrow(self, maps: Tensor, images: Tensor) -> Tensor:
        """Return the feature, from whole maps of some images."""
        if self.target.at != "max":
            return self._placed(maps)
        whole = maps.detach()
        if self._edited:
            with torch.no_grad(), self.unedited():
                whole = self._maps(images)
        return at_place(maps, self.target.at, whole)


def as_maps(values: Tensor, step: ChannelNode) -> Tensor:
    """Return the value of a step as maps [N, C, H, W]; positions along one dimension become rows."""
    maps = values.movedim(step.axis, 1)
    return maps.reshape(*maps.shape, *[1] * (4 - maps.dim()))


def combined(maps: Tensor, target: Target) -> Tensor:
    """Return the maps of a target's channels [N, channels, H, W], or their weighted sum where it is one."""
    if not target.coefficients:
        return maps
    summed = (maps * maps.new_tensor([*target.coefficients])[:, None, None]).sum(1, keepdim=True)
    if target.bias:
        summed = summed + target.bias
    return summed.relu() if target.rectified else summed


def at_place(maps: Tensor, at: Place, whole: Tensor | None = None) -> Tensor:
    """Return maps [N, maps, H, W] at the place of a target, [N, maps, 1, 1], or all of them where it has none.

    The place `max` is where the network's own maps `whole` are largest.
    """
    if isinstance(at, tuple):
        return maps[..., at[0], at[1], None, None]
    if at is None:
        return maps
    peaks = (maps if whole is None else whole).flatten(2).argmax(-1, keepdim=True)
    return maps.flatten(2).gather(2, peaks)[..., None]


def observe(
    subnetworks: Sequence[TargetSubnetwork],
    forward: Callable[[], Sequence[Tensor]],
    cotangents: Sequence[Cotangent],
    observer: Observer,
) -> None:
    """Run a forward pass through subnetworks, and a backward pass from each feature that it returns.

    A backward pass begins with the feature's cotangent; in it the observer sees every layer, last layer first.
    """
    number = 0

    def seen(layer: Layer, kernels: LayerSignals) -> None:
        observer(number, layer, kernels)

    with ExitStack() as stack:
        for subnetwork in subnetworks:
            stack.enter_context(subnetwork.observed(seen))
        with torch.enable_grad():
            features = forward()
        for number, (feature, cotangent) in enumerate(zip(features, cotangents, strict=True)):
            again = number < len(features) - 1
            feature.backward(cotangent(feature.detach()), retain_graph=again)  # type: ignore[no-untyped-call]
