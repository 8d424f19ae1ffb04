"""A comparison of circuits → the files of its folder, and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from markupsafe import Markup

from circuitlang.compiler.plan import digest
from circuitlang.engine.comparison import Comparison, Pair, letter
from circuitlang.engine.result import Result
from circuitlang.output import compared
from circuitlang.output.console import as_text
from circuitlang.output.drawing import figure
from circuitlang.output.drawing.overlay import overlay
from circuitlang.output.page import render
from circuitlang.output.plain import inside, is_there
from circuitlang.output.read import plan_of, read_json
from circuitlang.output.sound import sound_comparison

FILE = "comparison.json"
# Colours of the drawing that follow the page's: light on dark, dark on light.
_RECOLOUR = {"#ffffff": "surface", figure.INK: "ink", figure.FAINT: "faint", figure.LINE: "line", figure.DISC: "disc"}
_WIDEST = 1500  # of a diagram that is shown as wide as the page, in pixels
_LONGEST = 80  # letters of a folder's name


def files(comparison: Comparison, results: Sequence[Result], beside: Sequence[str] = ()) -> dict[str, bytes]:
    """What a comparison leaves: its numbers, a report as text and as a page, and diagrams, of two circuits one, of more
    the first with each of the next. `beside` are the folders of the circuits where these lie beside it."""
    pairs = compared.columns(comparison)
    drawings = {_drawing(comparison, pair): overlay(comparison, pair, *_of(pair, results)) for pair in pairs}
    page = render(
        "comparison.html",
        comparison=comparison,
        title=compared.title(comparison),
        claims=compared.claims(comparison),
        pairs=pairs,
        letter=letter,
        say=compared,
        drawings=[_Drawing.of(name, content) for name, content in drawings.items()],
        recolour=_RECOLOUR,
        beside=beside,
        chance=compared.chance(comparison),
        files=[FILE, "report.txt", *drawings],
    )
    return {FILE: _json(comparison), "report.txt": _text(comparison), "report.html": page, **drawings}


def read_comparison(folder: Path) -> Comparison:
    """A comparison from its folder. Raises InputError where it isn't there or isn't one."""
    return read_json(folder, FILE, Comparison, sound_comparison)


def comparisons(folder: Path) -> list[Path]:
    """The folders of comparisons: `folder` itself, or those in it, by name."""
    if is_there(folder / FILE):
        return [folder]
    found = sorted(path.parent for path in inside(folder, f"*/{FILE}") if not path.parent.name.startswith("."))
    plan = plan_of(folder)
    if plan is None:
        return found
    names = folder_names(plan.comparisons, [each.id for each in plan.circuits])
    return [each for each in found if each.name in names]


def folder_names(comparisons: Sequence[Sequence[str]], taken: Sequence[str]) -> list[str]:
    """A folder for each comparison, by the ids of its circuits; no two are the same, and none is a circuit's."""
    found: list[str] = []
    for ids in comparisons:
        name = "-".join(("compare", *ids))
        if len(name) > _LONGEST:
            name = f"compare-{ids[0][:40]}-and-{len(ids) - 1}-more-{digest(chr(10).join(ids).encode())[:6]}"
        while name in (*found, *taken):
            name += "'"
        found.append(name)
    return found


class _Drawing(msgspec.Struct, frozen=True):
    """A diagram as part of a page, and whether it is too wide to be made smaller."""

    name: str
    svg: Markup
    wide: bool

    @classmethod
    def of(cls, name: str, content: bytes) -> _Drawing:
        svg = content.decode()
        return cls(name, Markup(svg[svg.index("<svg") :]), figure.drawn_width(svg) > _WIDEST)


def _drawing(comparison: Comparison, pair: Pair) -> str:
    names = f"-{letter(pair.first)}-{letter(pair.second)}" if len(comparison.members) > 2 else ""
    return f"diagram{names}.svg"


def _of(pair: Pair, results: Sequence[Result]) -> tuple[Result, Result]:
    return results[pair.first], results[pair.second]


def _json(comparison: Comparison) -> bytes:
    return msgspec.json.format(msgspec.json.encode(comparison), indent=2) + b"\n"


def _text(comparison: Comparison) -> bytes:
    return as_text(compared.render(comparison))
