"""Numbers → charts, as SVG that is part of a page and takes its colours and its type from there."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import cycle
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from circuitlang.results.split import Split
from circuitlang.results.types import Fidelity, FidelityExamples, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Stand-ins for the variables of the page's style sheet, which differ between light and dark.
INK, FAINT, LINE, SURFACE, ACCENT, WARM = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
SERIES = tuple(f"#0700{number:02x}" for number in range(1, 9))
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
# Markers of the baselines, in their order: for matplotlib, and as the page shows them.
MARKS = "osD^v"
# The same as a page's text writes them, filled.
SIGNS = "●■◆▲▼"
_VARIABLES = {INK: "ink", FAINT: "faint", LINE: "line", SURFACE: "surface", ACCENT: "accent", WARM: "warm"}
_VARIABLES |= {colour: f"series-{number}" for number, colour in enumerate(SERIES, start=1)}
# CSS pixels of the page to matplotlib's inch, whose points they are.
_INCH = 72
_CSS = FilePath(__file__).with_name("templates") / "page.css"
_NUMBER = re.compile(r"-?\d+\.\d+")
_LINE = 0.075  # of a chart's height, for a line of labels
_ALIKE = 0.002  # the least room that an axis of images shows
_FAR = (-1.5, 2.5)  # beyond these a metric is drawn at the border
_DOTS = 25  # layers of dots, each of which darkens what it covers
# Figures depend on the numbers alone: no date, no random names, no font of this machine.
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "circuitlang",
    "font.family": "DejaVu Sans",
    "font.size": 11.5,
    # A layer's name may hold a dollar sign.
    "text.parse_math": False,
    "text.color": FAINT,
    "axes.edgecolor": LINE,
    "axes.labelcolor": FAINT,
    "axes.facecolor": "none",
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
}


@dataclass(frozen=True)
class Series:
    """A curve: a number [n] at each size [n], its interval, and the numbers of the members it is the median of."""

    name: str
    sizes: Sequence[float]
    values: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    members: Sequence[Sequence[float]] = ()


@dataclass(frozen=True)
class Sizes:
    """The axis of a sweep: what it is called, and each size as it is written."""

    label: str
    names: Mapping[float, str]


def scatter(examples: FidelityExamples, wide: float = 420, high: float = 400) -> str:
    """Plot the circuit's responses against the network's, with the line of equality and the best fit."""
    with _figure(wide, high) as (figure, axes):
        across, up = _room(examples.network), _room(examples.circuit)
        if alike(examples):
            across = up = np.array([min(across[0], up[0]), max(across[1], up[1])])
            axes.set_aspect("equal")
        axes.plot(across, across, color=FAINT, linewidth=1.2, dashes=(4, 3))
        # Few are seen one by one, many as a cloud.
        wide_dot, shade = (4, 0.4) if len(examples.network) > 200 else (7, 0.75)
        # A dot is a line of next to no length with round ends: a tenth of what a marker takes.
        for layer in range(min(_DOTS, len(examples.network))):
            x, y = examples.network[layer::_DOTS], examples.circuit[layer::_DOTS]
            vertices = np.stack([x, y], 1).repeat(2, 0)
            vertices[1::2, 0] += 3e-4 * (across[1] - across[0])
            path = Path(vertices, np.tile([Path.MOVETO, Path.LINETO], len(x)))
            dots = PathPatch(path, fill=False, edgecolor=ACCENT, linewidth=wide_dot, alpha=shade, capstyle="round")
            # `add_patch` would look for the room that it takes, which is known.
            axes.add_artist(dots)
        axes.plot(across, examples.slope * across + examples.offset, color=WARM, linewidth=2)
        axes.set(xlim=across, ylim=up, xlabel="in the network", ylabel="in the circuit")
        _few_ticks(axes)
        return as_svg(figure, "scatter")


def alike(examples: FidelityExamples) -> bool:
    """Return whether one scale fits the responses of network and circuit; a constant circuit has none."""
    spread, own = float(examples.network.std()), float(examples.circuit.std())
    return own <= 1e-6 * spread or spread <= 3 * own <= 9 * spread


def metrics(summary: Summary, wide: float = 520) -> str:
    """Plot each metric of the circuit with its interval, and of its baselines; an arrow at the border where it
    is beyond."""
    baselines: dict[str, Fidelity] = {**summary.baselines, "without": summary.without}
    names = sorted(summary.train.metrics)
    ends = [
        end
        for name in names
        for end in (summary.judged, *baselines.values())
        for end in (end.metrics[name], *end.intervals.get(name, ()))
    ]
    # One that is far off leaves no room for the others.
    low, high = max(min(0.0, *ends), _FAR[0]), min(max(1.0, *ends), _FAR[1])
    room = 0.04 * (high - low)
    with _figure(wide, 34 + 58 * len(names)) as (figure, axes):
        axes.axvline(0, color=LINE, linewidth=1)

        def dot(value: float, row: int, mark: str, **style: Any) -> None:
            beyond = "<" if value < low else ">" if value > high else mark
            axes.plot(min(max(value, low), high), row, beyond, **style)

        for row, name in enumerate(reversed(names)):
            axes.axhline(row, color=LINE, linewidth=0.8, zorder=0, dashes=(1, 3))
            for baseline, mark in zip(baselines.values(), cycle(MARKS), strict=False):
                _interval(axes, baseline.intervals.get(name), row, FAINT, 2.5)
                dot(baseline.metrics[name], row, mark, color=SURFACE, markeredgecolor=FAINT, markersize=7, zorder=3)
            _interval(axes, summary.judged.intervals.get(name), row, ACCENT, 5)
            dot(summary.judged.metrics[name], row, "o", color=ACCENT, markersize=9, zorder=4)
        axes.set(xlim=(low - room, high + room), ylim=(-0.6, len(names) - 0.4))
        axes.set_yticks(range(len(names)), labels=reversed(names))
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        return as_svg(figure, "metrics")


def walk(summary: Summary, wide: float = 520, high: float = 360) -> str:
    """Plot the sizes that were tried against the metric of each bound, with the chosen one."""
    with _figure(wide, high) as (figure, axes):
        sizes = [max(trial.kernels, 1) for trial in summary.walk]
        for number, bound in enumerate(summary.plan.bounds):
            values = [trial.values[number] for trial in summary.walk]
            colour = SERIES[number % len(SERIES)]
            axes.axhline(bound.value, color=colour, linewidth=1.2, dashes=(4, 3))
            axes.plot(sizes, values, "-o", color=colour, linewidth=2, markersize=4.5, markeredgecolor=SURFACE)
            name = f"{bound.sample}.{bound.metric}"
            _at_the_end(axes, sizes[-1], values[-1], f"{name} {bound.relation} {bound.value:g}", colour)
            chosen = next(place for place, trial in enumerate(summary.walk) if trial.kernels == summary.asked)
            axes.plot(sizes[chosen], values[chosen], "o", color=WARM, markersize=10, markeredgecolor=SURFACE, zorder=5)
        axes.axvline(max(summary.asked, 1), color=WARM, linewidth=1, zorder=0)
        label = f"{summary.asked:,}"
        axes.annotate(label, (max(summary.asked, 1), 0), (4, 4), color=WARM, xycoords=("data", "axes fraction"),
                      textcoords="offset points")  # fmt: skip
        _log_sizes(axes, {size: f"{size:,}" for size in sizes}, f"{summary.noun}s allowed")
        return as_svg(figure, "walk")


def sweep(
    title: str, series: Sequence[Series], baseline: Mapping[float, float], name: str, sizes: Sizes, wide: float = 1000
) -> str:
    """Fidelity against size, a curve for each series; the baseline, by its name, is grey."""
    with _figure(wide, 320) as (figure, axes):
        ends = []
        if len(baseline) > 1:
            places = sorted(baseline)
            axes.plot(places, [baseline[size] for size in places], color=FAINT, linewidth=1.4, dashes=(4, 3))
            ends = [(places[-1], baseline[places[-1]], name, FAINT)]
        ends += _curves(axes, series)
        _log_sizes(axes, sizes.names, sizes.label)
        axes.set_ylabel(title)
        _labels(axes, ends)
        return as_svg(figure, "sweep")


def effective(series: Sequence[Series], sizes: Sizes, wide: float = 1000) -> str:
    """Plot the effective share of the relevant kernels against the requested share, both logarithmic;
    dashed where all would be."""
    with _figure(wide, 300) as (figure, axes):
        places = sorted(sizes.names)
        axes.plot(places, places, color=FAINT, linewidth=1.4, dashes=(4, 3))
        # A collapsed circuit has none, which no logarithm shows; it is drawn at the lower border.
        floor = places[0] / 8
        ends = _curves(axes, [_above(curve, floor) for curve in series])
        axes.set_yscale("log")
        _log_sizes(axes, sizes.names, sizes.label)
        shown = _apart(sizes.names, 2.2)
        axes.set_yticks(shown, labels=[sizes.names[size] for size in shown])
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylabel("effective")
        axes.set_ylim(floor, places[-1] * 1.6)
        _labels(axes, ends)
        return as_svg(figure, "effective")


def _above(series: Series, floor: float) -> Series:
    """Clip the series at a floor."""
    values, low, high, *members = (
        [max(value, floor) for value in column] for column in (series.values, series.low, series.high, *series.members)
    )
    return replace(series, values=values, low=low, high=high, members=members)


def _curves(axes: Axes, series: Sequence[Series]) -> list[tuple[float, float, str, str]]:
    """Draw every series with its band and faint members; return the ends of those that get a label."""
    ends = []
    for number, curve in enumerate(series):
        distinct = len(series) <= len(SERIES)
        colour = SERIES[number] if distinct else ACCENT
        for member in curve.members:
            axes.plot(curve.sizes, member, color=colour, linewidth=0.9, alpha=0.22, zorder=1.5)
        axes.fill_between(
            curve.sizes, curve.low, curve.high, color=colour, alpha=0.14 if distinct else 0.04, linewidth=0
        )
        axes.plot(curve.sizes, curve.values, "-o", color=colour, linewidth=2 if distinct else 1, markersize=5,
                  markeredgecolor=SURFACE, alpha=1 if distinct else 0.5)  # fmt: skip
        if distinct:
            ends.append((curve.sizes[-1], curve.values[-1], curve.name, colour))
    return ends


def image_strokes(examples: FidelityExamples, wide: float = 1040) -> str:
    """Plot the fidelity of each image as a stroke."""
    with _figure(wide, 74) as (figure, axes):
        values = examples.pictures[~np.isnan(examples.pictures)]
        axes.vlines(values, 0, 1, color=ACCENT, linewidth=2, alpha=0.6)
        middle = float(np.median(values))
        axes.plot(middle, 1.25, "v", color=WARM, markersize=6, clip_on=False)
        low, high = float(values.min()), float(values.max())
        # Smaller differences count as none; their numbers would have too many digits to read.
        spread = max(high - low, _ALIKE)
        room = 0.04 * spread + (spread - (high - low)) / 2
        axes.set(xlim=(low - room, high + room), ylim=(0, 1.3), yticks=[])
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.ticklabel_format(axis="x", useOffset=False, style="plain")
        axes.spines["left"].set_visible(False)
        return as_svg(figure, "images")


def embedding(split: Split, wide: float = 520, high: float = 420) -> str:
    """Plot the images of a split in a plane: a colour and a shape for each part, rings where held out."""
    with _figure(wide, high) as (figure, axes):
        points, start = np.array(split.points), 0
        for number, kind in enumerate(split.kinds):
            colour, mark = SERIES[number % len(SERIES)], MARKS[number % len(MARKS)]
            found_on, held_out = np.split(points[start : start + len(kind.train) + len(kind.test)], [len(kind.train)])
            axes.plot(*found_on.T, mark, color=colour, markeredgecolor=SURFACE, markersize=7, markeredgewidth=0.8)
            axes.plot(*held_out.T, mark, color="none", markeredgecolor=colour, markersize=7, markeredgewidth=1.4)
            start += len(kind.train) + len(kind.test)
            # Above the part, where it covers few of its dots.
            x, y = float(np.median(found_on[:, 0])), float(found_on[:, 1].max())
            axes.annotate(f"part {number + 1}", (x, y), (0, 9), color=colour, textcoords="offset points", ha="center",
                          fontweight="bold", annotation_clip=False)  # fmt: skip
        axes.margins(0.08, 0.1)
        axes.set(xlabel=f"first direction, {split.shares[0]:.0%} of the variance",
                 ylabel=f"second, {split.shares[1]:.0%}")  # fmt: skip
        _few_ticks(axes)
        return as_svg(figure, "embedding")


def alone(chart: str) -> str:
    """Return a chart as a file of its own, in the light colours of the pages."""
    css = _CSS.read_text(encoding="utf-8")
    colours = dict(re.findall(r"--([\w-]+): light-dark\((#\w+),", css))
    text = re.sub(r"var\(--([\w-]+)\)", lambda name: colours[name[1]], chart)
    style = f'style="background: {colours["surface"]}; font-family: system-ui, sans-serif"'
    return re.sub(r"^<svg", f'<?xml version="1.0" encoding="UTF-8"?>\n<svg {style}', text) + "\n"


@cache
def _settings() -> dict[str, Any]:
    """Return matplotlib's settings for charts, checked once. A matplotlibrc of this machine has no say."""
    with rc_context():
        rcdefaults()
        rcParams.update(_STYLE)  # type: ignore[arg-type]
        return {name: dict.__getitem__(rcParams, name) for name in rcParams}


