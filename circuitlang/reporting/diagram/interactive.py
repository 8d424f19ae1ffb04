"""The diagram as a page: the circuit as data, and the script that lays it out, draws it and explains it."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from urllib.parse import quote

import jinja2
import msgspec
from markupsafe import Markup
from msgspec import UNSET

from circuitlang.reporting.comparison_links import PLACE as COMPARISONS
from circuitlang.reporting.diagram import captions
from circuitlang.reporting.diagram.figure import figure
from circuitlang.reporting.diagram.page_data import PageData, page_data
from circuitlang.reporting.diagram.sprites import photograph
from circuitlang.reporting.diagram.svg import clean
from circuitlang.reporting.thumbnail import NO_ICON, thumbnail
from circuitlang.results.connections import DRAWN, connections
from circuitlang.results.types import Result
from circuitlang.results.visualised_channels import visualised_word

_FOLDER = Path(__file__).with_name("page")
# The parts of the script, in the order in which they run.
_SCRIPTS = ("model", "groups", "arrange", "draw", "view", "images", "card", "channel", "controls", "naming", "start")


def _links(result: Result) -> list[tuple[str, str]]:
    """Return the addresses of pages beside a diagram, and what they are called."""
    within = result.summary.plan.within
    parent = [] if within is UNSET else [(f"../{quote(within.id)}/diagram.html", f"within {within.name or within.id}")]
    return [("report.html", "report"), *parent, ("../index.html", "all circuits")]


def interactive(result: Result) -> str:
    """Return the page, self-contained: nothing in it is fetched, and nothing of the result can be run."""
    shown = connections(result.circuit, DRAWN, result.contributions)
    drawn = figure(result, shown)
    scenes, visualisations = result.activation_maps, result.visualisations
    return page(
        page_data(drawn),
        links=_links(result),
        compared=COMPARISONS.empty,
        icon=thumbnail(result),
        title=clean(captions.title(result)),
        notes=[
            clean(note) for note in captions.subtitle(result, shown, {column.layer for column in drawn.layout.columns})
        ],
        description=clean(captions.description(result, shown.strongest)),
        scenes=[
            {"name": clean(name), "source": photograph(picture)}
            for name, picture in zip(scenes.names, scenes.pictures, strict=True)
        ]
        if scenes
        else [],
        vision=visualisations is not None,
        visualised=visualised_word(result),
        made=len(visualisations.channels) if visualisations else 0,
    )


def page(data: PageData, **values: object) -> str:
    """Render a page from its data and the words of its template."""
    script, style = _script(), _read("page.css")
    channels = [(node.name, node.alias) for node in data.nodes if not node.is_image]
    defaults = {
        "compared": "",
        "owners": {},
        "labels": "{}",
        "icon": NO_ICON,
        "scenes": [],
        "vision": False,
        "visualised": "none",
        "made": 0,
    }
    return _template().render(
        **{**defaults, **values},
        edges=len(data.edges),
        steps=1 + data.edges[-1].step if data.edges else 0,
        measured=list(data.alone),
        example=channels[-1][0] if channels else "",
        names=channels,
        sums=any(edge.sum for edge in data.edges),
        unstable=captions.stability_legend() if any(edge.unstable for edge in data.edges) else "",
        data=Markup(_json(data)),
        script=Markup(script),
        style=Markup(style),
        script_hash=_hash(script),
        style_hash=_hash(style),
    )


def _json(data: object) -> str:
    """Return data as JSON for an element of a page."""
    text = msgspec.json.encode(data).decode()
    # So that no name can end the element that the data is in, or begin another.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _script() -> str:
    """Join the parts of the script into one function."""
    parts = "\n".join(_read(f"{name}.js") for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(_read("page.html"))


@cache
def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the hash by which a content security policy allows an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
