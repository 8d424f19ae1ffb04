"""The drawing that the static and the interactive diagram share: columns with headings, edges, nodes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from circuitlang.reporting.diagram import captions
from circuitlang.reporting.diagram.layout import Column, Layout, Node, Route, arrange
from circuitlang.reporting.diagram.svg import add, number, text_width
from circuitlang.reporting.diagram.thumbnails import embed, enlarge, filter_image
from circuitlang.results.connections import IMAGE, Channel, Connection, Connections
from circuitlang.results.labelling import place
from circuitlang.results.stability import is_unstable
from circuitlang.results.types import Result

_ARC = 18.0  # how far a connection that turns back reaches beyond its column, in pixels
# Told apart with every common colour blindness, and equally dark, so that neither looks stronger.
EXCITATORY, INHIBITORY, NEUTRAL = "#d95f0e", "#2166ac", "#8b929c"
INK, FAINT, LINE, DISC, PAPER = "#1b1f24", "#667080", "#ccd2da", "#e9edf2", "#ffffff"
NAME, SMALL = 13.0, 11.0  # sizes of type
_UNSTABLE = (1.5, 2.5)  # dashes and gaps of edges that few circuits of other images have
_COLOURS = {1: ("excitatory", EXCITATORY), -1: ("inhibitory", INHIBITORY), 0: ("neutral", NEUTRAL)}


@dataclass(frozen=True)
class Look:
    """The look of edges: their word, colour and dashes, what is said of one besides, and the least width and opacity
    at which the dashes are seen."""

    word: str
    colour: str
    dashes: tuple[float, float] | None = None
    note: str = ""
    least: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Style:
    """The styles that tell edges apart, and the rims of the channels: their colour and width."""

    edge: Callable[[Connection], Look]
    rim: Callable[[Channel], tuple[str, float]] = lambda _: (LINE, 1.0)


@dataclass(frozen=True)
class Figure:
    """A laid out circuit: `head` is the height of its columns' headings."""

    result: Result
    connections: Connections
    layout: Layout
    headings: Mapping[int, Sequence[str]]

    @property
    def head(self) -> float:
        return 15.0 * max(len(self.headings[column.layer]) for column in self.layout.columns)


def figure(result: Result, connections: Connections) -> Figure:
    """Lay out the figure of some connections."""
    layers = result.summary.layers
    headings = {IMAGE[0]: ["image"], **{place: captions.heading(layer) for place, layer in enumerate(layers)}}
    widths = {place: heading_width(lines) for place, lines in headings.items()}
    return Figure(result, connections, arrange(connections.strongest, targets(result), widths), headings)


def add_headings(parent: Element, drawn: Figure) -> None:
    """Add the names and counts of the layers, the first lines at height 0."""
    _add_headings(parent, drawn.layout.columns, drawn.headings)


def by_sign(result: Result) -> Style:
    """Return the style by sign: kernels excite or inhibit; shortcuts have long dashes, unstable edges short ones."""

    def edge(one: Connection) -> Look:
        dashes = _UNSTABLE if is_unstable(one, result.summary.layers) else (6.0, 3.0) if one.shortcut else None
        return Look(*_COLOURS[one.sign], dashes)

    return Style(edge)


def add_drawing(parent: Element, drawn: Figure, style: Style | None = None) -> None:
    """Edges and, on top of them, nodes; each has the channels' names, their numbers in the layout and a title.

    Without a style, edges are drawn by sign.
    """
    style = style or by_sign(drawn.result)
    _add_edges(parent, drawn, style)
    _add_sums(parent, drawn)
    _add_nodes(parent, drawn.layout, drawn.result, style)


def targets(result: Result) -> set[Channel]:
    """Return the channels that carry the feature."""
    wire = result.circuit.target
    return set(zip(wire.origin.tolist(), wire.channel.tolist(), strict=True))


def heading_width(lines: Sequence[str]) -> float:
    """About how wide what stands above a column is."""
    return max(text_width(lines[0], NAME + 1), *(text_width(line, SMALL) for line in lines))


def _add_headings(parent: Element, columns: Sequence[Column], headings: Mapping[int, Sequence[str]]) -> None:
    for column in columns:
        middle = (column.left + column.right) / 2
        name, *details = headings[column.layer]
        text(parent, name, middle, 0, NAME, bold=True, anchor="middle")
        for line, detail in enumerate(details, start=1):
            text(parent, detail, middle, 15 * line, SMALL, FAINT, anchor="middle").set("class", "circuit-detail")


