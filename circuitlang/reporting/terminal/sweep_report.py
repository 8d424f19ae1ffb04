"""A sweep in the terminal: a table of sizes by curves, and the curves themselves, readable without colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from circuitlang.reporting.text import circuit_sentences
from circuitlang.reporting.text.extension_calls import curve_label
from circuitlang.results.sweep import Curve, Sweep

# Columns between two cells of the table, and of what is left and right of all of them.
_BETWEEN, _BESIDE = 2, 26
# Columns of a label from which on it is folded.
_LABEL = 24
# Sizes of a plot: its rows, the columns of its axis, its least columns, and those between two plots.
_ROWS, _AXIS, _PLOT, _GAP = 9, 5, 36, 2
_MEDIAN, _INTERVAL, _BASELINE = "●", "│", "·"


def sweep_report(sweep: Sweep) -> RenderableType:
    """Render the table of a sweep and, from three sizes on, its curves."""
    where = "on held-out images" if sweep.held_out else "held out where anything was"
    title = Text.assemble((sweep.name, "bold"), (f"  {sweep.metric} {where}, by size", "dim"))
    parts: list[RenderableType] = [title, Text(_caption(sweep), "dim"), Text(), _Tables(sweep)]
    if sweep.comparable:
        parts.append(Text("mean: over all sizes, which count by their logarithm", "dim"))
    if sweep.missing:
        said = "one of its circuits is" if sweep.missing == 1 else f"{sweep.missing:,} of its circuits are"
        parts.append(Text(f"! {said} missing, and medians are of what is there", "yellow"))
    if len(sweep.sizes) > 2:
        parts += [Text(), _Plots(sweep)]
    return Group(*parts)


def _caption(sweep: Sweep) -> str:
    if len(sweep.features) == 1:
        return f"of {sweep.features[0]}, with its 95% interval over images"
    return f"medians of {len(sweep.features)} features, with the bootstrap's 95% interval over features"


@dataclass(frozen=True)
class _Tables:
    """As many curves side by side as the terminal has room for, and the others below."""

    sweep: Sweep

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        curves = self.sweep.curves
        cells = [_cell(curve, size, self.sweep.metric) for curve in curves for size in self.sweep.sizes]
        labels = [min(len(curve_label(curve)), _LABEL) for curve in curves]
        wide = max(*labels, *(len(cell.plain) for cell in cells))
        room = max(1, (options.max_width - _BESIDE) // (wide + _BETWEEN))
        # No last table of a single column, where that can be.
        curves_per_row = math.ceil(len(curves) / math.ceil(len(curves) / room))
        for start in range(0, len(curves), curves_per_row):
            yield from [Text()] if start else []
            yield _table(self.sweep, curves[start : start + curves_per_row], wide)


def _table(sweep: Sweep, curves: Sequence[Curve], wide: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in ("size", f"{sweep.noun}s", *map(curve_label, curves)):
        table.add_column(title, justify="right", overflow="fold", max_width=wide)
    table.add_column(sweep.baseline_name, justify="right", style="dim", overflow="fold", max_width=9)
    baselines = sweep.baselines(sweep.metric)
    for size in sweep.sizes:
        points = [point for curve in sweep.curves for point in curve.points if point.size == size]
        asked = sorted({summary.asked for point in points for summary in point.summaries.values()})
        number = f"{asked[0]:,}" if len(asked) == 1 else f"~{asked[len(asked) // 2]:,}"
        cells = [_cell(curve, size, sweep.metric) for curve in curves]
        baseline = f"{baselines[size]:.3f}" if size in baselines else "-"
        table.add_row(sweep.size(size), number, *cells, baseline)
    if sweep.comparable:
        table.add_section()
        table.add_row("mean", "", *(f"{curve.area(sweep.metric):.3f}" for curve in curves), "", style="bold")
    return table


def _cell(curve: Curve, size: float, metric: str) -> Text:
    for point in curve.points:
        if point.size == size:
            fidelity = point.fidelity(metric)
            return Text.assemble(
                f"{fidelity.value:.3f} ", (circuit_sentences.interval((fidelity.low, fidelity.high)), "dim")
            )
    return Text("-", "dim")


@dataclass(frozen=True)
class _Plots:
    """A plot for each curve, side by side as far as there is room."""

    sweep: Sweep

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        side_by_side = max(1, min(len(self.sweep.curves), (options.max_width + _GAP) // (_PLOT + _GAP)))
        wide = min(56, (options.max_width + _GAP) // side_by_side - _GAP)
        plots = [_plot(self.sweep, curve, wide) for curve in self.sweep.curves]
        for start in range(0, len(plots), side_by_side):
            for lines in zip(*plots[start : start + side_by_side], strict=True):
                yield Text((" " * _GAP).join(lines).rstrip(), no_wrap=True)
            yield Text()
        yield Text(f"{_MEDIAN} {self._what()}  {_INTERVAL} 95% interval  {_BASELINE} random, same size", "dim")

    def _what(self) -> str:
        return self.sweep.metric if len(self.sweep.features) == 1 else f"median {self.sweep.metric}"


def _plot(sweep: Sweep, curve: Curve, wide: int) -> list[str]:
    """Plot a curve against the logarithm of the size, as lines of `wide` columns."""
    plot = wide - _AXIS
    columns = _places(sweep.sizes, plot)
    spreads = {columns[point.size]: point.fidelity(sweep.metric) for point in curve.points}
    floor = min(0.0, *(spread.low for spread in spreads.values()))
    cells = [[" "] * plot for _ in range(_ROWS)]

    def row(value: float) -> int:
        return round((1 - min(max(value, floor), 1.0)) / (1 - floor) * (_ROWS - 1))

    for size, value in sweep.baselines(sweep.metric).items():
        cells[row(value)][columns[size]] = _BASELINE
    for column, spread in spreads.items():
        for number in range(row(spread.high), row(spread.low) + 1):
            cells[number][column] = _INTERVAL
        cells[row(spread.value)][column] = _MEDIAN
    label = curve_label(curve)
    title = label if len(label) <= wide else f"{label[: wide - 1]}…"
    ticks = {row(1.0): "1.0", row(0.5): "0.5", row(0.0): "0.0"}
    lines = [f"{ticks.get(number, ''):>3} ┤" + "".join(line) for number, line in enumerate(cells)]
    return [title.ljust(wide), *lines, *_sizes(sweep, columns, wide)]


def _places(sizes: Sequence[float], wide: int) -> dict[float, int]:
    """Return the column of each size; the first is a few columns from the left, the last from the right."""
    low, high = math.log(sizes[0]), math.log(sizes[-1])
    return {size: 1 + round((math.log(size) - low) / (high - low) * (wide - 4)) for size in sizes}


def _sizes(sweep: Sweep, columns: dict[float, int], wide: int) -> list[str]:
    """Return the axis, labelled with sizes as far as the labels don't overlap."""
    plot = wide - _AXIS
    axis, names = ["─"] * plot, [" "] * wide
    free = 0
    for size, column in columns.items():
        axis[column] = "┴"
        name = sweep.size(size)
        start = min(_AXIS + column - len(name) // 2, wide - len(name))
        if start >= free:
            names[start : start + len(name)] = name
            free = start + len(name) + 1
    return [" " * (_AXIS - 1) + "└" + "".join(axis), "".join(names)]
