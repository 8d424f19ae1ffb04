"""Two circuits as one page to explore: what both have, and what either has alone, each to be shown or hidden."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import msgspec

from circuitlang.base.diagnostics import InputError
from circuitlang.reporting.diagram.diagram_names import diagram_names
from circuitlang.reporting.diagram.interactive import page
from circuitlang.reporting.diagram.overlay import BOTH, FIRST, SECOND, Overlay, merge
from circuitlang.reporting.diagram.page_data import Edge, Layer, Node, order, page_data
from circuitlang.reporting.diagram.svg import clean
from circuitlang.results.comparison import Pair, letter
from circuitlang.results.connections import IMAGE, Channel
from circuitlang.results.outputs import ComparisonResult
from circuitlang.results.reader import read_file

_WORDS = {BOTH: "both", FIRST: "first", SECOND: "second"}
_DATA = re.compile(r'<script type="application/json" id="data">([^<]*)</script>')
_IMAGE = re.compile(r"data:image/(?:png|jpeg|webp);base64,[A-Za-z0-9+/]+={0,2}")


class _Face(msgspec.Struct, rename="camel"):
    """The image of a channel on the page of its circuit."""

    layer: int
    number: str = ""
    thumb: str = ""
    is_filter: bool = False


class _Faces(msgspec.Struct):
    """As much of the data of a circuit's page as has images of channels."""

    layers: list[Layer]
    nodes: list[_Face]


# Images of channels by the layer's path and the channel.
Faces = Mapping[tuple[str, int], _Face]


def compared_pages(result: ComparisonResult) -> dict[str, bytes]:
    """Return the pages of the pairs that a report shows, by file name."""
    comparison = result.comparison
    faces = [_faces(folder) for folder in result.folders] or [{} for _ in result.circuits]
    pages = {}
    for name, pair in diagram_names(comparison, "html").items():
        both = merge(comparison, pair, *(result.circuits[index] for index in (pair.first, pair.second)))
        shown = {**faces[pair.second], **faces[pair.first]}
        links = [("report.html", "report of the comparison")]
        if result.beside:
            for index in (pair.first, pair.second):
                links.append((f"../{quote(result.beside[index])}/diagram.html", f"circuit {letter(index)}"))
            links.append(("../index.html", "all circuits"))
        pages[name] = _page(pair, both, shown, links).encode()
    return pages


def _page(pair: Pair, both: Overlay, faces: Faces, links: Sequence[tuple[str, str]]) -> str:
    drawn = both.figure
    data = page_data(drawn)
    total = Counter(owner for mine in both.owners for owner in mine.tolist())
    nouns = {BOTH: "in both", FIRST: f"only {letter(pair.first)}", SECOND: f"only {letter(pair.second)}"}
    channels = order(drawn)
    return page(
        msgspec.structs.replace(
            data,
            target=clean(both.title),
            edit="",
            layers=[
                msgspec.structs.replace(layer, note=clean(f"{lines[-2]}, {lines[-1]}"))
                for layer, lines in ((layer, drawn.headings[place]) for place, layer in enumerate(data.layers))
            ],
            nodes=[_node(node, channel, both, faces) for node, channel in zip(data.nodes, channels, strict=True)],
            edges=[_edge(edge, number, both, nouns) for number, edge in enumerate(data.edges)],
        ),
        links=links,
        title=clean(f"{letter(pair.first)} {both.names[0]} and {letter(pair.second)} {both.names[1]}"),
        notes=[clean(note) for note in both.notes],
        description=clean(both.description),
        owners={_WORDS[owner]: f"{words} ({total[owner]:,})" for owner, words in nouns.items()},
    )


def _node(node: Node, channel: Channel, both: Overlay, faces: Faces) -> Node:
    owner = both.rims.get(channel, BOTH)
    if channel == IMAGE:
        return msgspec.structs.replace(node, owner=_WORDS[owner])
    layer = both.figure.result.summary.layers[channel[0]]
    face = faces.get((layer.path, channel[1]))
    counts = both.counts(channel)
    text = [f"{counts[one]:,} {words}" for one, words in both.words.items() if counts[one]]
    image = {"thumb": face.thumb, "is_filter": face.is_filter} if face else {}
    return msgspec.structs.replace(node, owner=_WORDS[owner], text=[f"kernels: {', '.join(text)}"], **image)


def _edge(edge: Edge, number: int, both: Overlay, nouns: Mapping[int, str]) -> Edge:
    one = both.owned[number]
    counts = Counter(both.owners[one.target[0]][list(one.members)].tolist())
    note = ", ".join(f"{counts[owner]:,} {words}" for owner, words in nouns.items() if counts[owner])
    return msgspec.structs.replace(edge, owner=_WORDS[one.owner], text=[*edge.text, f"kernels: {note}"])


def _faces(folder: Path) -> Faces:
    """Read the images of channels from the page of a finished circuit; none where there is no page."""
    with suppress(InputError, ValueError):
        match = _DATA.search(read_file(folder, "diagram.html").decode())
        if match is None:
            return {}
        data = msgspec.json.decode(match[1], type=_Faces)
        paths = [layer.path or layer.name for layer in data.layers]
        return {
            (paths[node.layer], int(node.number)): node
            for node in data.nodes
            if 0 <= node.layer < len(paths) and _IMAGE.fullmatch(node.thumb)
        }
    return {}
