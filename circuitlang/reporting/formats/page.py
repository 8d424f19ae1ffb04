"""The report as a page: the claims of the terminal's report, with images."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from itertools import starmap

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from circuitlang.compiler.highlighter import highlight
from circuitlang.plan.clauses import claims
from circuitlang.reporting import failed_expectations
from circuitlang.reporting.diagram import figure
from circuitlang.reporting.diagram.thumbnails import embed
from circuitlang.reporting.formats.diagram import diagram
from circuitlang.reporting.html import charts
from circuitlang.reporting.html.pages import render
from circuitlang.reporting.terminal.circuit_report import strongest
from circuitlang.reporting.text import circuit_sentences, concept_sentences, hypothesis_sentences, verdict_sentences
from circuitlang.reporting.thumbnail import thumbnail
from circuitlang.results.labelling import place, target_place
from circuitlang.results.outputs import output_format
from circuitlang.results.types import ExampleImage, Result, Summary
from circuitlang.results.verdict import decisive, verdict

# Above and below zero, as in the diagram; how strong is how opaque, so that zero is neutral on light and dark.
_ABOVE, _BELOW = (217, 95, 14), (44, 118, 190)
_RECOLOUR = {
    "#ffffff": "surface",
    figure.INK: "ink",
    figure.FAINT: "faint",
    figure.LINE: "line",
    figure.DISC: "disc",
    figure.EXCITATORY: "warm",
    figure.INHIBITORY: "accent",
}
# Files that other formats write beside the page.
_FILES = ("diagram.html", "diagram.svg", "metrics.json", "report.txt", "circuit.json", "circuit.safetensors")
_SIGNS = "○□◇△▽"
_WIDEST = 1500  # of a diagram that is shown as wide as the page, in pixels


@output_format
def page(result: Result) -> dict[str, bytes]:
    """The report as a page, `report.html`: fidelity, search, layers and provenance with charts, the diagram, and the
    images that are preserved best and worst. It needs no other file and no network."""
    summary, examples = result.summary, result.fidelity_examples
    metric = decisive(summary) if decisive(summary) in summary.judged.metrics else min(summary.judged.metrics)
    svg = diagram(result)["diagram.svg"].decode()
    correlated = int(np.isfinite(examples.pictures).sum()) if examples else 0
    baselines = (*summary.baselines, "without")
    values = {
        "result": result,
        "icon": thumbnail(result),
        "examples": examples,
        "labelled": target_place(summary),
        "metric": metric,
        "value": summary.judged.metrics[metric],
        "interval": summary.judged.intervals.get(metric),
        "random": summary.baselines["random"].metrics[metric] if "random" in summary.baselines else math.nan,
        "necessity": summary.flat()["necessity"],
        "share": circuit_sentences.share(summary),
        "claims": claims(summary.plan),
        "where": circuit_sentences.where(summary),
        "images": circuit_sentences.images(summary),
        "contrast": circuit_sentences.contrast(summary),
        "also": circuit_sentences.also(summary) if summary.also else {},
        "robust": circuit_sentences.robust(summary),
        "robust_caption": circuit_sentences.robust_caption(summary),
        "ablated": circuit_sentences.ABLATED,
        "also_caption": circuit_sentences.also_caption(summary),
        "expectations": failed_expectations.PLACE.empty,
        "notes": circuit_sentences.notes(summary),
        "verdict": verdict_sentences.title(summary),
        "good": verdict(summary) == "preserved",
        "conclusion": _conclusion(summary),
        "verb": verdict_sentences.verb(summary),
        "comparisons": _prose(circuit_sentences.comparisons(summary)),
        "search": circuit_sentences.search(summary),
        "budget": circuit_sentences.budget(summary),
        "origin": circuit_sentences.origin(summary),
        "statement": highlight(summary.plan.statement),
        "recolour": _RECOLOUR,
        "diagram": Markup(svg[svg.index("<svg") :]),
        "wide": figure.drawn_width(svg) > _WIDEST,
        "scatter": Markup(charts.scatter(examples)) if examples else "",
        "alike": charts.alike(examples) if examples else True,
        "pairs": len(examples.network) if examples else 0,
        "chart": Markup(charts.metrics(summary)),
        "marks": list(zip(_SIGNS, baselines, strict=False)),
        "walk": Markup(charts.walk(summary)) if summary.walk else "",
        "tried": list(zip(summary.walk, circuit_sentences.outcomes(summary), strict=True)),
        "strokes": Markup(charts.image_strokes(examples)) if examples and correlated else "",
        "maps": len(examples.most[0].network) if examples and examples.most else 0,
        "counted": correlated,
        "uncounted": summary.judged.images - correlated,
        **_extremes(result),
        "tests": hypothesis_sentences.rows(summary),
        "tested": hypothesis_sentences.caption(summary),
        "paths": any(layer.path != layer.name for layer in summary.layers),
        "strongest": [_kernel(result, *kernel) for kernel in strongest(result)],
        "files": [*_FILES, *(["module.pt2"] if result.module else [])],
    }
    return {"report.html": render("report.html", **values)}


def _conclusion(summary: Summary) -> str:
    """Say in sentences what was found of a class, or of a concept; empty for other targets."""
    of_class = verdict_sentences.conclusion(summary), verdict_sentences.classification(summary)
    return " ".join(filter(None, (*of_class, concept_sentences.probe(summary))))


def _extremes(result: Result) -> dict[str, object]:
    """Return the images that are preserved best and worst; if nothing of them is kept, none is worse than another."""
    examples, kept = result.fidelity_examples, bool(result.summary.effective)
    most = [(image, examples.correlations) for image in examples.most] if examples else []
    least = [(image, examples.correlations) for image in examples.least] if examples and kept else []
    return {"collapsed": not kept, "best": list(starmap(_example, most)), "worst": list(starmap(_example, least))}


@dataclass(frozen=True)
class _Example:
    """A judged image and its two maps, as data URIs."""

    name: str
    picture: str
    network: str
    circuit: str
    kept: float


@dataclass(frozen=True)
class _Kernel:
    """One of the strongest kernels; `share` of the highest score."""

    layer: str
    source: int
    target: int
    place: str
    picture: str
    size: str
    sum: float
    share: float


def _prose(lines: list[str]) -> str:
    """Join lines into two sentences: the first line, and all others."""
    return f"{lines[0]}. {' '.join(lines[1:])}."


def _example(shown: ExampleImage, apart: bool) -> _Example:
    """Maps on scales of their own where they are told by r, which forgives scale."""
    most = [float(np.abs(maps).max()) for maps in (shown.network, shown.circuit)]
    scales = most if apart else [max(most)] * 2
    network, circuit = (
        _heat(tiled(maps), scale) for maps, scale in zip((shown.network, shown.circuit), scales, strict=True)
    )
    return _Example(shown.name, embed(shown.picture, 160), network, circuit, shown.kept)


def _kernel(result: Result, share: float, number: int, index: int) -> _Kernel:
    kernels = result.circuit.kernels[number]
    weight = kernels.weight[index]
    return _Kernel(
        layer=result.summary.layers[number].name,
        source=int(kernels.source[index]),
        target=int(kernels.target[index]),
        place=place(result.summary, result.summary.layers[number].path, int(kernels.target[index])),
        picture=_heat(weight, float(np.abs(weight).max())),
        size=f"{weight.shape[0]}×{weight.shape[1]}",
        sum=float(weight.sum()),
        share=share,
    )


def tiled(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Several maps [maps, h, w] as one, in rows of equal length."""
    count, height, width = maps.shape
    across = math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    padded = np.zeros((across * down, height, width), np.float32)
    padded[:count] = maps
    return padded.reshape(down, across, height, width).swapaxes(1, 2).reshape(down * height, across * width)


def _heat(values: NDArray[np.float32], largest: float) -> str:
    """Values [h, w] as an image, one pixel each: a data URI."""
    pixels = np.empty((*values.shape, 4), np.uint8)
    pixels[..., :3] = np.where(values[..., None] >= 0, _ABOVE, _BELOW)
    pixels[..., 3] = np.rint(255 * np.abs(values) / (largest or 1))
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
