"""The circuits of a run side by side, as a page: `index.html`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from circuitlang.plan.labels import Labels
from circuitlang.plan.model import Circuit, Plan
from circuitlang.reporting.diagram.diagram_names import diagram_names
from circuitlang.reporting.html.circuit_table import COLUMNS, STEP, ListedCircuit, circuit_table
from circuitlang.reporting.html.pages import render
from circuitlang.reporting.terminal.comparison_report import claims, title
from circuitlang.reporting.text import circuit_sentences, edit_sentences, split_sentences, verdict_sentences
from circuitlang.reporting.text.extension_calls import curve_label
from circuitlang.results.assertions import assertions
from circuitlang.results.comparison import Comparison
from circuitlang.results.edit import EditResult
from circuitlang.results.split import Split
from circuitlang.results.sweep import Curve, Sweep, effective
from circuitlang.results.sweep_grouping import sweeps
from circuitlang.results.types import Summary

if TYPE_CHECKING:
    from circuitlang.reporting.html.charts import Series


@dataclass(frozen=True)
class _Drawn:
    """A sweep with its charts; `unlabelled` curves, where they are too many to be named."""

    sweep: Sweep
    fidelity: Markup
    effective: Markup
    unlabelled: int


@dataclass(frozen=True)
class _Compared:
    """A comparison in its folder, and what it says."""

    folder: str
    title: str
    claims: Sequence[str]
    page: bool
    diagrams: Sequence[str]


def index(
    name: str,
    plan: Plan,
    finished: Mapping[str, Summary],
    splits: Mapping[str, Split] | None = None,
    compared: Mapping[str, Comparison] | None = None,
    thumbnails: Mapping[str, str] | None = None,
    edits: Mapping[str, EditResult] | None = None,
) -> bytes:
    """Return the page of a run: all circuits of its plan, with the parts of its splits.

    Summaries of finished circuits and splits are by id, comparisons by folder, data URIs of thumbnails by circuit,
    edits by name.
    """
    splits = splits or {}
    rows = rows_of(plan, finished, splits)
    summaries = [summary for _, summary in rows if summary]
    known: list[Summary | Split] = [*summaries, *splits.values()]
    names = {name: None for summary in summaries for name in summary.train.metrics}
    metric = "pearson" if "pearson" in names or not names else next(iter(names))
    # A column that says the same of every circuit says nothing.
    differs = [word for word in COLUMNS if len({str(getattr(circuit, word)) for circuit in plan.circuits}) > 1]
    # The labels of the plan, as finished circuits may still have other labels.
    labels, images = (plan.labels or Labels()).texts(), thumbnails or {}
    listed = [ListedCircuit(circuit, summary, labels, images.get(circuit.id, "")) for circuit, summary in rows]
    return render(
        "index.html",
        name=name,
        model=str(plan.model),
        table=circuit_table(listed, differs, metric),
        step=STEP,
        counts=Counter(map(verdict_sentences.title, summaries)).most_common(),
        failed=[
            assertion for assertion in assertions(plan, finished, edits) if assertion.computed and not assertion.holds
        ],
        notes=list(
            dict.fromkeys(note for summary in known for note in circuit_sentences.weights_notes(summary.provenance))
        ),
        splits=[(circuit, splits[circuit.id]) for circuit in plan.circuits if circuit.id in splits],
        conclusion=split_sentences.conclusion,
        is_clear=split_sentences.is_clear,
        evidence=split_sentences.evidence,
        done=len(summaries),
        metric=metric,
        held_out=all(summary.test for summary in summaries),
        sweeps=[_draw(sweep) for sweep in sweeps(plan.circuits, finished)],
        edits=[(edit, edit_sentences.claims(edit)) for edit in (edits or {}).values()],
        comparisons=[
            _Compared(
                folder,
                title(comparison),
                claims(comparison),
                comparison.has("page"),
                list(diagram_names(comparison, "html")) if comparison.has("diagram_html") else [],
            )
            for folder, comparison in (compared or {}).items()
        ],
    )


def rows_of(
    plan: Plan, finished: Mapping[str, Summary], splits: Mapping[str, Split]
) -> list[tuple[Circuit, Summary | None]]:
    """Return the circuits of a plan in its order, finished or not, with the parts of its splits."""
    by_circuit: dict[str, list[Summary]] = {}
    for summary in finished.values():
        by_circuit.setdefault(summary.asked_as, []).append(summary)
    rows: list[tuple[Circuit, Summary | None]] = []
    for circuit in plan.circuits:
        mine = by_circuit.get(circuit.id, [])
        rows += [(summary.plan, summary) for summary in mine]
        # The number of parts is not known before the split.
        if not mine or (circuit.into is not None and circuit.id not in splits):
            rows.append((circuit, None))
    return rows


def _draw(sweep: Sweep) -> _Drawn:
    """Draw the curves of a sweep with more than one size."""
    if len(sweep.sizes) < 2:
        return _Drawn(sweep, Markup(), Markup(), 0)
    # Only now, as a run whose circuits are all alike has nothing to draw.
    from circuitlang.reporting.html import charts

    names = {size: sweep.size(size) for size in sweep.sizes}
    label = f"share of the relevant {sweep.noun}s kept" if sweep.axis == "sparsity" else f"{sweep.noun}s kept"
    sizes = charts.Sizes(f"{label}, nominally", names)
    metric = sweep.metric
    series = [_series(curve, lambda summary: summary.judged.metrics[metric], metric) for curve in sweep.curves]
    drawn = charts.sweep(metric, series, sweep.baselines(metric), sweep.baseline_name, sizes)
    alive = ""
    if sweep.axis == "sparsity":
        alive = charts.effective([_series(curve, effective) for curve in sweep.curves], sizes)
    return _Drawn(sweep, Markup(drawn), Markup(alive), len(series) if len(series) > len(charts.SERIES) else 0)


def _series(curve: Curve, number: Callable[[Summary], float], metric: str = "") -> Series:
    """Return a number of the circuits of a curve, their median and its interval; of a metric, as the sweep has it."""
    from circuitlang.reporting.html.charts import Series

    spreads = [point.fidelity(metric) if metric else point.over(number) for point in curve.points]
    features = {feature for point in curve.points for feature in point.summaries}
    # A feature whose circuits are not all there has no line of its own.
    whole = sorted(feature for feature in features if all(feature in point.summaries for point in curve.points))
    members = [[number(point.summaries[feature]) for point in curve.points] for feature in whole]
    return Series(
        curve_label(curve),
        [point.size for point in curve.points],
        [spread.value for spread in spreads],
        [spread.low for spread in spreads],
        [spread.high for spread in spreads],
        members if len(features) > 1 else (),
    )