@contextmanager
def _figure(wide: float, high: float) -> Iterator[tuple[Figure, Axes]]:
    with rc_context():
        dict.update(rcParams, _settings())  # type: ignore[misc]
        figure = Figure((wide / _INCH, high / _INCH), layout="constrained")
        axes = figure.subplots()
        axes.tick_params(length=0, pad=6)
        yield figure, axes


def _room(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the range of some values with a margin on both sides."""
    least, most = float(values.min()), float(values.max())
    room = 0.05 * (most - least) or 1.0
    return np.array([least - room, most + room])


def _interval(axes: Axes, interval: tuple[float, float] | None, row: float, colour: str, width: float) -> None:
    if interval is not None:
        axes.plot(interval, (row, row), color=colour, linewidth=width, alpha=0.45, zorder=2)


def _few_ticks(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))


def _log_sizes(axes: Axes, names: Mapping[float, str], label: str) -> None:
    """Make an axis logarithmic and label the sizes as far as the labels don't overlap."""
    axes.set_xscale("log")
    shown = _apart(names, 1.35)
    axes.set_xticks(shown, labels=[names[size] for size in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(label)
    axes.yaxis.grid(True, color=LINE, linewidth=0.8, alpha=0.7)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)


def _apart(sizes: Iterable[float], times: float) -> list[float]:
    """Some of the sizes, each so many times the one before."""
    shown: list[float] = []
    for size in sorted(sizes):
        if not shown or size > times * shown[-1]:
            shown.append(size)
    return shown


def _at_the_end(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    axes.annotate(text, (x, y), (-4, 8), color=colour, textcoords="offset points", ha="right", annotation_clip=False)


def _labels(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Names right of the curves' ends, moved apart where they would cover each other."""
    if not ends:
        return
    scale = axes.yaxis.get_transform().transform
    low, high = scale(np.array(axes.get_ylim()))
    right = max(end[0] for end in ends)
    ordered = sorted(ends, key=lambda end: end[1])
    places = ((scale(np.array([end[1] for end in ordered])) - low) / (high - low)).clip(0, 1).tolist()
    for number in range(1, len(places)):
        places[number] = max(places[number], places[number - 1] + _LINE)
    # Those that were moved out at the top push the others down again.
    top = 1.02
    for number in reversed(range(len(places))):
        places[number] = min(places[number], top)
        top = places[number] - _LINE
    for place, (_, _, name, colour) in zip(places, ordered, strict=True):
        axes.annotate(name, (right, place), (10, 0), color=colour, xycoords=("data", "axes fraction"),
                      textcoords="offset points", va="center", annotation_clip=False)  # fmt: skip


def as_svg(figure: Figure, name: str) -> str:
    """Return the figure as an element of a page, without a prologue, a size in points and names of groups."""
    content = io.StringIO()
    # `savefig` would draw everything twice, at first only to lay it out.
    FigureCanvasSVG(figure).print_svg(content, metadata=_NO_METADATA)  # type: ignore[no-untyped-call]
    text = content.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r'(<svg[^>]*?) width="([\d.]+)pt" height="([\d.]+)pt"', r'\1 width="\2" height="\3"', text, count=1)
    text = re.sub(r"^<svg", f'<svg class="chart chart-{name}" aria-hidden="true"', text)
    text = re.sub(r' id="[A-Za-z.]+2?d?_\d+"|<style.*?</style>| font-family: [^;]*;', "", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return re.sub(r' d="[^"]*"', lambda path: _NUMBER.sub(_short, path[0]), text)


def _short(number: re.Match[str]) -> str:
    """Round a coordinate to a tenth of a pixel, finer than any screen."""
    return f"{float(number[0]):.1f}".removesuffix(".0")
