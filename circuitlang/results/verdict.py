"""The verdict on a circuit: whether it preserves its feature, in a word, by its measured fidelity."""

from __future__ import annotations

from typing import Literal

from circuitlang.plan.clauses import Circuit
from circuitlang.results.types import Fidelity, Summary

Verdict = Literal["preserved", "partly", "not preserved", "worse than silence", "no better than a baseline", "constant"]

# The metric that decides, and the least of it that is `preserved` and `partly`.
METRIC = "pearson"
# The most responses, numbers of a feature, of which a correlation says nothing: any two points lie on a line. There
# 1 - error takes its place.
FEW = 2
PRESERVED = 0.9
PARTLY = 0.5
# A circuit whose pearson is higher by so much on the images that it was found on fits these.
GAP = 0.2
# Silence, no output at all, has an error of 1. The mean of the feature has an r2 of 0.
SILENCE = 1.0
MEAN = 0.0
# Circuits of the same size that one must exceed.
BASELINES = ("random", "magnitude")


def verdict(summary: Summary) -> Verdict:
    """Judge a circuit by its held-out fidelity, or by that of its own images where nothing was held out.

    The first that applies: `constant` is a feature that is the same on all images. `worse than silence` is an error of
    1 or more, or an r2 below 0. A pearson below `PARTLY` is `not preserved`; of no more than `FEW` responses, 1 - error
    stands for pearson, and r2 doesn't count. A pearson whose interval overlaps with
    that of a random or a magnitude circuit of the same size, or lies below it, is `no better than a baseline`; not so
    with `contrast`, which makes a circuit specific, and baselines aren't. What remains is `partly`, or `preserved` from
    `PRESERVED` on, or from the bound on pearson that the spec sets.
    """
    fidelity = summary.judged
    if summary.unheard:
        return "constant"
    below_mean = decisive(summary) == METRIC and fidelity.metrics.get("r2", 0.0) < MEAN
    if fidelity.metrics.get("error", 0.0) >= SILENCE or below_mean:
        return "worse than silence"
    value = merit(summary, fidelity)
    preserved = threshold(summary.plan)
    # Written so that a value that isn't a number is not preserved.
    if not value >= min(PARTLY, preserved):
        return "not preserved"
    if equal_baselines(summary):
        return "no better than a baseline"
    return "preserved" if value >= preserved else "partly"


def decisive(summary: Summary) -> str:
    """Return the metric that decides on a circuit."""
    return "error" if 0 < summary.responses <= FEW and "error" in summary.judged.metrics else METRIC


def merit(summary: Summary, fidelity: Fidelity) -> float:
    """Return how well a fidelity of a circuit speaks of it, 1 at best: pearson, or 1 - error where that decides."""
    value = fidelity.metrics.get(decisive(summary), 0.0)
    return value if decisive(summary) == METRIC else 1 - value


def overfits(summary: Summary) -> bool:
    """Return whether a circuit follows the feature much better on the images that it was found on than on others."""
    if summary.test is None or decisive(summary) != METRIC:
        return False
    own, others = (fidelity.metrics.get(METRIC, 0.0) for fidelity in (summary.train, summary.test))
    return own - others >= GAP


def threshold(circuit: Circuit) -> float:
    """Return the least pearson at which a circuit is preserved: the spec's bound, or `PRESERVED`."""
    bounds = [bound.value for bound in circuit.bounds if bound.metric == METRIC]
    return max(bounds, default=PRESERVED)


def equal_baselines(summary: Summary) -> list[str]:
    """Return the baselines that a circuit is no better than, but for the one that is its own criterion.

    A contrasted circuit leaves out what the feature has in common with other images. Baselines keep that.
    """
    if summary.plan.contrast is not None:
        return []
    return [
        name
        for name in BASELINES
        if name in summary.baselines
        and name != summary.plan.criterion.name
        and _ends(summary, summary.judged)[0] <= _ends(summary, summary.baselines[name])[1]
    ]


def _ends(summary: Summary, fidelity: Fidelity) -> tuple[float, float]:
    """Return the ends of the interval of what decides; of a single image or few responses, the value."""
    value = merit(summary, fidelity)
    return fidelity.intervals.get(METRIC, (value, value)) if decisive(summary) == METRIC else (value, value)
