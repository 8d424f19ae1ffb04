"""A layer whose kernels can be edited and observed, over the weights of the network."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from circuitlang.engine.graph.channel_nodes import Layer
from circuitlang.plugins.protocols import Edit, LayerSignals

# Sees a layer's input [N, I, H, W], padded, and its output [N, O, H', W'].
Watcher = Callable[[Layer, Tensor, Tensor], None]


class MaskedLayer(nn.Module):
    """A convolution or linear layer whose kernels can be edited, and whose input, output and gradient can be observed.

    With `rows` only these output channels are computed, all of one group, from the input channels of that group.
    """

    def __init__(self, layer: Layer, original: nn.Conv2d | nn.Linear, weight: Tensor, rows: Tensor | None) -> None:
        super().__init__()
        self.layer, self.rows = layer, rows
        self.groups = layer.groups
        bias = weight.new_zeros(len(weight)) if original.bias is None else original.bias.detach()
        self.channels = slice(None)
        if rows is not None:
            group = int(rows[0]) // (layer.out_channels // layer.groups)
            self.channels = slice(group * layer.in_channels_per_group, (group + 1) * layer.in_channels_per_group)
            weight, bias, self.groups = weight[rows].contiguous(memory_format=torch.channels_last), bias[rows], 1
        self.weight, self.bias = weight, bias
        self.edited_weight, self.edited_bias = self.weight, self.bias
        self.observer: Callable[[Layer, LayerSignals], None] | None = None
        self.watcher: Watcher | None = None
        self.substituting = False
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
        """Apply an edit in place of the one before; None restores the layer."""
        self.edited_weight, self.edited_bias = self.weight, self.bias
        if edit is not None:
            gain = self.own(edit.gain).to(self.weight)
            self.edited_weight = self.weight * (gain if gain.dim() == 4 else gain[..., None, None])
            if edit.offset is not None:
                self.edited_bias = self.bias + self.own(edit.offset).to(self.bias)

    def own(self, values: Tensor) -> Tensor:
        """Select values of the output channels that are computed from values of all."""
        return values if self.rows is None else values[self.rows.to(values.device)]

    def padded(self, x: Tensor) -> Tensor:
        """Return the input as the kernels see it, [N, I, H, W]."""
        x = self.maps(x)[:, self.channels]
        return functional.pad(x, self.padding, self.mode) if any(self.padding) else x

    def forward(self, x: Tensor) -> Tensor:
        seen = self.maps(x)[:, self.channels] if any(self.zeros) else self.padded(x)
        seen = seen.contiguous(memory_format=torch.channels_last)
        weight, bias = self.edited_weight, self.edited_bias
        y = self._substituted(seen) if self.substituting else self._convolved(seen, weight, bias)
        if self.watcher is not None:
            self.watcher(self.layer, self.padded(x), y)
        if self.observer is not None:
            y = self._observed(x.detach(), y)
        if self.layer.kind != "linear":
            return y
        return y.reshape(*y.shape[:2], *x.shape[1:-1]).movedim(1, -1)

    def _convolved(self, seen: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.conv2d(seen, weight, bias, self.stride, self.zeros, self.dilation, self.groups)

    def _substituted(self, seen: Tensor) -> Tensor:
        """Return the output of the edited layer with what the edit removes taken from other images, and that of the
        whole layer for these: the first half of a batch, and the second."""
        own, other = seen.chunk(2)
        removed = self._convolved(other, self.weight - self.edited_weight, None)
        circuit = self._convolved(own, self.edited_weight, self.edited_bias) + removed
        return torch.cat([circuit, self._convolved(other, self.weight, self.bias)])

    def maps(self, values: Tensor) -> Tensor:
        """Return the layer's input or output as maps [N, channels, H, W].

        A linear layer is a 1 x 1 convolution: its channels come last, its positions are rows and columns.
        """
        if self.layer.kind != "linear":
            return values
        values = values.movedim(-1, 1)
        places = values.shape[2:]
        return values.reshape(*values.shape[:2], *(places if len(places) == 2 else (math.prod(places), 1)))

    def patches(self, x: Tensor, places: Tensor, width: int) -> Tensor:
        """Return what the kernels see of an image at some output positions, [positions, groups, inner, taps].

        `places` are numbers of positions, counted row by row, `width` the number of columns.
        """
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
        """Average each kernel's output over positions, float64 [N, O, I / groups], from the layer's padded input.

        It is the mean of what each weight sees, times the weight.
        """
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

        def show(gradient: Tensor) -> None:
            if self.observer is not None:
                gradient = gradient.detach()
                observation = LayerSignals(
                    self.weight, self.padded(x), gradient, self.stride, self.dilation, self.groups
                )
                self.observer(self.layer, observation)

        y.register_hook(show)  # type: ignore[no-untyped-call]
        return y
