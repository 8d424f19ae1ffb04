"""The diagram as a page: the same drawing, with what its script needs to answer questions about it."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, tostring

import jinja2
import msgspec
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from circuitlang.reporting.diagram import captions
from circuitlang.reporting.diagram.edges import IMAGE, Channel, Connection, connections
from circuitlang.reporting.diagram.figure import (
    MOST,
    Figure,
    add_drawing,
    add_headings,
    figure,
    rounded_clip,
    sign,
    targets,
    translation,
)
from circuitlang.reporting.diagram.sprites import map_sheet, photograph, photograph_sheet, side
from circuitlang.reporting.diagram.svg import add, canvas, clean, shorten
from circuitlang.reporting.diagram.thumbnails import filter_image
from circuitlang.results.types import ActivationMaps, KeptKernels, Result

MARGIN = 16.0
# Weights of one edge that are shown; a linear layer may have thousands between two channels.
_WEIGHTS = 576
_FOLDER = Path(__file__).with_name("page")


def interactive(result: Result) -> str:
    """Return the page, self-contained: nothing in it is fetched, and nothing of the result can be run."""
    shown = connections(result.circuit, MOST)
    drawn = figure(result, shown)
    scenes, visualisations = result.activation_maps, result.visualisations
    script, style = (_read(f"page.{ending}") for ending in ("js", "css"))
    names = [captions.channel_name(channel, result.summary.layers) for channel in _order(drawn) if channel != IMAGE]
    return _template().render(
        title=clean(captions.title(result)),
        notes=[
            clean(note) for note in captions.subtitle(result, shown, {column.layer for column in drawn.layout.columns})
        ],
        edges=len(shown.strongest),
        steps=1 + shown.strongest[-1].step if shown.strongest else 0,
        example=clean(names[-1]) if names else "",
        names=[clean(name) for name in names],
        sums=any(len(one.summands) > 1 for one in shown.strongest),
        scenes=[
            {"name": clean(name), "source": photograph(picture)}
            for name, picture in zip(scenes.names, scenes.pictures, strict=True)
        ]
        if scenes
        else [],
        vision=visualisations is not None,
        visualised=_visualised(result),
        drawing=Markup(_drawing(drawn)),  # ElementTree has escaped it
        data=Markup(_data(drawn)),
        script=Markup(script),
        style=Markup(style),
        script_hash=_hash(script),
        style_hash=_hash(style),
    )


def _visualised(result: Result) -> str:
    """Return what has been visualised: every channel (`all`), the feature alone (`feature`), or nothing (`none`)."""
    if result.visualisations is None:
        return "none"
    return "all" if result.visualisations.channels or not result.summary.effective else "feature"


def _order(drawn: Figure) -> list[Channel]:
    """Return the drawn channels column by column, from the top."""
    nodes = drawn.layout.nodes
    return sorted(nodes, key=lambda channel: (channel[0], nodes[channel].y, nodes[channel].x))


def _drawing(drawn: Figure) -> str:
    """Return the SVG; nodes are named n0, n1, ... in the order of `_order`, edges e0, e1, ... in that of drawing."""
    layout, layers = drawn.layout, drawn.result.summary.layers
    head = drawn.head + 24
    words = captions.description(drawn.result, drawn.found.strongest)
    svg = canvas(layout.width + 2 * MARGIN, head + layout.height + MARGIN, captions.title(drawn.result), words)
    svg.attrib |= {"id": "drawing", "role": "group", "aria-label": clean(words)}
    for child in list(svg):
        svg.remove(child)  # title and desc: a browser would show them as a tooltip of everything
    rounded_clip(svg)
    add_headings(add(svg, "g", transform=translation(MARGIN, 18)), drawn)
    body = add(svg, "g", transform=translation(MARGIN, head))
    add_drawing(body, drawn)
    order = {captions.channel_name(channel, layers): number for number, channel in enumerate(_order(drawn))}
    order = {clean(name): number for name, number in order.items()}
    numbers = {
        (captions.channel_name(one.source, layers), captions.channel_name(one.target, layers)): number
        for number, one in enumerate(drawn.found.strongest)
    }
    numbers = {(clean(source), clean(target)): number for (source, target), number in numbers.items()}
    for element in body.iter("path"):
        if "circuit-edge" in element.get("class", ""):
            _unnamed(element, f"e{numbers[element.attrib['data-from'], element.attrib['data-to']]}")
            element.set("tabindex", "-1")
    for element in body.iter("g"):
        kind = element.get("class", "").split(" ")[0]
        if kind == "circuit-node":
            name = element.attrib["data-channel"]
            _unnamed(element, f"n{order[name]}")
            element.attrib |= {"tabindex": "-1", "role": "button", "aria-label": name, "aria-pressed": "false"}
        elif kind == "circuit-sum":
            element.set("data-node", str(order[element.attrib["data-channel"]]))
            _unnamed(element, "")
    return tostring(svg, encoding="unicode")


def _unnamed(element: Element, name: str) -> None:
    """Return an element without a tooltip: the page describes it on a card."""
    for title in element.findall("title"):
        element.remove(title)
    if name:
        element.set("id", name)


def _data(drawn: Figure) -> str:
    result, layers = drawn.result, drawn.result.summary.layers
    order = _order(drawn)
    place = {channel: number for number, channel in enumerate(order)}
    aims, tooltips = targets(result), captions.node_tooltips(result)
    scenes, visualisations = result.activation_maps, result.visualisations
    largest = side(scenes.maps) if scenes else 0
    nodes: list[dict[str, Any]] = []
    for channel in order:
        name = captions.channel_name(channel, layers)
        node: dict[str, Any] = {
            "name": clean(name),
            "layer": channel[0],
            "size": round(drawn.layout.nodes[channel].size, 2),
            "text": clean(tooltips.get(channel, name)).split("\n"),
            "isImage": channel == IMAGE,
            "isTarget": channel in aims,
            "isFilter": channel != IMAGE and _is_filter(result, channel),
        }
        if scenes and channel in scenes.maps:
            node["maps"] = map_sheet(scenes.maps[channel], largest)
            node["scale"] = f"full colour is ±{scenes.scales[channel]:.3g}, white\u00a0is\u00a00"
        # Nothing that is made says more of a filter than the filter.
        if visualisations and channel in visualisations.channels and not node["isFilter"]:
            node["vision"] = photograph_sheet(visualisations.channels[channel])
        elif visualisations and aims == {channel}:
            node["vision"] = photograph_sheet(visualisations.target)
        nodes.append(node)
    data = {
        "target": clean(shorten(str(result.summary.plan.target), 40)),
        "nodes": nodes,
        "edges": _edges(drawn, place),
        "scenes": _scenes(scenes, largest) if scenes else None,
        "vision": photograph_sheet(visualisations.target) if visualisations else None,
    }
    text = msgspec.json.encode(data).decode()
    # So that no name can end the element that the data is in, or begin another.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _is_filter(result: Result, channel: Channel) -> bool:
    layer, number = channel
    return filter_image(result.circuit.kernels[layer], result.circuit.wires[layer], number) is not None


def _scenes(scenes: ActivationMaps, largest: int) -> dict[str, Any]:
    return {
        "names": [clean(name) for name in scenes.names],
        "sources": [photograph(picture) for picture in scenes.pictures],
        "feature": map_sheet(scenes.feature, largest),
        "notes": [
            f"{_alike(value, maps)}; full colour is ±{scenes.scale:.3g}, white\u00a0is\u00a00"
            for value, maps in zip(scenes.similarity.tolist(), scenes.values(), strict=True)
        ],
    }


def _alike(correlation: float, maps: NDArray[np.float64]) -> str:
    """Correlate the feature's two maps [2, h, w] of an image."""
    network, circuit = maps.reshape(2, -1)
    if len(network) == 1:
        return f"{network[0]:.2g} in the network, {circuit[0]:.2g} in the circuit"
    if not np.isfinite(correlation):
        return "no correlation: one of the two is flat"
    return f"correlation of the two {correlation:.2f}"


