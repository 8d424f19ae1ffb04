"""The sheet that static diagrams are drawn on: a title, notes, the drawing and room for a legend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

from circuitlang.reporting.diagram.figure import (
    FAINT,
    PAPER,
    Figure,
    Style,
    add_drawing,
    add_headings,
    rounded_clip,
    text,
    translation,
)
from circuitlang.reporting.diagram.svg import add, canvas, text_width, write

MARGIN = 28.0
NARROWEST = 680.0  # room for the legend
TITLE, NOTE = 19.0, 12.5  # sizes of type


def sheet(
    drawn: Figure,
    title: str,
    notes: Sequence[str],
    description: str,
    legend: Callable[[Element], None] | None,
    style: Style | None = None,
) -> bytes:
    """Draw a figure below its title and notes, and above what `legend` draws, as one self-contained SVG."""
    layout = drawn.layout
    width = max(NARROWEST, layout.width, text_width(title, TITLE), *(text_width(note, NOTE) for note in notes))
    header = MARGIN + 36 + 18 * len(notes) + 26
    body = header + drawn.head + 14
    foot = body + layout.height + 40
    svg = canvas(width + 2 * MARGIN, foot + MARGIN, title, description)
    add(svg, "style", ".circuit-edge:hover{stroke-opacity:1}")
    rounded_clip(svg)
    add(svg, "rect", width="100%", height="100%", rx=10.0, fill=PAPER)
    text(svg, title, MARGIN, MARGIN + 16, TITLE, bold=True)
    for line, note in enumerate(notes):
        text(svg, note, MARGIN, MARGIN + 40 + 18 * line, NOTE, FAINT)
    shift = MARGIN + (width - layout.width) / 2
    add_headings(add(svg, "g", transform=translation(shift, header)), drawn)
    add_drawing(add(svg, "g", transform=translation(shift, body)), drawn, style)
    if legend is not None:
        legend(add(svg, "g", transform=translation(MARGIN, foot)))
    return write(svg)
