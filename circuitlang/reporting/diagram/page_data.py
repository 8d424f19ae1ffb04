"""The data of the page: channels, connections and images, as the script reads them."""

from __future__ import annotations

import base64
import re
from pathlib import PurePath

import msgspec
import numpy as np
from numpy.typing import NDArray

from circuitlang.reporting.diagram import captions
from circuitlang.reporting.diagram.figure import Figure, sign, targets
from circuitlang.reporting.diagram.sprites import map_sheet, photograph, photograph_sheet, side
from circuitlang.reporting.diagram.svg import clean, shorten
from circuitlang.reporting.diagram.thumbnails import embed, enlarge, filter_image
from circuitlang.results.connections import IMAGE, Channel, Connection, opening
from circuitlang.results.stability import is_unstable
from circuitlang.results.types import ActivationMaps, KeptKernels, Result

# Weights of one edge that are shown; a linear layer may have thousands between two channels.
_WEIGHTS = 576
_FILTER = 96  # pixels that a filter is enlarged to, so that its squares stay squares


class Layer(msgspec.Struct, frozen=True):
    """A layer's name, its path where that is another, and a note."""

    name: str
    path: str
    note: str


class Node(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A channel, its texts, and its images as data URIs.

    `alias` is its name by the layer's path, `peak` the value that full colour in its maps stands for. `vision` has so
    many `versions`: of the network, and of the circuit. Of two circuits, `owner` is the one that has it.
    """

    name: str
    number: str
    layer: int
    text: list[str]
    alias: str = ""
    is_image: bool = False
    is_target: bool = False
    is_filter: bool = False
    thumb: str = ""
    maps: str = ""
    scale: str = ""
    peak: float = 0.0
    vision: str = ""
    versions: int = 2
    owner: str = ""


class Edge(msgspec.Struct, frozen=True, omit_defaults=True):
    """A connection between nodes by number; `shown` counts the kernels of all connections up to it. Of two circuits,
    `owner` is the one that has it."""

    from_: int = msgspec.field(name="from")
    to: int
    sign: str
    step: int
    influence: float
    share: float
    text: list[str]
    shape: list[int]
    weights: str
    largest: str
    kernels: int
    shown: int
    sum: bool = False
    dashed: bool = False
    unstable: bool = False
    by_image: str = msgspec.field(default="", name="byImage")
    owner: str = ""


class Scenes(msgspec.Struct, frozen=True):
    """The images that can be looked at, and the feature's maps of them."""

    names: list[str]
    sources: list[str]
    feature: str
    notes: list[str]


class PageData(msgspec.Struct, frozen=True):
    """All that the script reads; `alone` is the fidelity of the paths of some settings of the slider, `spec` the name
    of the circuit's spec without its ending, empty where it is in no file. `edit` is the end of an edit of the network:
    its change, its images and its target, as the language writes them; empty where these are not one circuit's."""

    target: str
    network: str
    spec: str
    opening: int
    alone: dict[int, str]
    layers: list[Layer]
    nodes: list[Node]
    edges: list[Edge]
    scenes: Scenes | None
    vision: str | None
    edit: str


def order(drawn: Figure) -> list[Channel]:
    """Return the drawn channels column by column, from the top."""
    nodes = drawn.layout.nodes
    return sorted(nodes, key=lambda channel: (channel[0], nodes[channel].y, nodes[channel].x))


def page_data(drawn: Figure) -> PageData:
    """Collect what the page of a figure shows."""
    result, scenes, visualisations = drawn.result, drawn.result.activation_maps, drawn.result.visualisations
    channels = order(drawn)
    largest = side(scenes.maps) if scenes else 0
    tooltips = captions.node_tooltips(result)
    return PageData(
        target=clean(shorten(str(result.summary.plan.target), 40)),
        network=clean(str(result.summary.model)),
        spec=clean(_spec(result)),
        opening=opening(drawn.connections),
        alone={one.steps: captions.headline(one.metrics) for one in result.path_fidelity},
        layers=[
            Layer(clean(name), clean(path[0]) if layer.path != layer.name else "", clean(counts))
            for layer in result.summary.layers
            for name, *path, counts in [captions.heading(layer)[: 3 if layer.path != layer.name else 2]]
        ],
        nodes=[_node(result, channel, tooltips, largest) for channel in channels],
        edges=_edges(drawn, {channel: number for number, channel in enumerate(channels)}),
        scenes=_scenes(scenes, largest) if scenes else None,
        vision=photograph_sheet(visualisations.target) if visualisations else None,
        edit=clean(_edit(result)),
    )


def _edit(result: Result) -> str:
    """Return what follows the part in an edit of the circuit's network."""
    plan = result.summary.plan
    # A path with spaces is written in quotes, and so are layers that are numbers and the names of classes.
    path = " " in plan.images and not re.search(r"^\[| except | as ", plan.images)
    images = f'"{plan.images}"' if path else plan.images
    target = re.sub(r"(?<![\w.:])(\d[\w.]*):", r'"\1":', str(plan.target))
    target = re.sub(r"class\((?!\d+\))([^)\"]*)\)", r'class("\1")', target)
    return f"scale=0 on {images} measure {target}"


def _spec(result: Result) -> str:
    """Return the name of the spec that a circuit was asked for in, by the place of its statement."""
    file = PurePath(result.summary.plan.origin.get("circuit", "").rpartition(":")[0])
    return file.stem if file.suffix == ".circuit" else ""


def _node(result: Result, channel: Channel, tooltips: dict[Channel, str], largest: int) -> Node:
    layers, scenes, visualisations = result.summary.layers, result.activation_maps, result.visualisations
    name = captions.channel_name(channel, layers)
    if channel == IMAGE:
        return Node(name=name, number="", layer=-1, text=[], is_image=True)
    number, path = channel[1], layers[channel[0]].path
    pixels = filter_image(result.circuit.kernels[channel[0]], result.circuit.wires[channel[0]], number)
    thumb = vision = maps = scale = ""
    versions = 2
    if pixels is not None:
        thumb = embed(enlarge(pixels, _FILTER), 4 * _FILTER)
    elif channel in result.exemplars:
        thumb = photograph(result.exemplars[channel])
    aims = targets(result)
    # Nothing that is made says more of a filter than the filter.
    if visualisations and channel in visualisations.channels and pixels is None:
        vision, versions = photograph_sheet(visualisations.channels[channel]), len(visualisations.channels[channel])
    elif visualisations and aims == {channel}:
        vision = photograph_sheet(visualisations.target)
    if scenes and channel in scenes.maps:
        maps = map_sheet(scenes.maps[channel], largest)
        scale = f"full colour is ±{scenes.scales[channel]:.3g}, white\u00a0is\u00a00"
    return Node(
        name=clean(name),
        number=str(number),
        layer=channel[0],
        text=clean(tooltips.get(channel, name)).split("\n")[1:],
        alias=clean(f"{path}:{number}") if path != layers[channel[0]].name else "",
        is_target=channel in aims,
        is_filter=pixels is not None,
        thumb=thumb,
        maps=maps,
        scale=scale,
        peak=scenes.scales[channel] if scenes and channel in scenes.maps else 0.0,
        vision=vision,
        versions=versions,
    )


def _scenes(scenes: ActivationMaps, largest: int) -> Scenes:
    return Scenes(
        names=[clean(name) for name in scenes.names],
        sources=[photograph(picture) for picture in scenes.pictures],
        feature=map_sheet(scenes.feature, largest),
        notes=[
            f"{_alike(value, maps)}; full colour is ±{scenes.scale:.3g}, white\u00a0is\u00a00"
            for value, maps in zip(scenes.similarity.tolist(), scenes.values(), strict=True)
        ],
    )


def _alike(correlation: float, maps: NDArray[np.float64]) -> str:
    """Correlate the feature's two maps [2, h, w] of an image."""
    network, circuit = maps.reshape(2, -1)
    if len(network) == 1:
        return f"{network[0]:.2g} in the network, {circuit[0]:.2g} in the circuit"
    if not np.isfinite(correlation):
        return "no correlation: one of the two is flat"
    return f"correlation of the two {correlation:.2f}"


def _edges(drawn: Figure, place: dict[Channel, int]) -> list[Edge]:
    """Return the connections in the order of drawing."""
    result, seen = drawn.result, set[tuple[int, int]]()
    scenes, known = result.activation_maps, result.contributions
    single = scenes is not None and len(known) > 0 and known[0].shape[1] == len(scenes.names)
    edges = []
    for one in drawn.connections.strongest:
        layer = one.target[0]
        seen.update((layer, member) for member in one.members)
        text = captions.edge_tooltip(one, result.summary.layers, drawn.connections.effective)
        weights, scale = _weights(result.circuit.kernels[layer], one)
        edges.append(
            Edge(
                from_=place[one.source],
                to=place[one.target],
                sign=sign(one),
                step=one.step,
                # Six digits are more than anybody sees.
                influence=float(f"{one.influence:.6g}"),
                share=float(f"{one.share:.6g}"),
                text=clean(text).split("\n")[1:],
                shape=list(weights.shape),
                weights=base64.b64encode(weights.tobytes()).decode("ascii"),
                largest=f"full colour is ±{scale:.3g}" + _cut_note(one, len(weights)),
                kernels=one.kernels,
                shown=len(seen),
                sum=len(one.summands) > 1,
                dashed=one.shortcut,
                unstable=is_unstable(one, result.summary.layers),
                by_image=_packed(one) if single else "",
            )
        )
    return edges


def _packed(one: Connection) -> str:
    """Return share and influence in each image as 16 bits: square roots, so that a millionth is still seen."""
    roots = np.array(one.by_image, np.float64).ravel() ** 0.5
    return base64.b64encode(np.rint(65535 * roots).astype("<u2").tobytes()).decode("ascii")


def _cut_note(one: Connection, count: int) -> str:
    return f"; the strongest {count:,} of {one.kernels:,} kernels" if count < one.kernels else ""


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
