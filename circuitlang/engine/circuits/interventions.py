"""Interventions: a network in which kernels or channels are scaled, or are what they are for other images.

The network is run operation by operation, and nothing of it is copied: an edited layer is a `MaskedLayer` over the
network's weights, and edited channels are written into a copy of their maps. Patching is that of Vig et al. 2020 and
Meng et al. 2022 (activation patching), of kernels as of channels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.circuits.masked_layer import MaskedLayer
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_nodes import Layer
from circuitlang.engine.graph.channel_origins import input_origins
from circuitlang.plan.edits import IMAGE
from circuitlang.plugins.protocols import Edit, Masks


@dataclass(frozen=True)
class EditedPart:
    """A part of a network.

    Attributes:
        kernels: Masks of kernels [out, in / groups], or of weights [out, in / groups, h, w], by the path of a layer.
        channels: Channels, by the name of the step that gives them.
    """

    kernels: Masks = field(default_factory=dict)
    channels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of kernels, or of weights or channels."""
        return sum(int(mask.sum()) for mask in self.kernels.values()) + len(
            {unit for units in self.channels.values() for unit in units}
        )


def channels(graph: Graph, word: str, units: Sequence[int]) -> EditedPart:
    """Return channels of a layer, in all of its uses, or of the last output of a module. Raises InputError."""
    step = graph.find(word)
    for unit in units:
        if not 0 <= unit < step.width:
            raise InputError(Finding("E111", f"{word} has no channel {unit}", None, _channels_are(step.width)))
    steps = graph.uses(step.layer) if step.layer is not None else (step,)
    return EditedPart(channels={step.name: tuple(units) for step in steps})


def kernel(graph: Graph, word: str, unit: int, source_word: str, source: int) -> EditedPart:
    """Return the kernel of a layer's channel that reads a channel of another layer, or of the image.

    Where the channel is added to others on the way, the kernel reads their sum; behind a flatten there is one for each
    position. Raises InputError, with E132 where there is no such kernel.
    """
    layer = _layer(graph, word)
    if not 0 <= unit < layer.out_channels:
        raise InputError(Finding("E111", f"{word} has no channel {unit}", None, _channels_are(layer.out_channels)))
    number, width = -1, graph.steps[graph.image].width
    if source_word != IMAGE or IMAGE in graph.widths():
        other = _layer(graph, source_word)
        number, width = graph.layers.index(other), other.out_channels
    if not 0 <= source < width:
        raise InputError(Finding("E111", f"{source_word} has no channel {source}", None, _channels_are(width)))
    inputs, origin, channel = input_origins(graph, layer)
    read = torch.zeros(layer.in_channels, dtype=torch.bool)
    read[inputs[(origin == number) & (channel == source)]] = True
    mask = torch.zeros(layer.out_channels, layer.in_channels_per_group, dtype=torch.bool)
    mask[unit] = layer.per_kernel(read)[unit]
    if not mask.any():
        message = f"no kernel leads from {source_word}:{source} to {word}:{unit}"
        numbers = [graph.layers[number].name if number >= 0 else IMAGE for number in sorted({*origin.tolist()})]
        label = f"{word} reads {', '.join(numbers)}" if number not in origin else "they are in different groups"
        raise InputError(Finding("E132", message, None, label, "name a layer that it reads without another in between"))
    return EditedPart(kernels={layer.path: mask})


def _layer(graph: Graph, word: str) -> Layer:
    layer = graph.find(word).layer
    if layer is None:
        message = f"'{word}' has no kernels"
        raise InputError(
            Finding("E132", message, None, "it is a module of several operations", "name one of its layers")
        )
    return layer


def _channels_are(width: int) -> str:
    return f"its channels are 0 to {width - 1}"


class EditedNetwork:
    """A network as far as some steps, in which a part is edited.

    Args:
        graph: The network.
        steps: Names of the steps whose values are asked for.
        part: The part that is edited; nothing is without it.
        scale: The factor of the part: of the weights of its kernels, and of the values of its channels. None for a part
            that is taken from other images.
    """

    def __init__(
        self, graph: Graph, steps: Collection[str], part: EditedPart | None = None, scale: float | None = None
    ) -> None:
        self._graph, self._steps, self._scale = graph, frozenset(steps), scale
        self._part = part or EditedPart()
        self._layers: dict[str, MaskedLayer] = {}
        layers = {layer.path: layer for layer in graph.layers}
        for path, mask in self._part.kernels.items():
            original = graph.module.get_submodule(path)
            assert isinstance(original, (nn.Conv2d, nn.Linear))
            masked = MaskedLayer(layers[path], original, graph.kernels[path], None)
            # A patched part is taken out here, and put in from the other images.
            factor = 0.0 if scale is None else scale
            masked.edit(Edit(torch.where(mask.to(masked.weight.device), factor, 1.0).to(masked.weight)))
            masked.substituting = scale is None
            self._layers[path] = masked

    @torch.no_grad()
    def values(self, images: Tensor, others: Tensor | None = None) -> dict[str, Tensor]:
        """Return the values of the steps for images [N, C, H, W], by name; a part that is patched is what it is in the
        unedited network for `others` [N, C, H, W], image by image."""
        if others is None:
            return self._run(images)
        return {name: value.chunk(2)[0] for name, value in self._run(torch.cat([images, others])).items()}

    def _run(self, images: Tensor) -> dict[str, Tensor]:
        runner = _Runner(self._graph, self._steps, self._layers, self._part.channels, self._scale)
        runner.run(images)
        return runner.values


class _Runner(fx.Interpreter):
    """Runs a network as far as some steps, with edited layers and channels."""

    def __init__(
        self,
        graph: Graph,
        steps: Collection[str],
        layers: Mapping[str, MaskedLayer],
        channels: Mapping[str, tuple[int, ...]],
        scale: float | None,
    ) -> None:
        super().__init__(graph.module)
        self.values: dict[str, Tensor] = {}
        self._network, self._steps, self._layers = graph, steps, layers
        self._channels, self._scale = channels, scale
        self._needed = set(steps)
        for node in reversed(graph.module.graph.nodes):
            if node.name in self._needed:
                self._needed |= {used.name for used in node.all_input_nodes}

    def run_node(self, n: fx.Node) -> Any:
        # Nothing is computed that no asked step depends on.
        if n.name not in self._needed:
            return None
        value = self._value(n)
        if n.name in self._channels:
            value = self._edited(n.name, value)
        if n.name in self._steps:
            self.values[n.name] = value
        return value

    def _value(self, n: fx.Node) -> Any:
        step = self._network.steps.get(n.name)
        # Calls on constants or on positions are no layer's.
        if step is None or step.layer is None or step.layer.path not in self._layers:
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        # Views behind it need its channels first in memory, as the network's own layer has them.
        return self._layers[step.layer.path](*args, **kwargs).contiguous()

    def _edited(self, name: str, value: Tensor) -> Tensor:
        axis = self._network.steps[name].axis
        units = torch.tensor(self._channels[name], device=value.device)
        if self._scale is not None:
            return value.index_copy(axis, units, value.index_select(axis, units) * self._scale)
        own, others = value.chunk(2)
        patched = own.index_copy(axis, units, others.index_select(axis, units))
        return torch.cat([patched, others])
