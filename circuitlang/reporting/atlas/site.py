"""Entries → the files of an atlas: an index with a map, and for each channel a page and the data of its drawings.

Every page works from a disk and from any web server: data comes as scripts, and all links are relative.
"""

from __future__ import annotations

import io
import json
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

from circuitlang.base.printable import lines
from circuitlang.plan.labels import Labels
from circuitlang.plan.model import digest, is_folder_name
from circuitlang.plugins.progress import TrackProgress, no_progress
from circuitlang.reporting.atlas.entries import AtlasEntry
from circuitlang.reporting.atlas.links import Links, links
from circuitlang.reporting.html.pages import asset, render

_ASSETS = Path(__file__).with_name("assets")
_VERDICTS = (
    "preserved", "partly preserved", "not preserved", "no better than a baseline", "worse than silence", "constant",
)  # fmt: skip
_LEGEND = ((4, "0.95 or more"), (3, "0.9"), (2, "0.7"), (1, "0.5"), (0, "less"))
# Channels that a page lists as its inputs.
_READ = 12
# Parts that would be shown as zero.
_LEAST = 0.0005
# Drawings have no more decimals than a screen shows.
_DIGITS = 3
# Squares in the image of a circuit.
_TILES = 4
# From the page of a channel to the root of the site.
_ROOT = "../../"
Node = tuple[str, int]


@dataclass(frozen=True)
class _Item:
    """A line of a list: a channel or a circuit, where it leads, and an amount with the part of the longest bar."""

    name: str
    label: str
    href: str
    amount: float
    part: float


@dataclass(frozen=True)
class _Row:
    """A bar of the fidelity: the circuit's own, or a baseline's; parts are of the width."""

    name: str
    kind: str
    value: float
    part: float
    low: float | None = None
    high: float | None = None


