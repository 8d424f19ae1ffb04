"""Two circuits in one image: what both have, and what either has alone, each in a colour and a line of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from xml.etree.ElementTree import Element

import msgspec
import numpy as np
from numpy.typing import NDArray

from circuitlang.reporting.diagram.captions import percent
from circuitlang.reporting.diagram.diagram_names import diagram_names
from circuitlang.reporting.diagram.figure import (
    FAINT,
    INK,
    SMALL,
    Figure,
    Look,
    Style,
    heading_width,
    targets,
    text,
)
from circuitlang.reporting.diagram.layout import arrange
from circuitlang.reporting.diagram.sheet import sheet
from circuitlang.reporting.diagram.svg import add, number, shorten, text_width
from circuitlang.results.comparison import Comparison, Pair, letter
from circuitlang.results.connections import DRAWN, IMAGE, Channel, Connection, Connections, connections
from circuitlang.results.types import ChannelSources, Circuit, KeptKernels, LayerSummary, Result

FIRST, SECOND, BOTH = 1, 2, 3
# Told apart from one another, from ink and from paper with every common colour blindness, and by their dashes.
COLOURS = {FIRST: "#d08a00", SECOND: "#2a7fc1", BOTH: INK}
_DASHES = {FIRST: (7.0, 3.0), SECOND: (0.6, 2.4), BOTH: None}
_LEAST = {FIRST: (0.9, 0.6), SECOND: (1.3, 0.75), BOTH: (0.0, 0.0)}
_WORDS = {FIRST: "only-first", SECOND: "only-second", BOTH: "in-both"}


@dataclass(frozen=True)
class _Owned(Connection):
    """A connection, and which circuit has it."""

    owner: int

    @property
    def sign(self) -> int:
        """Lines that meet in a channel are kept apart by owner."""
        return {FIRST: 1, SECOND: -1, BOTH: 0}[self.owner]


@dataclass(frozen=True)
class Overlay:
    """Two circuits as one: the drawing, its edges by owner, and its words.

    `owners` are those of the kernels, by layer.
    """

    figure: Figure
    owned: Sequence[_Owned]
    owners: Sequence[NDArray[np.int64]]
    names: Sequence[str]
    title: str
    notes: Sequence[str]

    @property
    def description(self) -> str:
        """The drawing in words, for screen readers."""
        about = f"Two circuits overlaid, {self.title}: layers from the image on the left to the features on the right."
        return f"{about} {self.notes[0]}"

    @property
    def words(self) -> Mapping[int, str]:
        """Words for what both have, and for what either has alone."""
        return {BOTH: "in both", FIRST: f"only in {self.names[0]}", SECOND: f"only in {self.names[1]}"}

    @cached_property
    def rims(self) -> Mapping[Channel, int]:
        """The owner of each channel: who has an edge to it or from it."""
        rims: dict[Channel, int] = {}
        for one in self.owned:
            for end in (one.source, one.target):
                rims[end] = rims.get(end, 0) | one.owner
        return rims

    def counts(self, channel: Channel) -> Mapping[int, int]:
        """Count the kernels of a channel by owner."""
        layer, unit = channel
        mine = self.figure.result.circuit.kernels[layer].target == unit
        return Counter(self.owners[layer][mine].tolist())


def merge(comparison: Comparison, pair: Pair, first: Result, second: Result) -> Overlay:
    """Merge the effective kernels of two circuits into one drawing, of the 2,000 edges whose paths carry most."""
    # Others of the comparison may have more layers.
    theirs = {layer.path for result in (first, second) for layer in result.summary.layers}
    whole, owners = _merge([path for path in comparison.layers if path in theirs], first, second)
    shown = connections(whole.circuit, DRAWN)
    members = [comparison.members[index].name for index in (pair.first, pair.second)]
    return Overlay(
        figure=_figure(whole, shown, owners, pair),
        owned=[_owned(one, owners) for one in shown.strongest],
        owners=owners,
        names=[shorten(name, 34) for name in members],
        title=" and ".join(shorten(name, 34) for name in members),
        notes=[_claim(comparison, pair), *_drawn(shown, owners)],
    )


def overlay(comparison: Comparison, pair: Pair, first: Result, second: Result) -> bytes:
    """Draw the effective kernels of two circuits as one self-contained SVG.

    The wider an edge, the more influence flows along it, by scores as shares of the highest of their own circuit. Of
    more than 2,000 edges those are drawn whose paths carry most.
    """
    both = merge(comparison, pair, first, second)
    # Lines of different owners are kept apart.
    owned = replace(both.figure.connections, strongest=list(both.owned))
    drawn = _figure(both.figure.result, owned, both.owners, pair)
    names = [f"{letter(index)} {name}" for index, name in zip((pair.first, pair.second), both.names, strict=True)]
    legend = partial(_add_legend, names=names)
    return sheet(drawn, both.title, both.notes, both.description, legend, _style(names, both))


def _merge(order: Sequence[str], first: Result, second: Result) -> tuple[Result, list[NDArray[np.int64]]]:
    """Merge the effective kernels of both circuits into one, with the owner of each kernel by layer."""
    known: dict[str, LayerSummary] = {
        layer.path: layer for result in (second, first) for layer in result.summary.layers
    }
    place = {path: number for number, path in enumerate(order)}
    kernels, wires, owners = [], [], []
    parts = [_parts(result) for result in (first, second)]
    for path in order:
        layer, both = _kernels([part.get(path) for part in parts])
        kernels.append(layer)
        owners.append(both)
        wires.append(_wires(place, [(result, _wire_of(result, path)) for result in (first, second)]))
    target = _wires(place, [(result, result.circuit.target) for result in (first, second)])
    # Shares are those of the kernels of one circuit.
    layers = [msgspec.structs.replace(known[path], shares=msgspec.UNSET) for path in order]
    summary = msgspec.structs.replace(first.summary, layers=layers)
    return Result(summary, Circuit(tuple(kernels), tuple(wires), target)), owners


def _parts(result: Result) -> dict[str, tuple[KeptKernels, NDArray[np.float64]]]:
    """Return the kernels of each layer, with scores as shares of the circuit's highest."""
    scores = [np.maximum(np.nan_to_num(kernels.score, posinf=0.0), 0.0) for kernels in result.circuit.kernels]
    largest = max((float(values.max(initial=0.0)) for values in scores), default=0.0) or 1.0
    layers = zip(result.summary.layers, result.circuit.kernels, scores, strict=True)
    return {layer.path: (kernels, score / largest) for layer, kernels, score in layers}


