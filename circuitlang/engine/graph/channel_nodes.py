"""Types of a channel graph: nodes, the edges between their channels, and layers with kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from circuitlang.engine.deferred import torch

if TYPE_CHECKING:
    from torch import Tensor

Windows = tuple["ReceptiveWindow", "ReceptiveWindow"]
Kind = Literal["image", "layer", "each", "cat", "copy", "flat", "mix"]


@dataclass(frozen=True)
class ReceptiveWindow:
    """Positions of the input that an output position reads, along one axis.

    Output position p reads `extent` inputs, from `p * stride - padding` on.
    """

    extent: int
    stride: int
    padding: int


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer, as a matrix of kernels [out, in / groups].

    `path` is its module's, `name` what users call it (`conv3` for the third convolution, unless the model has
    modules of such names), `node` the last node that uses it; `Graph.uses` returns all of them.
    """

    path: str
    name: str
    kind: str
    node: str
    out_channels: int
    in_channels: int
    groups: int
    size: tuple[int, int]

    @property
    def in_channels_per_group(self) -> int:
        """Input channels of one output channel: `in_channels / groups`."""
        return self.in_channels // self.groups

    def input_channels(self) -> Tensor:
        """Return the input channel, in the whole layer, that each kernel reads [out, in / groups]."""
        group = torch.arange(self.out_channels) // (self.out_channels // self.groups)
        return group[:, None] * self.in_channels_per_group + torch.arange(self.in_channels_per_group)

    def per_kernel(self, inputs: Tensor) -> Tensor:
        """Return the value of each kernel's input channel [out, in / groups], from values of all of them [in]."""
        by_group = inputs.reshape(self.groups, 1, self.in_channels_per_group)
        return by_group.expand(-1, self.out_channels // self.groups, -1).reshape(
            self.out_channels, self.in_channels_per_group
        )

    def by_group(self, kernels: Tensor) -> Tensor:
        """Return values of kernels [out, in / groups] as [groups, out / groups, in / groups]."""
        return kernels.reshape(self.groups, -1, self.in_channels_per_group)


@dataclass(frozen=True)
class ChannelEdge:
    """Connections between channels: channel `source[k]` of `node` feeds channel `target[k]` of the edge's owner."""

    node: str
    source: Tensor
    target: Tensor


@dataclass(frozen=True)
class ChannelNode:
    """One operation: how many channels it has, what feeds them, and what it sees of its input.

    `kind` says what its edges mean. A channel that no edge feeds is the same for every image.

    - `layer`: the single edge names the node of its input channels; its kernels join them to its output channels.
    - `each`: an operation on each channel by itself, whose result stays the same where other channels are left out.
      Several edges are several operands; parameters of the operation lie along the channels or are the same for all.
    - `cat`: the joined nodes one after another, and perhaps constants.
    - `copy`: channels of other nodes as they are, their positions in the same order: in another order, fewer, or along
      another axis.
    - `flat`: each channel is one position of the channel that feeds it, as behind a flatten.
    - `mix`: each channel depends on all of its block, where the channels are so many `blocks` of equal size; the edges
      say what feeds a block's members.

    `axis` is the dimension that the channels lie along: 1, or counted from the end (-1 where they are last). `shape` is
    of the output for one image, without the batch. `windows` (vertical, horizontal) is None where a position sees the
    whole input.
    """

    name: str
    width: int
    edges: tuple[ChannelEdge, ...]
    kind: Kind = "each"
    layer: Layer | None = None
    windows: Windows | None = (ReceptiveWindow(1, 1, 0), ReceptiveWindow(1, 1, 0))
    axis: int = 1
    shape: tuple[int, ...] = ()
    blocks: int = 0

    @property
    def positions(self) -> tuple[int, ...]:
        """The shape of one channel: (height, width), or () behind a flatten."""
        axis = self.axis - 1 if self.axis > 0 else self.axis % len(self.shape)
        return self.shape[:axis] + self.shape[axis + 1 :]

    def block_any(self, channels: Tensor) -> Tensor:
        """Return for each channel whether any of its block is set [width]; without blocks, the channels as they are.

        It holds in both directions: for what a channel depends on, and for what depends on it.
        """
        if not self.blocks:
            return channels
        return channels.reshape(self.blocks, -1).any(1).repeat_interleave(self.width // self.blocks)

    def block_min(self, ranks: Tensor) -> Tensor:
        """Return for each channel the least rank of its block [width]; without blocks, the ranks as they are."""
        if not self.blocks:
            return ranks
        return ranks.reshape(self.blocks, -1).amin(1).repeat_interleave(self.width // self.blocks)


def ancestors(nodes: Mapping[str, ChannelNode], name: str) -> list[ChannelNode]:
    """Return the nodes that `name` depends on, itself included, in execution order."""
    needed = {name}
    for node in reversed(list(nodes.values())):
        if node.name in needed:
            needed.update(edge.node for edge in node.edges)
    return [node for node in nodes.values() if node.name in needed]
