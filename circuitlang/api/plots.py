"""Results as axes of matplotlib, which is imported only here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from circuitlang.reporting.text.extension_calls import without_defaults
from circuitlang.results.types import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def circuit_axes(result: Result, axes: Axes | None) -> Axes:
    """Plot the share of each layer's relevant kernels that is kept, as bars."""
    axes = axes or _new_axes()
    layers = result.summary.layers
    shares = [100 * layer.kept / layer.relevant if layer.relevant else 0.0 for layer in layers]
    axes.bar([layer.name for layer in layers], shares)
    axes.set_ylabel("kept kernels (%)")
    axes.set_title(str(result.summary.plan.target))
    return axes


def run_axes(results: Sequence[Result], axes: Axes | None, metric: str) -> Axes:
    """Plot a metric over the share of kept kernels: a line for each target and criterion."""
    axes = axes or _new_axes()
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for result in results:
        summary = result.summary
        value = summary.flat().get(metric, float("nan"))
        name = f"{summary.plan.target}, {without_defaults(summary.plan.criterion)}"
        lines[name].append((100 * summary.kept / max(summary.relevant, 1), value))
    for name, points in lines.items():
        shares, values = zip(*sorted(points), strict=True)
        axes.plot(shares, values, marker="o", label=name)
    axes.set_xscale("log")
    axes.set_xlabel("kept kernels (%)")
    axes.set_ylabel(metric)
    axes.legend()
    return axes


def matrix_axes(values: NDArray[np.float64], names: Sequence[str], axes: Axes | None) -> Axes:
    """Plot a matrix of values from 0 to 1 with a name for each row."""
    axes = axes or _new_axes()
    axes.imshow(values, vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    for row, column in np.ndindex(values.shape):
        axes.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", color="white")
    return axes


def _new_axes() -> Axes:
    """Return the axes of a new figure of the current backend."""
    from matplotlib import pyplot

    return pyplot.figure(layout="constrained").add_subplot()
