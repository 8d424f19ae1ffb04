"""Labels in the files of a circuit: pages and drawings leave places for them, which are filled after all else.

A label that changes is put into the files that are there, so that nothing is computed again.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

import msgspec

from circuitlang.base.printable import lines
from circuitlang.plan.labels import Labels
from circuitlang.plan.targets import Channel
from circuitlang.results.comparison import Comparison
from circuitlang.results.types import Summary

# The data of a page, and the texts beside the channels of pages and drawings.
DATA = b'<script type="application/json" id="labels">'
_DATA = re.compile(DATA + b"[^<]*")
_LIST = re.compile(rb'(<dl\b[^<>]*? data-labels="all"[^<>]*>).*?(?=</dl>)', re.DOTALL)
_PLACES = re.compile(rb'(<(text|span)\b[^<>]*? data-label="([^"]*)"[^<>]*>)[^<]*')


def place(summary: Summary, layer: str, unit: int) -> str:
    """Return the value of `data-label` that marks the place for the label of a channel."""
    return f"{_paths(summary).get(layer, layer)}:{unit}"


def label_texts(summary: Summary) -> Mapping[str, str]:
    """Return the labels of a circuit by the values of `data-label`."""
    labels, paths = summary.labels or Labels(), _paths(summary)
    return {f"{paths.get(layer, layer)}:{unit}": text for (layer, unit), text in labels.texts().items()}


def target_place(summary: Summary) -> str:
    """Return the place for the label of the channel that a circuit preserves; empty if its target is another."""
    target = summary.plan.target
    return place(summary, target.layer, target.unit) if isinstance(target, Channel) else ""


def target_label(summary: Summary, texts: Mapping[tuple[str, int], str]) -> str:
    """Return the label of the channel that a circuit preserves, of labels by layer and channel; empty if there is
    none."""
    target = summary.plan.target
    if not texts or not isinstance(target, Channel):
        return ""
    names = [(layer.name, layer.path) for layer in summary.layers if target.layer in (layer.name, layer.path)]
    layers = [target.layer, *(name for pair in names for name in pair)]
    return next((texts[layer, target.unit] for layer in layers if (layer, target.unit) in texts), "")


def named(summary: Summary) -> list[tuple[str, str]]:
    """Return the channels with a label and the groups of a circuit's layers: what they are, and what they are called.

    They come in the order of layers.
    """
    labels = summary.labels or Labels()
    order = {name: number for number, layer in enumerate(summary.layers) for name in (layer.name, layer.path)}
    labelled = [(label.layer, [label.unit], label.text) for label in labels.channels]
    labelled += [(group.layer, group.units, f"group {group.name}") for group in labels.groups]
    labelled = sorted((one for one in labelled if one[0] in order), key=lambda one: (order[one[0]], one[1]))
    return [(f"{layer}:{', '.join(map(str, units))}", text) for layer, units, text in labelled]


def labelled(files: Mapping[str, bytes], summary: Summary) -> dict[str, bytes]:
    """Return the files of a circuit with its labels in their places."""
    rows = "".join(f"<dt>{_text(what)}</dt><dd>{_text(words)}</dd>" for what, words in named(summary))
    return _with_labels(files, summary.labels or Labels(), label_texts(summary), rows)


def labelled_comparison(files: Mapping[str, bytes], comparison: Comparison, labels: Labels | None) -> dict[str, bytes]:
    """Return the files of a comparison with labels in their places."""
    labels, paths = labels or Labels(), {name: path for path, name in comparison.layers.items()}
    texts = {f"{paths.get(layer, layer)}:{unit}": text for (layer, unit), text in labels.texts().items()}
    return _with_labels(files, labels, texts, "")


def _with_labels(files: Mapping[str, bytes], labels: Labels, texts: Mapping[str, str], rows: str) -> dict[str, bytes]:
    # So that no label can end the element that the data is in.
    data = msgspec.json.encode(labels).decode()
    data = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return {
        name: _filled(content, texts, data.encode(), rows.encode()) if name.endswith((".html", ".svg")) else content
        for name, content in files.items()
    }


def _paths(summary: Summary) -> Mapping[str, str]:
    return {layer.name: layer.path for layer in summary.layers}


def _text(words: str) -> str:
    return html.escape(lines(words))


def _filled(content: bytes, texts: Mapping[str, str], data: bytes, rows: bytes) -> bytes:
    def text(match: re.Match[bytes]) -> bytes:
        key = html.unescape(match[3].decode())
        words = texts.get(key, "")
        if match[2] == b"text":
            words = f"{key.rpartition(':')[2]} {words}".strip()
        elif words:
            words = f"“{words}”"
        return match[1] + _text(words).encode()

    content = _LIST.sub(lambda match: match[1] + rows, content)
    return _PLACES.sub(text, _DATA.sub(lambda _: DATA + data, content))
