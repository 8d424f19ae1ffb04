"""Which channel feeds which: a network as channels, joined by kernels and by plain links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, fx

from circuitlang.base.diagnostics import Finding, InputError, did_you_mean, listing
from circuitlang.engine.models.outputs import choose, outputs
from circuitlang.plugins.protocols import Masks, Scores

Box = tuple[int, int, int, int]
Windows = tuple["ReceptiveWindow", "ReceptiveWindow"]
Kind = Literal["image", "layer", "each", "cat", "copy", "flat", "mix"]


@dataclass(frozen=True)
class ReceptiveWindow:
    """Along one axis, output position p sees inputs `p * stride - padding` to that plus `extent - 1`."""

    extent: int
    stride: int
    padding: int


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer, as a matrix of kernels [out, in / groups].

    `path` is its module's, `name` what users call it (`conv3` for the third convolution, unless the model has
    modules of such names), `node` the last step that uses it; `Graph.uses` has them all.
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
    def inner(self) -> int:
        """Input channels of one output channel."""
        return self.in_channels // self.groups

    def sources(self) -> Tensor:
        """Of each kernel [out, in / groups], its input channel in the whole layer."""
        group = torch.arange(self.out_channels) // (self.out_channels // self.groups)
        return group[:, None] * self.inner + torch.arange(self.inner)

    def spread(self, inputs: Tensor) -> Tensor:
        """Of each kernel [out, in / groups], what is said of its input channel [in]."""
        rows = inputs.reshape(self.groups, 1, self.inner)
        return rows.expand(-1, self.out_channels // self.groups, -1).reshape(self.out_channels, self.inner)


@dataclass(frozen=True)
class ChannelEdge:
    """Channel `source[k]` of step `node` feeds channel `target[k]` of the step that has this link."""

    node: str
    source: Tensor
    target: Tensor


@dataclass(frozen=True)
class ChannelNode:
    """One operation: how many channels it has, what feeds them, and what it sees of its input.

    `kind` says what its links mean. A channel that no link feeds is the same for every image.

    - `layer`: the single link says which step its input channels are; its kernels join them to its output channels.
    - `each`: an operation on each channel by itself, which gives the same where other channels are left out. Several
      links are several operands; parameters of the operation lie along the channels or are the same for all.
    - `cat`: the linked steps one after another, and perhaps constants.
    - `copy`: channels of other steps as they are, their positions in the same order: in another order, fewer, or along
      another axis.
    - `flat`: each channel is one position of the channel that feeds it, as behind a flatten.
    - `mix`: each channel depends on all of its block, where the channels are so many `blocks` of equal size; the links
      say what feeds a block's members.

    `axis` is the dimension that the channels lie along: 1, or counted from the end (-1 where they are last). `shape` is
    of the output for one image, without the batch. `windows` (vertical, horizontal) is None where a position sees the
    whole input.
    """

    name: str
    width: int
    links: tuple[ChannelEdge, ...]
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

    def mixed(self, channels: Tensor) -> Tensor:
        """Which channels depend on any of the given ones [width] once each block is mixed; the same the other way."""
        if not self.blocks:
            return channels
        return channels.reshape(self.blocks, -1).any(1).repeat_interleave(self.width // self.blocks)

    def soonest(self, places: Tensor) -> Tensor:
        """The least place [width] of all that each channel depends on once each block is mixed."""
        if not self.blocks:
            return places
        return places.reshape(self.blocks, -1).amin(1).repeat_interleave(self.width // self.blocks)


@dataclass(frozen=True)
class Graph:
    """A traced network. `module` is private: it shares the user's tensors but none of the user's modules."""

    module: fx.GraphModule
    steps: Mapping[str, ChannelNode]
    image: str

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer once, in the order of its first use."""
        return tuple({step.layer.path: step.layer for step in self.steps.values() if step.layer}.values())

    @cached_property
    def kernels(self) -> Mapping[str, Tensor]:
        """The weight of every layer by its path, [out, in / groups, h, w], channels last in memory."""
        found = {}
        for layer in self.layers:
            weight = self.module.get_submodule(layer.path).weight
            assert isinstance(weight, Tensor)
            maps = weight.detach().reshape(*weight.shape[:2], *layer.size)
            found[layer.path] = maps.contiguous(memory_format=torch.channels_last)
        return found

    @cached_property
    def larger(self) -> Mapping[str, Any]:
        """By node, what is the same for all images (`meta["value"]`), in a batch of one image more."""
        shape = next(node.meta["shape"] for node in self.module.graph.nodes if node.op == "placeholder")
        like = next((each for each in self.module.parameters()), torch.zeros(()))
        images = torch.zeros(shape[0] + 1, *shape[1:], dtype=like.dtype, device=like.device)
        return _Constants(self.module).found(images)

    def uses(self, layer: Layer) -> tuple[ChannelNode, ...]:
        """The steps that a layer's kernels are used in, in execution order: more than one where a module is reused."""
        return tuple(step for step in self.steps.values() if step.layer == layer)

    def find(self, word: str) -> ChannelNode:
        """The step a target names: a layer by its name, or the last step of the module of that path.

        Raises InputError for a name that isn't there, and where the channels on the way can't be followed.
        """
        nodes = self._nodes
        if word not in nodes:
            names = [layer.name for layer in self.layers]
            label = f"the layers are {listing(names)}"
            raise InputError(Finding("E102", f"unknown layer '{word}'", None, label, did_you_mean(word, nodes)))
        if nodes[word] not in self.steps:
            raise InputError(Finding("E308", self._obstacle(nodes[word]), None, f"'{word}' lies behind it"))
        step = self.steps[nodes[word]]
        if not any(each.layer for each in self.ancestors(step.name)):
            label = "a circuit is made of the kernels that lead to its target"
            raise InputError(Finding("E308", f"no layer lies on the way to '{word}'", None, label))
        return step

    def output(self, wanted: int | str | None = None) -> ChannelNode:
        """The step whose channels are the network's classes; of several outputs, that of a number or name.

        Raises InputError where it can't be told, or they can't be followed.
        """
        name = choose(outputs(self.module), wanted).node.name
        if name not in self.steps:
            raise InputError(Finding("E308", self._obstacle(name), None, "the classes lie behind it"))
        return self.steps[name]

    def widths(self) -> dict[str, int]:
        """Channels by every word a target may use; those of what lies behind an obstacle too."""
        shapes = {node.name: node.meta.get("shape", ()) for node in self.module.graph.nodes}
        widths = {name: shape[1] for name, shape in shapes.items() if len(shape) > 1}
        widths |= {name: step.width for name, step in self.steps.items()}
        return {word: widths[name] for word, name in self._nodes.items() if name in widths}

    @cached_property
    def _nodes(self) -> dict[str, str]:
        """Steps by the words a target may use: layers by name, modules by path."""
        nodes = {layer.name: layer.node for layer in self.layers}
        for node in self.module.graph.nodes:
            # What lies behind an obstacle has its name too, by which that can be said of it.
            if "layer" in node.meta:
                nodes.setdefault(node.meta["layer"], node.name)
            if node.op == "call_module":
                nodes[str(node.target)] = node.name
        return nodes

    def _obstacle(self, name: str) -> str:
        """The first operation on the way to a step whose channels can't be followed."""
        node = next(node for node in self.module.graph.nodes if node.name == name)
        # A layer that is none, since its weight is computed from the image, is the reason whatever the weight is of.
        while "computed" not in node.meta and (
            missing := [each for each in node.all_input_nodes if "followed" not in each.meta]
        ):
            node = missing[0]
        if node.op == "call_module":
            what = f"{node.target}, a {type(self.module.get_submodule(str(node.target))).__name__}"
        else:
            what = f"{getattr(node.target, '__name__', node.target)} (step '{node.name}')"
        reason = f": {node.meta['refused']}" if "refused" in node.meta else ""
        return f"channels can't be followed through {what}{reason}"

    def ancestors(self, node: str) -> list[ChannelNode]:
        """The steps that `node` depends on, itself included, in execution order."""
        needed = {node}
        for step in reversed(list(self.steps.values())):
            if step.name in needed:
                needed.update(link.node for link in step.links)
        return [step for step in self.steps.values() if step.name in needed]

    def live(self, target: str, units: Tensor, masks: Masks | None = None) -> dict[str, Tensor]:
        """Of each layer's kernels, which lie on a path from the image to the target's units. Where masks are given,
        a path runs through kernels of theirs alone. Of a layer that is used again, those that any of its uses has."""
        kernels = self.would_be_connected(target, units, masks)
        return kernels if masks is None else {path: kernels[path] & masks[path] for path in kernels}

    def would_be_connected(self, target: str, units: Tensor, masks: Masks | None = None) -> dict[str, Tensor]:
        """The kernels that would lie on such a path if each were added to the masks by itself."""
        if masks is None:
            layers, there = (
                [step.layer for step in self.ancestors(target) if step.layer],
                torch.zeros((), dtype=torch.uint8),
            )
            places = {layer.path: there.expand(layer.out_channels, layer.inner) for layer in layers}
        else:
            places = {path: (~mask).view(torch.uint8) for path, mask in masks.items()}
        return {path: around == 0 for path, around in self.around(target, units, places).items()}

    def constant(self, target: str, units: Tensor) -> dict[str, Tensor]:
        """Of each layer's kernels, which read channels that no path from the image leads to and have a path to the
        target's units. They add the same to every image's output, and belong to the network that circuits are cut
        from: no circuit is without them. Of a layer that is used again, those that none of its uses has on a path
        from the image."""
        steps = self.ancestors(target)
        wanted = {step.name: torch.zeros(step.width, dtype=torch.bool) for step in steps}
        wanted[target][units] = True
        leading: dict[str, Tensor] = {}
        for step in reversed(steps):
            if step.layer:
                source, path = step.links[0].node, step.layer.path
                rows = wanted[step.name][:, None].expand(-1, step.layer.inner)
                wanted[source] |= rows.reshape(step.layer.groups, -1, step.layer.inner).any(1).flatten()
                leading[path] = rows | leading[path] if path in leading else rows
            else:
                asked = step.mixed(wanted[step.name])
                for link in step.links:
                    wanted[link.node][link.source[asked[link.target]]] = True
        live = self.live(target, units)
        return {path: leading[path] & ~mask for path, mask in live.items()}

    def around(self, target: str, units: Tensor, places: Masks) -> dict[str, Tensor]:
        """Of each layer's kernels, the last place of others that a path through it to the target's units needs, on the
        path where that comes first; places are whole numbers from 0, of one type, whose greatest stands for never."""
        steps = self.ancestors(target)
        kind = next(iter(places.values())).dtype
        never = torch.iinfo(kind).max

        def nowhere(step: ChannelNode) -> Tensor:
            return torch.full((step.width,), never, dtype=kind)

        fed = {self.image: torch.zeros(self.steps[self.image].width, dtype=kind)}
        for step in steps:
            if step.layer:
                kernels = step.layer.spread(fed[step.links[0].node]).maximum(places[step.layer.path])
                fed[step.name] = kernels.amin(1)
            elif step.links:
                reached = nowhere(step)
                for link in step.links:
                    reached.scatter_reduce_(0, link.target, fed[link.node][link.source], "amin")
                fed[step.name] = step.soonest(reached)
        wanted = {step.name: nowhere(step) for step in steps}
        wanted[target][units] = 0
        found: dict[str, Tensor] = {}
        for step in reversed(steps):
            if step.layer:
                source, path = step.links[0].node, step.layer.path
                around = step.layer.spread(fed[source]).maximum(wanted[step.name][:, None])
                kernels = around.maximum(places[path]).reshape(step.layer.groups, -1, step.layer.inner)
                wanted[source] = wanted[source].minimum(kernels.amin(1).flatten())
                found[path] = around.minimum(found[path]) if path in found else around
            else:
                asked = step.soonest(wanted[step.name])
                for link in step.links:
                    wanted[link.node].scatter_reduce_(0, link.source, asked[link.target], "amin")
        return {layer.path: found[layer.path] for layer in self.layers if layer.path in found}

    def path(self, target: str, units: Tensor, scores: Scores, masks: Masks, through: Masks) -> dict[str, Tensor]:
        """Of some live kernels a path to the target's units through one of them: from each channel to the one that its
        strongest kernel reads, of those that lead to that one where there are any. Where channels are added or mixed, a
        path for each."""
        steps = self.ancestors(target)
        behind = {step.name: torch.zeros(step.width, dtype=torch.bool) for step in steps}
        for step in steps:
            if step.layer:
                leading = masks[step.layer.path] & step.layer.spread(behind[step.links[0].node])
                behind[step.name] = (leading | through[step.layer.path]).any(1)
            else:
                for link in step.links:
                    behind[step.name][link.target[behind[link.node][link.source]]] = True
                behind[step.name] = step.mixed(behind[step.name])
        wanted = {step.name: torch.zeros(step.width, dtype=torch.bool) for step in steps}
        wanted[target][units] = True
        found = {path: torch.zeros_like(mask) for path, mask in masks.items()}
        for step in reversed(steps):
            if step.layer:
                mask, source = masks[step.layer.path], step.links[0].node
                leading = mask & (step.layer.spread(behind[source]) | through[step.layer.path])
                ranked = torch.where(mask, scores[step.layer.path], -1.0)
                ranked = torch.where(leading, ranked + 1 + ranked.amax(), ranked)
                rows = (wanted[step.name] & mask.any(1)).nonzero()[:, 0]
                columns = ranked.argmax(1)[rows]
                found[step.layer.path][rows, columns] = True
                wanted[source][step.layer.sources()[rows, columns]] = True
            else:
                asked = step.mixed(wanted[step.name])
                for link in step.links:
                    wanted[link.node][link.source[asked[link.target]]] = True
        return found

    def feeders(self, layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
        """What carries each input channel of a layer, in any of its uses; see `carriers`."""
        return self.carriers(*(step.links[0].node for step in self.uses(layer)))

    def carriers(self, *names: str) -> tuple[Tensor, Tensor, Tensor]:
        """What carries each channel of a step: channels, the numbers of the layers they stem from (-1: the image) and
        the channels of those, three tensors of equal length; of several steps, what carries any.

        A norm over channels carries each by itself: others in its block shift and scale it, and are not named.
        """
        numbers = {each.path: number for number, each in enumerate(self.layers)}
        found: dict[str, Tensor] = {}

        def of(name: str) -> Tensor:
            """Columns of a step's channel and the layer and channel it stems from, in order."""
            if name not in found:
                step = self.steps[name]
                own = torch.arange(step.width)
                if step.layer or name == self.image:
                    number = numbers[step.layer.path] if step.layer else -1
                    found[name] = torch.stack([own, torch.full_like(own, number), own])
                else:
                    found[name] = _once([_through(link, of(link.node)) for link in step.links])
            return found[name]

        rows = _once([of(name) for name in names])
        return rows[0], rows[1], rows[2]

    def receptive_field(self, node: str, row: int, column: int) -> Box | None:
        """The pixels that a position of a step can see: top, left, bottom, right (exclusive), unclipped. None where
        it sees the whole image, as behind a global pool."""
        boxes: dict[str, Box | None] = {node: (row, column, row + 1, column + 1)}
        for step in reversed(self.ancestors(node)):
            if step.name not in boxes or step.name == self.image:
                continue
            box = boxes[step.name]
            seen = _see(box, step.windows) if box and step.windows else None
            for link in step.links:
                boxes[link.node] = _around(boxes[link.node], seen) if link.node in boxes else seen
        return boxes.get(self.image)

    def part(self, node: str, row: int, column: int) -> tuple[Box, tuple[int, int]] | None:
        """The part of the image from which alone a position of a step comes out as from all of it, and where in the
        step's map of that part it is. None where it takes the whole image.

        What the part's own padding spoils is what the position doesn't see. The part begins where all strides do, so
        that the maps of the whole are cut where those of the part begin.
        """
        box, other = self.receptive_field(node, row, column), self.receptive_field(node, row + 1, column + 1)
        if box is None or other is None:
            return None
        height, width = self.steps[self.image].positions
        strides = other[0] - box[0], other[1] - box[1]
        first = [max(low, 0) // stride for low, stride in zip(box[:2], strides, strict=True)]
        top, left = (number * stride for number, stride in zip(first, strides, strict=True))
        found = top, left, min(box[2], height), min(box[3], width)
        return None if found == (0, 0, height, width) else (found, (row - first[0], column - first[1]))


class _Constants(fx.Interpreter):
    """Runs a network and notes what is the same for all images."""

    def found(self, images: Tensor) -> dict[str, Any]:
        self._found: dict[str, Any] = {}
        with torch.no_grad():
            self.run(images)
        return self._found

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if "value" in n.meta:
            self._found[n.name] = value
        return value


def _through(link: ChannelEdge, stems: Tensor) -> Tensor:
    """Columns of channel and stem as they are behind a link; in front of it they are in order of the channel."""
    low = torch.searchsorted(stems[0].contiguous(), link.source)
    count = torch.searchsorted(stems[0].contiguous(), link.source, right=True) - low
    row = torch.repeat_interleave(count)
    place = torch.arange(len(row)) - (count.cumsum(0) - count)[row] + low[row]
    return torch.cat([link.target[row][None], stems[1:, place]])


def _once(parts: list[Tensor]) -> Tensor:
    """Columns [3, n] of several lists without repetitions, in order."""
    columns = torch.cat(parts, 1)
    _, layers, stems = (int(row.max()) + 2 if row.numel() else 1 for row in columns)
    # As one number each, which sorts much faster than columns do.
    keys = torch.unique((columns[0] * layers + columns[1] + 1) * stems + columns[2])
    return torch.stack([keys // stems // layers, keys // stems % layers - 1, keys % stems])


def _see(box: Box, windows: Windows) -> Box:
    (top, left, bottom, right), (v, h) = box, windows
    return (
        top * v.stride - v.padding,
        left * h.stride - h.padding,
        (bottom - 1) * v.stride - v.padding + v.extent,
        (right - 1) * h.stride - h.padding + h.extent,
    )


def _around(one: Box | None, other: Box | None) -> Box | None:
    if one is None or other is None:
        return None
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])
