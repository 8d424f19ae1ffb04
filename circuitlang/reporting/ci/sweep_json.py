"""Sweeps as data: what `sweep.json` holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from circuitlang.results.statistics import median
from circuitlang.results.sweep import Curve, Point, Sweep


def sweep_data(sweeps: Sequence[Sweep]) -> bytes:
    """Every sweep with all its numbers, by the keys of metrics.json: medians over features and their intervals."""
    content = {"version": 1, "sweeps": [_sweep(sweep) for sweep in sweeps]}
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(errors="replace")


def _sweep(sweep: Sweep) -> dict[str, Any]:
    return {
        "name": sweep.name,
        "statement": sweep.statement,
        "axis": sweep.axis,
        "features": list(sweep.features),
        "missing": sweep.missing,
        "curves": [_curve(curve, sweep.metrics) for curve in sweep.curves],
    }


def _curve(curve: Curve, metrics: Sequence[str]) -> dict[str, Any]:
    areas = {metric: area for metric in metrics if (area := curve.area(metric)) is not None}
    return {
        "label": curve.label,
        "values": dict(curve.values),
        "points": [_point(point) for point in curve.points],
        "areas": {metric: round(area, 6) for metric, area in areas.items()},
    }


def _point(point: Point) -> dict[str, Any]:
    """Return the measurements of a point's circuits. The intervals of a single circuit are its own, over images."""
    flats = [summary.flat() for summary in point.summaries.values()]
    names = [name for name in flats[0] if not name.endswith((".low", ".high")) and all(name in flat for flat in flats)]
    numbers = {}
    for name in names:
        value, low, high = median([flat[name] for flat in flats])
        if len(flats) == 1:
            low, high = (flats[0].get(f"{name}.{side}", value) for side in ("low", "high"))
        numbers[name] = {"value": round(value, 6), "low": round(low, 6), "high": round(high, 6)}
    return {
        "size": point.size,
        "circuits": {feature: summary.plan.id for feature, summary in point.summaries.items()},
        "numbers": numbers,
    }
