"""The page of a comparison: what circuits share, and the diagrams of pairs."""

from __future__ import annotations

import msgspec
from markupsafe import Markup

from circuitlang.reporting.diagram import figure
from circuitlang.reporting.diagram.diagram_names import diagram_names
from circuitlang.reporting.diagram.overlay import overlays
from circuitlang.reporting.html.pages import render
from circuitlang.reporting.terminal import comparison_report
from circuitlang.results.comparison import FILE, columns, letter
from circuitlang.results.outputs import ComparisonResult

# Colours of the drawing that follow the page's: light on dark, dark on light.
_RECOLOUR = {"#ffffff": "surface", figure.INK: "ink", figure.FAINT: "faint", figure.LINE: "line", figure.DISC: "disc"}
_WIDEST = 1500  # of a diagram that is shown as wide as the page, in pixels


def comparison_page(result: ComparisonResult) -> bytes:
    """Render the report of a comparison as a page, with the diagrams in it."""
    comparison = result.comparison
    drawings = overlays(comparison, result.circuits)
    return render(
        "comparison.html",
        comparison=comparison,
        title=comparison_report.title(comparison),
        claims=comparison_report.claims(comparison),
        pairs=columns(comparison),
        letter=letter,
        say=comparison_report,
        drawings=[_Drawing.of(name, content) for name, content in drawings.items()],
        recolour=_RECOLOUR,
        beside=result.beside,
        chance=comparison_report.chance(comparison),
        explore=list(diagram_names(comparison, "html")),
        files=[FILE, "report.txt", *drawings],
    )


class _Drawing(msgspec.Struct, frozen=True):
    """A diagram as part of a page; `wide` if it is too wide to be made smaller."""

    name: str
    svg: Markup
    wide: bool

    @classmethod
    def of(cls, name: str, content: bytes) -> _Drawing:
        svg = content.decode()
        return cls(name, Markup(svg[svg.index("<svg") :]), figure.drawn_width(svg) > _WIDEST)
