"""The circuit as an image: a static SVG that needs nothing else, for a paper or a README."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from weakref import WeakKeyDictionary
from xml.etree.ElementTree import Element

from circuitlang.reporting.diagram import captions
from circuitlang.reporting.diagram.figure import (
    EXCITATORY,
    FAINT,
    INHIBITORY,
    INK,
    NEUTRAL,
    SMALL,
    Pen,
    figure,
    sign,
    text,
)
from circuitlang.reporting.diagram.sheet import sheet
from circuitlang.reporting.diagram.svg import add, text_width
from circuitlang.results.connections import Connection, connections
from circuitlang.results.outputs import output_format
from circuitlang.results.stability import is_unstable
from circuitlang.results.types import Result

# Edges; more are no picture that can be printed. The page has more.
MOST = 400
# It is a file of its own and part of a page.
_DRAWN: WeakKeyDictionary[Result, bytes] = WeakKeyDictionary()


@output_format
def diagram(result: Result) -> dict[str, bytes]:
    """The effective circuit as `diagram.svg`: layers from left to right, channels as nodes, kernels as edges.

    Width says how much influence flows along a kernel, colour whether it excites or inhibits. Of more than 400 edges
    those are drawn whose paths carry most.
    """
    if result not in _DRAWN:
        _DRAWN[result] = _draw(result)
    return {"diagram.svg": _DRAWN[result]}


def _draw(result: Result) -> bytes:
    drawn = figure(result, connections(result.circuit, MOST, result.contributions))
    shown = drawn.connections
    notes = captions.subtitle(result, shown, {column.layer for column in drawn.layout.columns})
    unstable = any(is_unstable(one, result.summary.layers) for one in shown.strongest)
    legend = partial(_add_legend, drawn=shown.strongest, unstable=unstable) if shown.strongest else None
    return sheet(drawn, captions.title(result), notes, captions.description(result, shown.strongest), legend)


def _add_legend(parent: Element, drawn: Sequence[Connection], unstable: bool) -> None:
    x = 0.0
    signs = [("excitatory", EXCITATORY), ("inhibitory", INHIBITORY)]
    if any(sign(one) == "neutral" for one in drawn):
        signs.append(("zero sum", NEUTRAL))
    for word, colour in signs:
        x = _sample(parent, x, word, colour, 3.5) + 20
    if any(one.shortcut for one in drawn):
        x = _sample(parent, x, "shortcut to an add", FAINT, 2.0, "6 4") + 20
    if unstable:
        x = _sample(parent, x, captions.stability_legend(), FAINT, 2.0, "3 4") + 20
    text(parent, "influence, of the strongest:", x, 4, SMALL, FAINT)
    x += text_width("influence, of the strongest:", SMALL) + 6
    pen = Pen(drawn)
    for share in (0.01, 0.25, 1.0):
        width, _ = pen(share * pen.strongest)
        x = _sample(parent, x, f"{share:.0%}", INK, width) + 12


def _sample(parent: Element, x: float, word: str, colour: str, width: float, dashes: str = "") -> float:
    """Draw a line of the legend and return its right end."""
    line = add(parent, "line", x1=x, x2=x + 26, y1=0.0, y2=0.0, stroke=colour, stroke_width=width)
    if dashes:
        line.set("stroke-dasharray", dashes)
    text(parent, word, x + 33, 4, SMALL, FAINT)
    return x + 33 + text_width(word, SMALL)
