"""Plan and results → what was promised and doesn't hold."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping

from circuitlang.compiler.plan import Origins, Plan
from circuitlang.engine.result import Summary
from circuitlang.errors import Finding

_HOLDS = {"<=": operator.le, ">=": operator.ge}


def unmet(plan: Plan, summaries: Mapping[str, Summary], origins: Origins) -> Iterator[Finding]:
    """The bounds and expectations of a plan that its results don't meet; `summaries` by circuit id.

    What isn't held out because a set is too small is measured in-sample, and said to be.
    """
    for circuit in plan.circuits:
        for bound in circuit.bounds if circuit.id in summaries else ():
            measure = f"{bound.sample}.{bound.metric}"
            key = ("circuits", circuit.id, bound.metric)
            found = _compare(summaries[circuit.id], measure, bound.relation, bound.value)
            if found:
                yield Finding("E331", f"{circuit.id} does not reach its bound", origins.get(key), found)
    for number, expected in enumerate(plan.expectations):
        for name in expected.circuits:
            if name in summaries:
                found = _compare(summaries[name], expected.measure, expected.relation, expected.value)
                if found:
                    span = origins.get(("expectations", str(number)))
                    yield Finding("E330", f"{name} is not as expected", span, found)


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
