"""The circuit as a picture: a static SVG that needs nothing else, for a paper or a README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element

from circuitlang.engine.result import Layer, Result
from circuitlang.output.contracts import output_format
from circuitlang.output.drawing import captions
from circuitlang.output.drawing.connections import IMAGE, Channel, Connection, connections
from circuitlang.output.drawing.layout import Column, Layout, Node, Route, arrange
from circuitlang.output.drawing.pictures import embed, enlarge, filter_picture
from circuitlang.output.drawing.svg import add, canvas, number, text_width, write

MOST = 2000  # edges; beyond, a drawing says less, not more
# Told apart with every common colour blindness, and equally dark, so that neither looks stronger.
EXCITATORY, INHIBITORY, NEUTRAL = "#d95f0e", "#2166ac", "#8b929c"
INK, FAINT, LINE, DISC = "#1b1f24", "#667080", "#ccd2da", "#e9edf2"
MARGIN = 28.0
NARROWEST = 680.0  # room for the legend
TITLE, NOTE, NAME, SMALL = 19.0, 12.5, 13.0, 11.0  # sizes of type


@output_format
def diagram(result: Result) -> dict[str, bytes]:
    """The effective circuit as `diagram.svg`: layers from left to right, channels as nodes, kernels as edges.

    Width says how strong a kernel is, colour whether it excites or inhibits. Of more than 2,000 edges the
    strongest are drawn.
    """
    layers = result.summary.layers
    found = connections(result.circuit, MOST)
    drawn = found.strongest
    headings = {IMAGE[0]: ["image"], **{place: captions.heading(layer) for place, layer in enumerate(layers)}}
    layout = arrange(drawn, _targets(result), {place: _heading_width(lines) for place, lines in headings.items()})
    notes = captions.subtitle(result, found, {column.layer for column in layout.columns})
    title = captions.title(result)

    width = max(NARROWEST, layout.width, text_width(title, TITLE), *(text_width(note, NOTE) for note in notes))
    header = MARGIN + 36 + 18 * len(notes) + 26
    body = header + 15 * max(len(headings[column.layer]) for column in layout.columns) + 14
    legend = body + layout.height + 40
    svg = canvas(width + 2 * MARGIN, legend + MARGIN, title, captions.description(result, drawn))
    add(svg, "style", ".circuit-edge:hover{stroke-opacity:1}")
    _rounded_clip(svg)
    add(svg, "rect", width="100%", height="100%", rx=10.0, fill="#ffffff")
    _text(svg, title, MARGIN, MARGIN + 16, TITLE, bold=True)
    for line, note in enumerate(notes):
        _text(svg, note, MARGIN, MARGIN + 40 + 18 * line, NOTE, FAINT)
    shift = MARGIN + (width - layout.width) / 2
    _add_headings(add(svg, "g", transform=_translation(shift, header)), layout.columns, headings)
    drawing = add(svg, "g", transform=_translation(shift, body))
    _add_edges(drawing, layout, drawn, found.effective, layers)
    _add_nodes(drawing, layout, result)
    if drawn:
        _add_legend(add(svg, "g", transform=_translation(MARGIN, legend)), drawn)
    return {"diagram.svg": write(svg)}


def _targets(result: Result) -> set[Channel]:
    """The channels that carry the feature."""
    wire = result.circuit.target
    return set(zip(wire.origin.tolist(), wire.channel.tolist(), strict=True))


def _heading_width(lines: Sequence[str]) -> float:
    return max(text_width(lines[0], NAME + 1), *(text_width(line, SMALL) for line in lines))


def _add_headings(parent: Element, columns: Sequence[Column], headings: Mapping[int, Sequence[str]]) -> None:
    for column in columns:
        middle = (column.left + column.right) / 2
        name, *details = headings[column.layer]
        _text(parent, name, middle, 0, NAME, bold=True, anchor="middle")
        for line, detail in enumerate(details, start=1):
            _text(parent, detail, middle, 15 * line, SMALL, FAINT, anchor="middle")


def _add_edges(
    parent: Element, layout: Layout, drawn: Sequence[Connection], effective: int, layers: Sequence[Layer]
) -> None:
    """Weak edges first, strong ones on top of them."""
    group = add(parent, "g", fill="none", stroke_linejoin="round")
    strongest_of_all = drawn[0].strength if drawn else 0.0
    for one in reversed(drawn):
        width, opacity = _pen(one.strength, strongest_of_all, len(drawn))
        path = add(
            group,
            "path",
            class_=f"circuit-edge {_sign(one)}",
            data_from=captions.channel_name(one.source, layers),
            data_to=captions.channel_name(one.target, layers),
            d=_curve(layout.routes[one.source, one.target]),
            stroke={"excitatory": EXCITATORY, "inhibitory": INHIBITORY, "neutral": NEUTRAL}[_sign(one)],
            stroke_width=width,
            stroke_opacity=opacity,
        )
        add(path, "title", captions.edge_tooltip(one, layers, effective))


def _sign(one: Connection) -> str:
    return {1: "excitatory", -1: "inhibitory", 0: "neutral"}[one.sign]


def _pen(strength: float, strongest: float, count: int) -> tuple[float, float]:
    """Width and opacity: by the square root, as scores span decades; thinner and fainter in a crowd."""
    share = (strength / strongest) ** 0.5 if strongest > 0 else 1.0
    crowd = min(max(count, 20) / 20, 25) ** 0.25  # 1 to about 2.2
    return 0.5 + share * 6.5 / crowd, 0.9 * share + (1 - share) * 0.4 / crowd


def _curve(route: Route) -> str:
    (x, y), (right, level) = route[0]
    steps = [f"M{number(x)} {number(y)}L{number(right)} {number(level)}"]
    for (left, y), (next_right, next_level) in route[1:]:
        bend = (left - right) / 2
        points = (right + bend, level, left - bend, y, left, y)
        steps.append("C" + " ".join(map(number, points)))
        right, level = next_right, next_level
        steps.append(f"L{number(right)} {number(level)}")
    return "".join(steps)


def _add_nodes(parent: Element, layout: Layout, result: Result) -> None:
    layers, targets, tooltips = result.summary.layers, _targets(result), captions.node_tooltips(result)
    for channel, node in layout.nodes.items():
        name = captions.channel_name(channel, layers)
        group = add(parent, "g", class_="circuit-node", data_channel=name, transform=_translation(node.x, node.y))
        add(group, "title", tooltips.get(channel, name))
        _add_picture(group, channel, node, result, (INK, 2.5) if channel in targets else (LINE, 1.0))
        if channel != IMAGE:
            size = min(max(0.22 * node.size, 7.0), 11.0)
            size = NAME if channel in targets else size
            label = _text(
                group,
                str(channel[1]),
                0,
                node.size / 2 + size,
                size,
                INK,
                bold=channel in targets,
                anchor="middle",
            )
            # A halo keeps a number legible where an edge passes below it.
            label.attrib |= {"paint-order": "stroke", "stroke": "#ffffff", "stroke-width": "2.5"}


def _add_picture(parent: Element, channel: Channel, node: Node, result: Result, rim: tuple[str, float]) -> None:
    """The filter itself where a channel looks at the image, else what excites it most, else a disc."""
    if channel == IMAGE:
        _add_image_icon(parent, node.size)
        return
    layer, size = channel[0], round(2 * node.size)
    pixels = filter_picture(result.circuit.kernels[layer], result.circuit.wires[layer], channel[1])
    if pixels is not None:
        source = embed(enlarge(pixels, size), 4 * size)
    elif channel in result.exemplars:
        source = embed(result.exemplars[channel], size)
    else:
        add(parent, "circle", r=node.size / 2, fill=DISC, stroke=rim[0], stroke_width=rim[1])
        return
    half = node.size / 2
    _frame(parent, node.size + 3, "#ffffff", "none", 0)
    picture = add(parent, "image", x=-half, y=-half, width=node.size, height=node.size)
    picture.attrib |= {"xlink:href": source, "clip-path": "url(#circuit-rounded)"}
    _frame(parent, node.size, "none", *rim)


def _add_image_icon(parent: Element, size: float) -> None:
    """A landscape: two hills and a sun say "picture" in every language."""
    step = size / 20
    _frame(parent, size, "#f6f8fa", LINE, 1.5)
    add(parent, "circle", cx=-3.5 * step, cy=-3.5 * step, r=2 * step, fill="#c3cad4")
    hills = [(-8, 6), (-3, -1), (0, 2.5), (3.5, -2.5), (8, 6)]
    points = " ".join(f"{number(x * step)},{number(y * step)}" for x, y in hills)
    add(parent, "polygon", points=points, fill="#a9b3c0", stroke="#a9b3c0", stroke_linejoin="round")


def _add_legend(parent: Element, drawn: Sequence[Connection]) -> None:
    x = 0.0
    signs = [("excitatory", EXCITATORY), ("inhibitory", INHIBITORY)]
    if any(_sign(one) == "neutral" for one in drawn):
        signs.append(("zero sum", NEUTRAL))
    for word, colour in signs:
        x = _sample(parent, x, word, colour, 3.5) + 20
    _text(parent, "score, of the strongest:", x, 4, SMALL, FAINT)
    x += text_width("score, of the strongest:", SMALL) + 6
    for share in (0.01, 0.25, 1.0):
        width, _ = _pen(share, 1.0, len(drawn))
        x = _sample(parent, x, f"{share:.0%}", INK, width) + 12


def _sample(parent: Element, x: float, word: str, colour: str, width: float) -> float:
    """A line with its meaning; returns where it ends."""
    add(parent, "line", x1=x, x2=x + 26, y1=0.0, y2=0.0, stroke=colour, stroke_width=width)
    _text(parent, word, x + 33, 4, SMALL, FAINT)
    return x + 33 + text_width(word, SMALL)


def _frame(parent: Element, size: float, fill: str, stroke: str, width: float) -> None:
    add(parent, "rect", x=-size / 2, y=-size / 2, width=size, height=size, rx=0.12 * size).attrib |= {
        "fill": fill,
        "stroke": stroke,
        "stroke-width": number(width),
    }


def _rounded_clip(svg: Element) -> None:
    # By share of the picture, so that one clip serves all; equal in all diagrams, so pages may hold several.
    clip = add(add(svg, "defs"), "clipPath", id="circuit-rounded", clipPathUnits="objectBoundingBox")
    add(clip, "rect", width=1.0, height=1.0, rx=0.12)


def _text(
    parent: Element,
    text: str,
    x: float,
    y: float,
    size: float,
    colour: str = INK,
    *,
    bold: bool = False,
    anchor: str = "start",
) -> Element:
    element = add(parent, "text", text, x=x, y=y, font_size=size, fill=colour)
    element.attrib |= ({"font-weight": "600"} if bold else {}) | ({"text-anchor": anchor} if anchor != "start" else {})
    return element


def _translation(x: float, y: float) -> str:
    return f"translate({number(x)} {number(y)})"
