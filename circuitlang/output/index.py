"""The circuits of a run side by side, as a page: `index.html`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from circuitlang.compiler.plan import Circuit, Plan
from circuitlang.engine.comparison import Comparison
from circuitlang.engine.contracts import METRICS
from circuitlang.engine.result import Split, Summary
from circuitlang.output import verdict
from circuitlang.output.compared import claims, title
from circuitlang.output.page import render

# What a size is called among the values of a sweep's member.
_SIZES = ("sparsity", "kernels")


@dataclass(frozen=True)
class _Sweep:
    """The curves of what one statement asked for; `unlabelled` of them, where they are too many to be named."""

    name: str
    chart: Markup
    unlabelled: int


@dataclass(frozen=True)
class _Compared:
    """A comparison in its folder, and what it says."""

    folder: str
    title: str
    claims: Sequence[str]


def index(
    name: str,
    plan: Plan,
    finished: Mapping[str, Summary],
    splits: Mapping[str, Split] | None = None,
    compared: Mapping[str, Comparison] | None = None,
) -> bytes:
    """The page of a run: all circuits of its plan, of a split those of its parts, and of those that are finished (by
    id) what was found; the splits that are finished, by id; and by folder what was compared."""
    splits = splits or {}
    rows: list[tuple[Circuit, Summary | None]] = []
    for circuit in plan.circuits:
        mine = [each for each in finished.values() if each.asked_as == circuit.id]
        rows += [(each.plan, each) for each in mine]
        # How many parts there are isn't known before the split is.
        if not mine or (circuit.into is not None and circuit.id not in splits):
            rows.append((circuit, None))
    summaries = [summary for _, summary in rows if summary]
    names = list(dict.fromkeys(name for summary in summaries for name in summary.train.metrics))
    metric = "pearson" if "pearson" in names or not names else names[0]
    return render(
        "index.html",
        name=name,
        model=str(plan.model),
        rows=rows,
        splits=[(circuit, splits[circuit.id]) for circuit in plan.circuits if circuit.id in splits],
        verdict=verdict.verdict,
        evidence=verdict.evidence,
        done=len(summaries),
        # A column that says the same of every circuit says nothing.
        differs=[
            word for word in ("target", "criterion") if len({str(getattr(each, word)) for each in plan.circuits}) > 1
        ],
        names=names,
        metric=metric,
        lower={
            name for name in names if name in METRICS.declarations and "lower" in METRICS.declarations[name].options
        },
        held_out=all(summary.test for summary in summaries),
        sweeps=_sweeps(plan.circuits, finished, metric),
        comparisons=[
            _Compared(folder, title(comparison), claims(comparison)) for folder, comparison in (compared or {}).items()
        ],
    )


def _sweeps(circuits: Sequence[Circuit], finished: Mapping[str, Summary], metric: str) -> list[_Sweep]:
    """The statements that asked for one thing in several sizes, as far as they are finished."""
    asked: dict[tuple[str, str], dict[str, list[Summary]]] = {}
    for circuit in circuits:
        if circuit.id not in finished or not finished[circuit.id].kept:
            continue
        if any(word in circuit.values for word in _SIZES):
            curve = ", ".join(value for word, value in circuit.values.items() if word not in _SIZES)
            curves = asked.setdefault((circuit.name, circuit.statement), {})
            curves.setdefault(curve or str(circuit.criterion), []).append(finished[circuit.id])
    return [
        _sweep(name or "sweep", curves, metric)
        for (name, _), curves in asked.items()
        if any(len(members) > 1 for members in curves.values())
    ]


def _sweep(name: str, curves: Mapping[str, Sequence[Summary]], metric: str) -> _Sweep:
    # Only now, as a run whose circuits are all alike has nothing to draw.
    from circuitlang.output import charts

    series, rivals = [], dict[int, list[float]]()
    for label, members in curves.items():
        ordered = sorted(members, key=lambda summary: summary.kept)
        values = [summary.judged.metrics[metric] for summary in ordered]
        spans = [
            summary.judged.intervals.get(metric, (value, value)) for summary, value in zip(ordered, values, strict=True)
        ]
        low, high = zip(*spans, strict=True)
        series.append(charts.Series(label, [summary.kept for summary in ordered], values, low, high))
        for summary in ordered:
            if "random" in summary.baselines:
                rivals.setdefault(summary.kept, []).append(summary.baselines["random"].metrics[metric])
    baseline = {size: sum(values) / len(values) for size, values in rivals.items()}
    many = len(series) if len(series) > len(charts.SERIES) else 0
    return _Sweep(name, Markup(charts.sweep(metric, series, baseline)), many)