def _add_edges(parent: Element, drawn: Figure, style: Style) -> None:
    """Weak edges first, strong ones on top of them."""
    group = add(parent, "g", fill="none", stroke_linejoin="round")
    layers, effective, pen = drawn.result.summary.layers, drawn.connections.effective, Pen(drawn.connections.strongest)
    for one in sorted(drawn.connections.strongest, key=lambda one: one.influence):
        look = style.edge(one)
        width, opacity = map(max, pen(one.influence), look.least)
        path = add(
            group,
            "path",
            class_=f"circuit-edge {look.word}",
            data_from=captions.channel_name(one.source, layers),
            data_to=captions.channel_name(one.target, layers),
            d=_curve(drawn.layout.routes[one.source, one.target]),
            stroke=look.colour,
            stroke_width=width,
            stroke_opacity=opacity,
        )
        if look.dashes:
            path.set("stroke-dasharray", " ".join(number(dash + width) for dash in look.dashes))
        add(path, "title", captions.edge_tooltip(one, layers, effective) + (f"\n{look.note}" if look.note else ""))


def sign(one: Connection) -> str:
    """Return the word for an edge's sign."""
    return _COLOURS[one.sign][0]


class Pen:
    """The width and opacity of edges: thinner and fainter in a crowd, and by a root of the influence.

    Influence spans decades; the root, between the square and the fifth, is such that an edge of middling influence is
    seen beside the strongest.
    """

    def __init__(self, drawn: Sequence[Connection]) -> None:
        influences = sorted(one.influence for one in drawn) or [0.0]
        self.strongest, middle = influences[-1], influences[len(influences) // 2]
        power = math.log(0.4) / math.log(middle / self.strongest) if 0 < middle < self.strongest else 0.5
        self.power = min(max(power, 0.2), 0.5)
        self.crowd = min(max(len(drawn), 20) / 20, 25) ** 0.25  # 1 to about 2.2

    def __call__(self, influence: float) -> tuple[float, float]:
        """Return the width in pixels, and the opacity."""
        share = (influence / self.strongest) ** self.power if self.strongest > 0 else 1.0
        return 0.5 + share * 6.5 / self.crowd, 0.9 * share + (1 - share) * 0.4 / self.crowd


def _curve(route: Route) -> str:
    (x, y), (end, level) = route[0]
    steps = [f"M{number(x)} {number(y)}L{number(end)} {number(level)}"]
    ahead = 1
    for (start, y), (next_end, next_level) in route[1:]:
        # Pieces of a connection that leads back run to the left; where it turns, the curve is an arc.
        turned, ahead = ahead, 1 if start <= next_end else -1
        bend = abs(start - end) / 2 or _ARC
        points = (end + turned * bend, level, start - ahead * bend, y, start, y)
        steps.append("C" + " ".join(map(number, points)))
        end, level = next_end, next_level
        steps.append(f"L{number(end)} {number(level)}")
    return "".join(steps)


def _add_sums(parent: Element, drawn: Figure) -> None:
    """Add a plus in front of every channel that reads a sum."""
    reading: dict[Channel, int] = {}
    for one in drawn.connections.strongest:
        if len(one.summands) > 1:
            reading[one.target] = max(reading.get(one.target, 0), len(one.summands))
    group = add(parent, "g", class_="circuit-sums", stroke=FAINT, stroke_width=1.2)
    for channel in sorted(reading):
        node = drawn.layout.nodes[channel]
        size = min(max(0.09 * node.size, 3.2), 6.0)
        arm, negative = number(0.55 * size), number(-0.55 * size)
        place = translation(node.x - node.size / 2 - size - 3, node.y)
        name = captions.channel_name(channel, drawn.result.summary.layers)
        mark = add(group, "g", class_="circuit-sum", data_channel=name, transform=place)
        add(mark, "title", f"{name} reads sums of channels")
        add(mark, "circle", r=size, fill=PAPER)
        add(mark, "path", d=f"M{negative} 0H{arm}M0 {negative}V{arm}")


def _add_nodes(parent: Element, layout: Layout, result: Result, style: Style) -> None:
    layers, aims, tooltips = result.summary.layers, targets(result), captions.node_tooltips(result)
    for channel, node in layout.nodes.items():
        name = captions.channel_name(channel, layers)
        kind = "circuit-node circuit-target" if channel in aims else "circuit-node"
        group = add(parent, "g", class_=kind, data_channel=name, transform=translation(node.x, node.y))
        add(group, "title", tooltips.get(channel, name))
        _add_thumbnail(group, channel, node, result, (INK, 2.5) if channel in aims else style.rim(channel))
        if channel != IMAGE:
            size = min(max(0.22 * node.size, 9.0), 11.0)
            size = NAME if channel in aims else size
            label = text(
                group,
                str(channel[1]),
                0,
                node.size / 2 + size,
                size,
                INK,
                bold=channel in aims,
                anchor="middle",
            )
            # A halo keeps a number legible where an edge passes below it.
            label.set("data-label", place(result.summary, layers[channel[0]].path, channel[1]))
            label.attrib |= {"paint-order": "stroke", "stroke": PAPER, "stroke-width": "2.5"}


def _add_thumbnail(parent: Element, channel: Channel, node: Node, result: Result, rim: tuple[str, float]) -> None:
    """Add the filter of a channel that reads the image, else what was made to excite it if that was asked for, its
    exemplar, or a disc."""
    if channel == IMAGE:
        _add_image_icon(parent, node.size)
        return
    layer, size = channel[0], round(2 * node.size)
    pixels = filter_image(result.circuit.kernels[layer], result.circuit.wires[layer], channel[1])
    if pixels is not None:
        source = embed(enlarge(pixels, size), 4 * size)
    elif result.visualisations and not result.visualisations.budget and channel in result.visualisations.channels:
        source = embed(result.visualisations.channels[channel][0], size)
    elif channel in result.exemplars:
        source = embed(result.exemplars[channel], size)
    else:
        add(parent, "circle", class_="circuit-rim", r=node.size / 2, fill=DISC, stroke=rim[0], stroke_width=rim[1])
        return
    half = node.size / 2
    _frame(parent, node.size + 3, PAPER, "none", 0)
    picture = add(parent, "image", x=-half, y=-half, width=node.size, height=node.size)
    picture.attrib |= {"xlink:href": source, "clip-path": "url(#circuit-rounded)"}
    _frame(parent, node.size, "none", *rim)


def _add_image_icon(parent: Element, size: float) -> None:
    """Add a landscape, two hills and a sun, as a sign for the image."""
    step = size / 20
    _frame(parent, size, "#f6f8fa", LINE, 1.5)
    add(parent, "circle", cx=-3.5 * step, cy=-3.5 * step, r=2 * step, fill="#c3cad4")
    hills = [(-8, 6), (-3, -1), (0, 2.5), (3.5, -2.5), (8, 6)]
    points = " ".join(f"{number(x * step)},{number(y * step)}" for x, y in hills)
    add(parent, "polygon", points=points, fill="#a9b3c0", stroke="#a9b3c0", stroke_linejoin="round")


def _frame(parent: Element, size: float, fill: str, stroke: str, width: float) -> None:
    kind = "circuit-paper" if stroke == "none" else "circuit-rim"
    add(parent, "rect", class_=kind, x=-size / 2, y=-size / 2, width=size, height=size, rx=0.12 * size).attrib |= {
        "fill": fill,
        "stroke": stroke,
        "stroke-width": number(width),
    }


def rounded_clip(svg: Element) -> None:
    """Define the clip path that rounds the corners of images."""
    # In shares of the image, so that one clip serves all; equal in all diagrams, so that pages may hold several.
    clip = add(add(svg, "defs"), "clipPath", id="circuit-rounded", clipPathUnits="objectBoundingBox")
    add(clip, "rect", width=1.0, height=1.0, rx=0.12)


def text(
    parent: Element,
    words: str,
    x: float,
    y: float,
    size: float,
    colour: str = INK,
    *,
    bold: bool = False,
    anchor: str = "start",
) -> Element:
    """Add a line of text."""
    element = add(parent, "text", words, x=x, y=y, font_size=size, fill=colour)
    element.attrib |= ({"font-weight": "600"} if bold else {}) | ({"text-anchor": anchor} if anchor != "start" else {})
    return element


def translation(x: float, y: float) -> str:
    """Return the attribute that moves a group."""
    return f"translate({number(x)} {number(y)})"


def drawn_width(svg: str) -> float:
    """Return the width of a drawing in pixels."""
    match = re.search(r'<svg[^>]* width="([\d.]+)"', svg)
    return float(match[1]) if match else 0.0
