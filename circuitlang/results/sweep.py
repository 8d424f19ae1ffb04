"""Sweeps: circuits of one statement in several sizes, by several criteria, of several features."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from circuitlang.results.statistics import median
from circuitlang.results.types import Summary


@dataclass(frozen=True)
class Spread:
    """A number and its 95% interval."""

    value: float
    low: float
    high: float


def shared_metrics(summaries: Sequence[Summary]) -> tuple[str, ...]:
    """The metrics that all circuits were measured by; an extension of one run may lack in another."""
    first, *others = summaries
    return tuple(name for name in first.train.metrics if all(name in other.train.metrics for other in others))


def effective(summary: Summary) -> float:
    """The share of the relevant kernels that is effective."""
    return summary.effective / summary.relevant if summary.relevant else 0.0


@dataclass(frozen=True)
class Point:
    """One size of a curve, as it was asked for, and the circuits of this size, by feature."""

    size: float
    summaries: Mapping[str, Summary]

    def fidelity(self, metric: str) -> Spread:
        """The median over features; of one feature its own value, whose interval is over images."""
        if len(self.summaries) == 1:
            (summary,) = self.summaries.values()
            value = summary.judged.metrics[metric]
            return Spread(value, *summary.judged.intervals.get(metric, (value, value)))
        return self.over(lambda summary: summary.judged.metrics[metric])

    def over(self, number: Callable[[Summary], float]) -> Spread:
        """The median over features of any number of a circuit."""
        return Spread(*median([number(summary) for summary in self.summaries.values()]))


def area(points: Sequence[tuple[float, float]]) -> float | None:
    """Return the mean of a metric over sizes, from pairs of both: the area below the curve, divided by its width.

    Sizes count by their logarithm, so that the small ones have their say, and the metric is interpolated between
    them. None of a curve of one size. After Mueller et al., "MIB: A Mechanistic Interpretability Benchmark", 2025,
    who integrate over the share of edges itself.
    """
    places = [(math.log(size), value) for size, value in points]
    width = places[-1][0] - places[0][0]
    if not width > 0:
        return None
    return sum((b - a) * (first + second) / 2 for (a, first), (b, second) in pairwise(places)) / width


@dataclass(frozen=True)
class Curve:
    """A curve of circuits that differ in size and feature alone, by the values that set it apart; points by size."""

    values: Mapping[str, str]
    label: str
    points: tuple[Point, ...]

    def area(self, metric: str) -> float | None:
        """Return the mean of a metric over sizes; see `area`."""
        return area([(point.size, point.fidelity(metric).value) for point in self.points])


@dataclass(frozen=True)
class Sweep:
    """A statement's circuits as far as they are finished; `missing` of them are not.

    `axis` is what a size is counted in: the share of the relevant kernels, or kernels.
    """

    name: str
    statement: str
    axis: Literal["sparsity", "kernels"]
    noun: str
    features: tuple[str, ...]
    curves: tuple[Curve, ...]
    missing: int

    @property
    def sizes(self) -> tuple[float, ...]:
        """Every size, smallest first."""
        return tuple(sorted({point.size for curve in self.curves for point in curve.points}))

    @property
    def comparable(self) -> bool:
        """True if all curves have the same sizes, of which there are several: their areas can be compared."""
        return len(self.sizes) > 1 and all(len(curve.points) == len(self.sizes) for curve in self.curves)

    @property
    def circuits(self) -> tuple[Summary, ...]:
        """Its members."""
        return tuple(summary for curve in self.curves for point in curve.points for summary in point.summaries.values())

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of fidelity."""
        return shared_metrics(self.circuits)

    @property
    def metric(self) -> str:
        """The one that is shown where there is room for one."""
        return "pearson" if "pearson" in self.metrics else self.metrics[0]

    @property
    def held_out(self) -> bool:
        """True if all fidelity is held-out."""
        return all(circuit.test for circuit in self.circuits)

    @property
    def baseline_name(self) -> str:
        """The name of the random baseline; a curve may have the same."""
        return "random, same size" if any(curve.label == "random" for curve in self.curves) else "random"

    def baselines(self, metric: str, baseline: str = "random") -> dict[float, float]:
        """Return the median fidelity over baseline circuits of the same size, by size."""
        by_size: dict[float, list[float]] = {}
        for curve in self.curves:
            for point in curve.points:
                for summary in point.summaries.values():
                    if baseline in summary.baselines:
                        by_size.setdefault(point.size, []).append(summary.baselines[baseline].metrics[metric])
        return {size: median(values)[0] for size, values in sorted(by_size.items())}

    def size(self, size: float) -> str:
        """A size as it is written: a share in percent, or a count."""
        return f"{100 * size:.4g}%" if self.axis == "sparsity" else f"{size:,.0f}"
