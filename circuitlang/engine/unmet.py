"""Plan and results → what was promised and doesn't hold."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping

from circuitlang.compiler.plan import Origins, Plan
from circuitlang.engine.result import Summary
from circuitlang.errors import Finding

_HOLDS = {"<=": operator.le, ">=": operator.ge}


def unmet(plan: Plan, summaries: Mapping[str, Summary], origins: Origins) -> Iterator[Finding]:
    """The bounds and expectations of a plan that its results don't meet; `summaries` by circuit id. What is asked of a
    split is asked of the circuit of each part.

    What isn't held out because a set is too small is measured in-sample, and said to be.
    """
    found: dict[str, list[Summary]] = {}
    for summary in summaries.values():
        found.setdefault(summary.asked_as, []).append(summary)
    for circuit in plan.circuits:
        for bound in circuit.bounds:
            measure = f"{bound.sample}.{bound.metric}"
            key = ("circuits", circuit.id, bound.metric)
            for summary in found.get(circuit.id, ()):
                if label := _compare(summary, measure, bound.relation, bound.value):
                    yield Finding("E331", f"{summary.plan.id} does not reach its bound", origins.get(key), label)
    for number, expected in enumerate(plan.expectations):
        span = origins.get(("expectations", str(number)))
        for summary in (each for name in expected.circuits for each in found.get(name, ())):
            if label := _compare(summary, expected.measure, expected.relation, expected.value):
                yield Finding("E330", f"{summary.plan.id} is not as expected", span, label)


def _compare(summary: Summary, measure: str, relation: str, value: float) -> str:
    """What was measured against what was expected, where that fails."""
    numbers = summary.flat()
    if measure not in numbers:
        why = (
            "it is contrasted with nothing"
            if measure.startswith("contrast.")
            else "nothing was held out to measure it on"
        )
        return f"{measure} {relation} {value:g} was expected, but {why}"
    if _HOLDS[relation](numbers[measure], value):
        return ""
    return f"{measure} is {numbers[measure]:.4g}, expected {relation} {value:g}"