class Atlas:
    """The site about some circuits of one network.

    Args:
        name: Name of the run.
        model: The network as specs write it.
        entries: The circuits.
        labels: Labels of channels.
        run: Path from the site's folder to the run's, for links to the pages of circuits.
    """

    def __init__(
        self, name: str, model: str, entries: Sequence[AtlasEntry], labels: Labels | None = None, run: str = ".."
    ) -> None:
        self._name, self._model, self._entries, self._run = name, model, entries, run
        self._links: Links = links(entries)
        self._labels = {node: lines(text) for node, text in (labels or Labels()).texts().items()}
        self._own: dict[Node, list[AtlasEntry]] = defaultdict(list)
        for number, entry in enumerate(entries):
            self._own[entry.layer, number if entry.unit is None else entry.unit].append(entry)
            if entry.unit is None:
                self._labels.setdefault((entry.layer, number), entry.target)
        self._numbers = {id(entry): number for number, entry in enumerate(entries)}
        nodes = {*self._own, *self._links.through, *self._links.count}
        order = {layer: number for number, layer in enumerate(self._links.width)}
        self._nodes = sorted(nodes, key=lambda node: (order.get(node[0], len(order)), node[1]))

    def files(self, track: TrackProgress = no_progress) -> Iterator[tuple[str, bytes]]:
        """Yield the files of the site by their paths; `track` shows the progress of channels."""
        yield "atlas.css", (asset("page.css") + _asset("atlas.css")).encode()
        yield "atlas.js", (asset("theme.js") + _asset("atlas.js")).encode()
        yield "data/network.js", _script("NETWORK", self._network())
        yield "index.html", self._index()
        for number, node in enumerate(track(iter(self._nodes), "writing pages", len(self._nodes))):
            yield from self._channel(node, number)

    def _network(self) -> dict[str, object]:
        """Return what the map and the search need of all channels."""
        layers: dict[str, list[list[object]]] = {layer: [] for layer in self._links.width}
        for node in self._nodes:
            own = self._own.get(node)
            best = max(own, key=quality) if own else None
            layers.setdefault(node[0], []).append(
                [
                    node[1],
                    None if best is None else round(quality(best), _DIGITS),
                    -1 if best is None else _VERDICTS.index(best.title),
                    self._labels.get(node, 0),
                    self._links.count.get(node, 0),
                ]
            )
        width = self._links.width
        return {
            "metric": self._metric,
            "verdicts": _VERDICTS,
            "layers": [[layer, slug(layer), width.get(layer, 0), channels] for layer, channels in layers.items()],
        }

    @property
    def _metric(self) -> str:
        return Counter(entry.metric for entry in self._entries).most_common(1)[0][0] if self._entries else "pearson"

    def _index(self) -> bytes:
        counts = Counter(entry.title for entry in self._entries)
        return render(
            "atlas_index.html",
            root="",
            example=self._entries[0].target if self._entries else "conv5:34",
            name=self._name,
            model=self._model,
            circuits=len(self._entries),
            channels=len(self._own),
            counts=[(title, counts[title]) for title in _VERDICTS if counts[title]],
            titles=[title for title in _VERDICTS if counts[title]],
            layers=list(self._layers()),
            metric=self._metric,
            legend=_LEGEND,
            notes=[],
        )

    def _layers(self) -> Iterator[dict[str, object]]:
        """Yield a row of the table for each layer that has circuits."""
        by_layer: dict[str, list[AtlasEntry]] = {layer: [] for layer in self._links.width}
        for entry in self._entries:
            by_layer[entry.layer].append(entry)
        for layer, entries in by_layer.items():
            if not entries:
                continue
            counts = Counter(entry.title for entry in entries)
            varying = [entry for entry in entries if entry.title != "constant"]
            yield {
                "name": layer,
                "circuits": len(entries),
                "preserved": counts["preserved"],
                "counts": [(title, counts[title]) for title in _VERDICTS if counts[title]],
                "fidelity": statistics.median(map(quality, varying)) if varying else None,
                "share": statistics.median(entry.kept / max(entry.relevant, 1) for entry in varying)
                if varying
                else None,
            }

    def _channel(self, node: Node, number: int) -> Iterator[tuple[str, bytes]]:
        """Yield the files of a channel's page."""
        layer, unit = node
        own = sorted(self._own.get(node, []), key=quality, reverse=True)
        folder = f"channels/{slug(layer)}"
        circuits = []
        for place, entry in enumerate(own):
            crops = entry.crops if isinstance(entry.crops, str) else ""
            if isinstance(entry.crops, bytes) and _tiles(entry.crops):
                crops = f"{unit}-{place}.{'webp' if entry.crops[:4] == b'RIFF' else 'png'}"
                yield f"{folder}/{crops}", entry.crops
            circuits.append(self._circuit(entry, crops))
        if own:
            names = {name for entry in own for name in _names(entry)}
            data = {"slugs": {name: slug(name) for name in names}, "drawings": [entry.drawing for entry in own]}
            yield f"{folder}/{unit}.js", _script("CIRCUITS", data)
        first = own[0] if own else None
        page = render(
            "atlas_channel.html",
            root=_ROOT,
            example=self._entries[0].target,
            run=self._name,
            model=self._model,
            name=first.target if first and first.unit is None else f"{layer}:{unit}",
            label="" if first and first.unit is None else self._labels.get(node, ""),
            layer=layer,
            circuits=circuits,
            inputs=self._inputs(first) if first else [],
            count=self._links.count.get(node, 0),
            through=self._circuits(self._links.through.get(node, [])),
            similar=self._circuits(self._links.similar.get(self._numbers[id(first)], [])) if first else [],
            before=self._step(number - 1, layer),
            after=self._step(number + 1, layer),
            data=f"{unit}.js" if own else "",
        )
        yield f"{folder}/{unit}.html", page

    def _circuit(self, entry: AtlasEntry, crops: str) -> Mapping[str, object]:
        rows = [_row("circuit", "own", entry, entry.value, entry.interval)]
        rows += [_row(name, "", entry, value) for name, value in entry.baselines.items()]
        page = f"{_ROOT}{self._run}/{quote(entry.folder)}" if entry.folder else ""
        tiles = _tiles(entry.crops) if isinstance(entry.crops, bytes) else 1
        own = {name: getattr(entry, name) for name in entry.__dataclass_fields__}
        connections = entry.drawing["edges"]
        return {**own, "rows": rows, "crops": crops, "tiles": tiles, "page": page, "connections": connections}

    def _inputs(self, entry: AtlasEntry) -> list[_Item]:
        most = max((abs(read.influence) for read in entry.inputs), default=0) or 1
        return [
            _Item(
                "the image" if read.layer == "image" else f"{read.layer}:{read.unit}",
                self._labels.get((read.layer, read.unit), ""),
                "" if read.layer == "image" else _href(read.layer, read.unit),
                read.influence,
                abs(read.influence) / most,
            )
            for read in entry.inputs[:_READ]
            if abs(read.influence) >= _LEAST
        ]

    def _circuits(self, ranked: Sequence[tuple[float, int]]) -> list[_Item]:
        most = max((amount for amount, _ in ranked), default=0) or 1
        items = []
        for amount, number in ranked:
            if amount < _LEAST:
                continue
            entry = self._entries[number]
            node = entry.layer, number if entry.unit is None else entry.unit
            label = "" if entry.unit is None else self._labels.get(node, "")
            several = len(self._own[node]) > 1
            items.append(
                _Item(entry.id if several else entry.target, label, _href(*node), amount, max(amount, 0) / most)
            )
        return items

    def _step(self, number: int, layer: str) -> _Item | None:
        """Return the channel at a place of the order, if it is of a layer."""
        if not 0 <= number < len(self._nodes) or self._nodes[number][0] != layer:
            return None
        node = self._nodes[number]
        return _Item(f"{node[0]}:{node[1]}", "", _href(*node), 0, 0)


def quality(entry: AtlasEntry) -> float:
    """Return the fidelity of a circuit as a number that is 1 at best."""
    return 1 - entry.value if entry.metric == "error" else entry.value


def slug(layer: str) -> str:
    """Return the name of a layer's folder, the same in every atlas."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", layer)
    if plain == layer and is_folder_name(plain):
        return plain
    return f"{plain.strip('.')[:40]}-{digest(layer.encode())[:8]}"


def _href(layer: str, unit: int) -> str:
    """Return the address of a channel's page, from that of another."""
    return f"../{quote(slug(layer))}/{unit}.html"


def _row(name: str, kind: str, entry: AtlasEntry, value: float, interval: tuple[float, float] | None = None) -> _Row:
    ends = (_part(interval[0]), _part(interval[1])) if interval and entry.metric != "error" else (None, None)
    return _Row(name, kind, value, _part(value), *ends)


def _part(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _tiles(crops: bytes) -> int:
    """Return the number of squares side by side in an image file; 0 if it is none that browsers show."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(crops), formats=("WEBP", "PNG")) as image:
            return min(max(round(image.width / image.height), 1), _TILES)
    except (OSError, ValueError, SyntaxError):
        return 0


def _names(entry: AtlasEntry) -> Sequence[str]:
    names = entry.drawing["layers"]
    assert isinstance(names, list)
    return names


@cache
def _asset(name: str) -> str:
    return _ASSETS.joinpath(name).read_text(encoding="utf-8")


def _script(name: str, value: object) -> bytes:
    """Return data as a script, which pages from a disk may load."""
    return f"window.{name} = {json.dumps(value, separators=(',', ':'))};\n".encode()