def _kernels(parts: Sequence[tuple[KeptKernels, NDArray[np.float64]] | None]) -> tuple[KeptKernels, NDArray[np.int64]]:
    """Return the effective kernels of either circuit in a layer, and their owners.

    Kernels of both have the first's weights and the higher share.
    """
    rows: dict[tuple[int, int], tuple[int, float, NDArray[np.float32]]] = {}
    for owner, part in zip((FIRST, SECOND), parts, strict=True):
        if part is None:
            continue
        kernels, share = part
        for index in np.flatnonzero(kernels.effective).tolist():
            key = int(kernels.target[index]), int(kernels.source[index])
            before, score, weight = rows.get(key, (0, 0.0, kernels.weight[index]))
            rows[key] = before | owner, max(score, float(share[index])), weight
    size = next(part[0].weight.shape[1:] for part in parts if part is not None)
    ordered = sorted(rows.items(), key=lambda row: (-row[1][1], row[0]))
    merged = KeptKernels(
        target=np.array([key[0] for key, _ in ordered], np.int64),
        source=np.array([key[1] for key, _ in ordered], np.int64),
        score=np.array([score for _, (_, score, _) in ordered], np.float64),
        weight=np.array([weight for _, (_, _, weight) in ordered], np.float32).reshape(-1, *size),
        effective=np.ones(len(ordered), np.bool_),
    )
    return merged, np.array([owner for _, (owner, _, _) in ordered], np.int64)


def _wire_of(result: Result, path: str) -> ChannelSources | None:
    paths = [layer.path for layer in result.summary.layers]
    return result.circuit.wires[paths.index(path)] if path in paths else None


def _wires(place: Mapping[str, int], parts: Sequence[tuple[Result, ChannelSources | None]]) -> ChannelSources:
    """Return the sources of channels in either circuit, by the numbers of the layers in both together."""
    wires = []
    for result, wire in parts:
        if wire is not None:
            # The last stands for the image, whose number is -1.
            numbers = np.array([*(place[layer.path] for layer in result.summary.layers), -1], np.int64)
            wires.append(np.stack([wire.source, numbers[wire.origin], wire.channel], 1))
    rows = np.unique(np.concatenate(wires).astype(np.int64), axis=0)
    return ChannelSources(*(rows[:, column] for column in range(3)))


def _owned(one: Connection, owners: Sequence[NDArray[np.int64]]) -> _Owned:
    """Return the owner of a connection: both circuits if each has a kernel in it, even a different one."""
    owner = int(np.bitwise_or.reduce(owners[one.target[0]][list(one.members)]))
    values = {name: getattr(one, name) for name in Connection.__dataclass_fields__}
    return _Owned(**values, owner=owner)