def _edges(drawn: Figure, place: dict[Channel, int]) -> list[dict[str, Any]]:
    """Return the connections in the order of drawing; `shown` counts the kernels of all up to each."""
    result, seen = drawn.result, set[tuple[int, int]]()
    edges = []
    for one in drawn.found.strongest:
        layer = one.target[0]
        seen.update((layer, member) for member in one.members)
        text = captions.edge_tooltip(one, result.summary.layers, drawn.found.effective)
        weights, scale = _weights(result.circuit.kernels[layer], one)
        edges.append(
            {
                "from": place[one.source],
                "to": place[one.target],
                "sign": sign(one),
                "step": one.step,
                "carries": one.influence,
                "influence": captions.percent(one.influence),
                "score": f"{one.score:.3g}",
                "text": clean(text).split("\n"),
                "shape": list(weights.shape),
                "weights": base64.b64encode(weights.tobytes()).decode("ascii"),
                "largest": f"full colour is ±{scale:.3g}" + _cut_note(one, len(weights)),
                "shown": len(seen),
            }
        )
    return edges


def _cut_note(one: Connection, many: int) -> str:
    return f"; the strongest {many:,} of {one.kernels:,} kernels" if many < one.kernels else ""


def _weights(kernels: KeptKernels, one: Connection) -> tuple[NDArray[np.int8], float]:
    """Return the weights of a connection's kernels [n, h, w] as shares of the largest, in 127ths, and the largest.

    Kernels are in order of their input channel, which behind a flatten is that of positions.
    """
    height, width = one.size
    most = max(1, _WEIGHTS // (height * width))
    # Members are in order of strength.
    members = np.array(one.members[:most])
    members = members[np.argsort(kernels.source[members], kind="stable")]
    weights = np.nan_to_num(kernels.weight[members].astype(np.float64))
    largest = float(np.abs(weights).max(initial=0.0))
    shares = weights / largest if largest > 0 else weights
    return np.rint(127 * shares).astype(np.int8), largest


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(_read("page.html"))


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the hash by which a content security policy allows an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
