"""The only file that runs a network: as it is, masked, or watched.

It never touches the user's model. A `Section` is a network of its own over the same tensors, up to one feature, in
which every layer is a `_KernelLayer` that can be masked and observed; both are undone when the `with` block ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from circuitlang.engine.contracts import Masks, Observation
from circuitlang.engine.graph import Graph, Layer, Step

Observer = Callable[[Layer, Observation], None]
Watcher = Callable[[Layer, Tensor], None]


@dataclass(frozen=True)
class Target:
    """One channel of one step."""

    step: Step
    unit: int


class _KernelLayer(nn.Module):
    """A convolution or linear layer whose kernels can be masked and whose traffic can be observed."""

    def __init__(self, layer: Layer, original: nn.Conv2d | nn.Linear, row: int | None) -> None:
        super().__init__()
        self.layer = layer
        self.groups = layer.groups
        weight, bias = original.weight.detach(), None if original.bias is None else original.bias.detach()
        self.channels: slice = slice(None)
        if row is not None:
            # Of the target's layer one row is computed; of its input, the channels of that row's group.
            group = row // (layer.out_channels // layer.groups)
            self.channels = slice(group * layer.inner, (group + 1) * layer.inner)
            weight, bias, self.groups = weight[row : row + 1], None if bias is None else bias[row : row + 1], 1
        self.row = row
        self.weight = weight.reshape(*weight.shape[:2], *layer.size)
        self.bias = bias
        self.effective_weight = self.weight
        self.stand_in: Tensor | None = None
        self.observer: Observer | None = None
        self.watcher: Watcher | None = None
        self.stride, self.dilation, self.mode, self.padding = (1, 1), (1, 1), "constant", (0, 0, 0, 0)
        if isinstance(original, nn.Conv2d):
            self.stride = (original.stride[0], original.stride[1])
            self.dilation = (original.dilation[0], original.dilation[1])
            self.mode = "constant" if original.padding_mode == "zeros" else original.padding_mode
            left, right, top, bottom = original._reversed_padding_repeated_twice
            self.padding = (left, right, top, bottom)

    def mask(self, mask: Tensor | None, stand_in: Tensor | None) -> None:
        """Keep the kernels of a mask [out, in / groups]; constants [out, in / groups] stand in for the others."""
        self.effective_weight, self.stand_in = self.weight, None
        if mask is not None:
            kept = mask if self.row is None else mask[self.row : self.row + 1]
            self.effective_weight = self.weight * kept[..., None, None]
            if stand_in is not None:
                constant = stand_in if self.row is None else stand_in[self.row : self.row + 1]
                self.stand_in = (constant * ~kept).sum(1)

    def forward(self, x: Tensor) -> Tensor:
        linear = self.layer.kind == "linear"
        if linear:
            # A linear layer is a convolution of 1 x 1: its channels come second, its positions are rows and columns.
            x = x.movedim(-1, 1)
            places = x.shape[2:]
            x = x.reshape(*x.shape[:2], *(places if len(places) == 2 else (math.prod(places), 1)))
        if self.row is not None:
            x = x[:, self.channels]
        if any(self.padding):
            x = functional.pad(x, self.padding, self.mode)
        y = functional.conv2d(x, self.effective_weight, self.bias, self.stride, 0, self.dilation, self.groups)
        if self.stand_in is not None:
            y = y + self.stand_in[:, None, None]
        if self.watcher is not None:
            self.watcher(self.layer, y)
        if self.observer is not None:
            y = self._observed(x.detach(), y, self.observer)
        return y.reshape(*y.shape[:2], *places).movedim(1, -1) if linear else y

    def _observed(self, x: Tensor, y: Tensor, observer: Observer) -> Tensor:
        if not y.requires_grad:
            y.requires_grad_()

        def seen(gradient: Tensor) -> None:
            observer(
                self.layer, Observation(self.weight, x, gradient.detach(), self.stride, self.dilation, self.groups)
            )

        y.register_hook(seen)  # type: ignore[no-untyped-call]
        return y


class Section:
    """A network up to one feature. `relevant` kernels have a path from the image to the feature."""

    def __init__(self, graph: Graph, target: Target) -> None:
        self.graph = graph
        self.target = target
        self.relevant: Masks = graph.live(target.step.name, torch.tensor([target.unit]))
        self.layers = tuple(layer for layer in graph.layers if layer.path in self.relevant)
        # Of the target's layer one row is enough, unless it is used on the way to the target as well.
        uses = [step for step in graph.ancestors(target.step.name) if step.layer and step.layer == target.step.layer]
        sliced = target.step.layer if len(uses) == 1 else None
        self._kernel_layers: dict[str, _KernelLayer] = {}
        for layer in self.layers:
            original = graph.module.get_submodule(layer.path)
            assert isinstance(original, (nn.Conv2d, nn.Linear))
            row = target.unit if layer == sliced else None
            self._kernel_layers[layer.path] = _KernelLayer(layer, original, row)
        self._module = _cut(graph, target.step.name, self._kernel_layers)
        self._unit = 0 if sliced else target.unit

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
        """The feature map [N, H, W] of images [N, 3, H, W], under the mask in force; 1 x 1 for a linear layer."""
        with torch.no_grad():
            return self._map(images)

    @contextmanager
    def masked(self, masks: Masks | None, stand_ins: Mapping[str, Tensor] | None = None) -> Iterator[None]:
        """Within the block the network has only the masked kernels; None is the whole network."""
        try:
            for path, layer in self._kernel_layers.items():
                layer.mask(masks[path] if masks else None, stand_ins[path] if stand_ins else None)
            yield
        finally:
            for layer in self._kernel_layers.values():
                layer.mask(None, None)

    def observe(self, images: Tensor, cotangent: Callable[[Tensor], Tensor], observer: Observer) -> None:
        """One forward and one backward pass; the observer sees every layer, last layer first."""
        layers = self._kernel_layers.values()
        try:
            for layer in layers:
                layer.observer = observer
            with torch.enable_grad():
                feature = self._map(images)
            feature.backward(cotangent(feature.detach()))  # type: ignore[no-untyped-call]
        finally:
            for layer in layers:
                layer.observer = None

    def watch(self, images: Tensor, watcher: Watcher) -> None:
        """One forward pass; the watcher sees every layer's output [N, out, H, W] (the target's row alone)."""
        layers = self._kernel_layers.values()
        try:
            for layer in layers:
                layer.watcher = watcher
            self.feature(images)
        finally:
            for layer in layers:
                layer.watcher = None

    def _map(self, images: Tensor) -> Tensor:
        output: Tensor = self._module(images)
        feature = output.select(self.target.step.axis, self._unit)
        return feature.reshape(len(images), *feature.shape[1:], *[1] * (3 - feature.dim()))


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
        if node.op == "call_module":
            path = str(node.target)
            modules[path] = layers.get(path) or graph.module.get_submodule(path)
        if node.op == "get_attr":
            modules[str(node.target)] = attrgetter(str(node.target))(graph.module)
        if node.name == last:
            part.output(copies[node])
            break
    return fx.GraphModule(modules, part)


def _upstream(node: fx.Node) -> set[fx.Node]:
    found, waiting = {node}, [node]
    while waiting:
        for each in waiting.pop().all_input_nodes:
            if each not in found:
                found.add(each)
                waiting.append(each)
    return found