def _figure(result: Result, connections: Connections, owners: Sequence[NDArray[np.int64]], pair: Pair) -> Figure:
    headings = {IMAGE[0]: ["image"]}
    for place, (layer, mine) in enumerate(zip(result.summary.layers, owners, strict=True)):
        counts = Counter(mine.tolist())
        path = [shorten(layer.path, 22)] if layer.path != layer.name else []
        alone = f"{counts[FIRST]:,} only {letter(pair.first)}, {counts[SECOND]:,} only {letter(pair.second)}"
        headings[place] = [shorten(layer.name, 20), *path, f"{counts[BOTH]:,} in both", alone]
    widths = {place: heading_width(lines) for place, lines in headings.items()}
    return Figure(result, connections, arrange(connections.strongest, targets(result), widths), headings)


def _style(names: Sequence[str], both: Overlay) -> Style:
    """Edges and rims in the colours of those who have them."""
    whose = {FIRST: f"only in {names[0]}", SECOND: f"only in {names[1]}", BOTH: "in both"}

    def edge(one: Connection) -> Look:
        owner = one.owner if isinstance(one, _Owned) else BOTH
        counts = Counter(both.owners[one.target[0]][list(one.members)].tolist())
        note = whose[owner] if len(counts) == 1 else ", ".join(f"{counts[count]:,} {whose[count]}" for count in counts)
        return Look(_WORDS[owner], COLOURS[owner], _DASHES[owner], note, _LEAST[owner])

    def rim(channel: Channel) -> tuple[str, float]:
        owner = both.rims.get(channel, BOTH)
        return COLOURS[owner], 1.0 if owner == BOTH else 2.0

    return Style(edge, rim)


def _claim(comparison: Comparison, pair: Pair) -> str:
    total = pair.overlap.total
    noun = f"{comparison.noun}s"
    parts = [f"{total.shared:,} of {total.union:,} {noun} are in both"]
    if total.iou is not None:
        chance = "" if total.expected_iou is None else f", {percent(total.expected_iou)} by chance"
        parts[0] += f" ({percent(total.iou)}{chance})"
    parts.append(
        f"{total.only_first:,} only in {letter(pair.first)}, {total.only_second:,} only in {letter(pair.second)}"
    )
    if pair.agreement and "pearson" in pair.agreement.metrics:
        where = "held-out" if pair.agreement.held_out else "in-sample"
        parts.append(f"maps alike by pearson {pair.agreement.metrics['pearson']:.2f} {where}")
    return " · ".join(parts)


def _drawn(connections: Connections, owners: Sequence[NDArray[np.int64]]) -> list[str]:
    """Say how the drawing differs from what was kept."""
    if not connections.effective:
        return ["No kernel is effective: neither circuit is connected to the image."]
    if connections.left_out:
        kept = f"{connections.effective - connections.left_out:,} of {connections.effective:,} effective kernels"
        return [f"Drawn: {len(connections.strongest):,} edges of the strongest paths, with {kept} of either circuit."]
    alone = [int(sum((mine & owner).astype(bool).sum() for mine in owners)) for owner in (FIRST, SECOND)]
    silent = [word for word, number in zip(("first", "second"), alone, strict=True) if not number]
    return [f"The {silent[0]} circuit has collapsed: none of its kernels is connected."] if silent else []


def _add_legend(parent: Element, names: Sequence[str]) -> None:
    x = 0.0
    words = {BOTH: "in both", FIRST: f"only {names[0]}", SECOND: f"only {names[1]}"}
    for owner, word in words.items():
        line = add(parent, "line", x1=x, x2=x + 34, y1=0.0, y2=0.0, stroke=COLOURS[owner], stroke_width=3.5)
        if dashes := _DASHES[owner]:
            line.set("stroke-dasharray", " ".join(number(dash + 3.5) for dash in dashes))
        text(parent, word, x + 41, 4, SMALL, FAINT)
        x += 41 + text_width(word, SMALL) + 22
    text(parent, "the wider, the more influence", x, 4, SMALL, FAINT)


def overlays(comparison: Comparison, circuits: Sequence[Result]) -> dict[str, bytes]:
    """Draw the pairs that a report shows, by file name: the first circuit with each of the next."""
    return {
        name: overlay(comparison, pair, circuits[pair.first], circuits[pair.second])
        for name, pair in diagram_names(comparison, "svg").items()
    }
