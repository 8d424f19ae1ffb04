"""Split → page: the verdict, where the images lie, how the parts' circuits do on one another's images, the images."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from circuitlang.compiler.highlighter import highlight
from circuitlang.reporting.diagram.thumbnails import embed
from circuitlang.reporting.html import charts
from circuitlang.reporting.html.pages import render
from circuitlang.reporting.text import split_sentences
from circuitlang.results.split import Cluster, Overlap, Split, SplitResult

# Images of a part that are shown, of those it was found on and of those held out; all are named in split.json.
SHOWN = 36, 12
_FILES = ("split.json", "report.txt", "embedding.svg")


@dataclass(frozen=True)
class _Shown:
    """A part and some of its images, as data URIs with their names."""

    number: int
    kind: Cluster
    train: list[tuple[str, str]]
    test: list[tuple[str, str]]


def split_page(divided: SplitResult) -> bytes:
    """Render the self-contained page of a split, with links to the reports of its parts."""
    split = divided.split
    pairs = list(dict.fromkeys(overlap.parts for overlap in split.overlaps))
    return render(
        "split.html",
        split=split,
        plan=split.plan,
        verdict=split_sentences.conclusion(split),
        evidence=split_sentences.evidence(split),
        notes=split_sentences.notes(split),
        tried=split_sentences.tried(split),
        origin=split_sentences.origin(split),
        statement=highlight(split.plan.statement),
        embedding=Markup(charts.embedding(split)),
        marks=charts.SIGNS,
        parts=_parts(divided),
        pairs=pairs,
        overlaps=_by_layer(split, pairs),
        files=_FILES,
    )


def _parts(divided: SplitResult) -> list[_Shown]:
    parts, start = [], 0
    for number, kind in enumerate(divided.split.kinds, 1):
        samples = []
        for names, limit in zip((kind.train, kind.test), SHOWN, strict=True):
            shown = min(limit, len(names))
            # Evenly through all of them, as those of one folder stand together.
            chosen = [index * len(names) // shown for index in range(shown)]
            samples.append([(names[index], embed(divided.pictures[start + index], 88)) for index in chosen])
            start += len(names)
        parts.append(_Shown(number, kind, *samples))
    return parts


def _by_layer(split: Split, pairs: list[tuple[int, int]]) -> list[tuple[str, list[Overlap]]]:
    """Return the overlaps of all pairs, layer by layer; those of all layers together come last."""
    overlaps = {(overlap.layer, overlap.parts): overlap for overlap in split.overlaps}
    layers = list(dict.fromkeys(overlap.layer for overlap in split.overlaps))
    return [(layer, [overlaps[layer, pair] for pair in pairs]) for layer in [*layers[1:], *layers[:1]]]
