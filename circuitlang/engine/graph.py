"""Which channel feeds which: a network as channels, joined by kernels and by plain links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, fx

from circuitlang.engine.contracts import Masks
from circuitlang.errors import Finding, InputError, did_you_mean, listing

Box = tuple[int, int, int, int]
Windows = tuple["Window", "Window"]


@dataclass(frozen=True)
class Window:
    """Along one axis, output position p sees inputs `p * stride - padding` to that plus `extent - 1`."""

    extent: int
    stride: int
    padding: int


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer, as a matrix of kernels [out, in / groups].

    `path` is its module's, `name` what users call it (`conv3` for the third convolution, unless the model has
    modules of such names), `node` its step in the traced graph.
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


@dataclass(frozen=True)
class Link:
    """Channel `source[k]` of step `node` feeds channel `target[k]` of the step that has this link."""

    node: str
    source: Tensor
    target: Tensor


@dataclass(frozen=True)
class Step:
    """One operation: how many channels it has, what feeds them, and what it sees of its input.

    A layer's single link says which step its input channels are; its kernels join them to its output channels.
    `windows` (vertical, horizontal) is None where a position sees the whole input.
    """

    name: str
    width: int
    links: tuple[Link, ...]
    layer: Layer | None = None
    windows: Windows | None = (Window(1, 1, 0), Window(1, 1, 0))


@dataclass(frozen=True)
class Graph:
    """A traced network. `module` is private: it shares the user's tensors but none of the user's modules."""

    module: fx.GraphModule
    steps: Mapping[str, Step]
    image: str

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer, in execution order."""
        return tuple(step.layer for step in self.steps.values() if step.layer)

    def find(self, word: str) -> Step:
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
        return self.steps[nodes[word]]

    def output(self) -> Step:
        """The step whose channels are the network's answer. Raises InputError where they can't be followed."""
        *_, last = self.module.graph.nodes
        name = last.all_input_nodes[0].name
        if name not in self.steps:
            raise InputError(Finding("E308", self._obstacle(name), None, "the classes lie behind it"))
        return self.steps[name]

    def size(self, step: Step) -> tuple[int, int]:
        """Height and width of a step's maps; 1 x 1 where it has none."""
        shape = next(node.meta["shape"] for node in self.module.graph.nodes if node.name == step.name)
        return (int(shape[2]), int(shape[3])) if len(shape) == 4 else (1, 1)

    def widths(self) -> dict[str, int]:
        """Channels by every word a target may use; those of what lies behind an obstacle too."""
        known = {node.name: node.meta.get("shape", ()) for node in self.module.graph.nodes}
        return {word: known[name][1] for word, name in self._nodes.items() if len(known[name]) > 1}

    @cached_property
    def _nodes(self) -> dict[str, str]:
        """Steps by the words a target may use: layers by name, modules by path."""
        nodes = {layer.name: layer.node for layer in self.layers}
        for node in self.module.graph.nodes:
            if node.op == "call_module":
                nodes[str(node.target)] = node.name
        return nodes

    def _obstacle(self, name: str) -> str:
        """The first operation on the way to a step whose channels can't be followed."""
        node = next(node for node in self.module.graph.nodes if node.name == name)
        while missing := [each for each in node.all_input_nodes if each.name not in self.steps]:
            node = missing[0]
        if node.op == "call_module":
            what = f"{node.target}, a {type(self.module.get_submodule(str(node.target))).__name__}"
        else:
            what = f"{getattr(node.target, '__name__', node.target)} (step '{node.name}')"
        return f"channels can't be followed through {what}"

    def ancestors(self, node: str) -> list[Step]:
        """The steps that `node` depends on, itself included, in execution order."""
        needed = {node}
        for step in reversed(list(self.steps.values())):
            if step.name in needed:
                needed.update(link.node for link in step.links)
        return [step for step in self.steps.values() if step.name in needed]

    def live(self, target: str, units: Tensor, masks: Masks | None = None) -> dict[str, Tensor]:
        """Of each layer's kernels, which lie on a path from the image to the target's units. Where masks are given,
        a path runs through kernels of theirs alone."""
        kernels = self.joinable(target, units, masks)
        return kernels if masks is None else {path: kernels[path] & masks[path] for path in kernels}

    def joinable(self, target: str, units: Tensor, masks: Masks | None = None) -> dict[str, Tensor]:
        """The kernels that would lie on such a path if each were added to the masks by itself."""
        steps = self.ancestors(target)
        fed: dict[str, Tensor] = {self.image: torch.ones(self.steps[self.image].width, dtype=torch.bool)}
        for step in steps:
            if step.layer:
                inputs = fed[step.links[0].node][step.layer.sources()]
                kernels = inputs if masks is None else inputs & masks[step.layer.path]
                fed[step.name] = kernels.any(1)
            elif step.links:
                reached = torch.zeros(step.width, dtype=torch.bool)
                for link in step.links:
                    reached[link.target[fed[link.node][link.source]]] = True
                fed[step.name] = reached
        wanted = {step.name: torch.zeros(step.width, dtype=torch.bool) for step in steps}
        wanted[target][units] = True
        found: dict[str, Tensor] = {}
        for step in reversed(steps):
            if step.layer:
                source = step.links[0].node
                kernels = wanted[step.name][:, None] & fed[source][step.layer.sources()]
                found[step.layer.path] = kernels
                kernels = kernels if masks is None else kernels & masks[step.layer.path]
                wanted[source][step.layer.sources()[kernels]] = True
            else:
                for link in step.links:
                    wanted[link.node][link.source[wanted[step.name][link.target]]] = True
        return {path: found[path] for path in reversed(found)}

    def feeders(self, layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
        """What carries each input channel of a layer; see `carriers`."""
        return self.carriers(self.steps[layer.node].links[0].node)

    def carriers(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """What carries each channel of a step: channels, the numbers of the layers they stem from (-1: the image) and
        the channels of those, three tensors of equal length."""
        numbers = {each.node: number for number, each in enumerate(self.layers)}
        found: dict[str, tuple[Tensor, Tensor, Tensor]] = {}

        def of(name: str) -> tuple[Tensor, Tensor, Tensor]:
            """Pairs of a step's channel and the layer and channel it stems from."""
            if name in found:
                return found[name]
            step = self.steps[name]
            if step.layer or name == self.image:
                own = torch.arange(step.width)
                found[name] = own, torch.full_like(own, numbers.get(name, -1)), own
                return found[name]
            parts: list[Tensor] = []
            for link in step.links:
                channel, origin, stem = of(link.node)
                for row in _join(link.source, channel):
                    parts.append(torch.stack([link.target[row[0]], origin[row[1]], stem[row[1]]]))
            rows = torch.cat([part.reshape(3, -1) for part in parts], 1) if parts else torch.zeros(3, 0)
            rows = torch.unique(rows.long(), dim=1)
            found[name] = rows[0], rows[1], rows[2]
            return found[name]

        return of(name)

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


def _join(left: Tensor, right: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Pairs of positions at which two lists of channels agree."""
    order = right.argsort(stable=True)
    sorted_right = right[order]
    low = torch.searchsorted(sorted_right, left)
    count = torch.searchsorted(sorted_right, left, right=True) - low
    pairs = []
    for repeat in range(int(count.max()) if count.numel() else 0):
        rows = (count > repeat).nonzero()[:, 0]
        pairs.append((rows, order[low[rows] + repeat]))
    return pairs


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
