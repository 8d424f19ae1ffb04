"""Plan and results → what was promised and doesn't hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from circuitlang.base.diagnostics import Finding
from circuitlang.plan.model import Origins, Plan
from circuitlang.results.assertions import assertions
from circuitlang.results.types import Summary

_SAYS = {"bound": ("E331", "does not reach its bound"), "expectation": ("E330", "is not as expected")}


def failed_assertions(plan: Plan, summaries: Mapping[str, Summary], origins: Origins) -> Iterator[Finding]:
    """The bounds and expectations of a plan that its results don't meet; `summaries` by circuit id. What is asked of a
    split is asked of the circuit of each part.

    What is to be measured on held-out pictures where nothing is held out isn't met.
    """
    for promise in assertions(plan, summaries):
        if promise.computed and not promise.holds:
            code, says = _SAYS[promise.kind]
            span = origins.get(promise.place)
            yield Finding(code, f"{promise.circuit} {says}", span, promise.says, circuit=promise.circuit)
