"""The cost of the tests that `tests=` asks for."""

from __future__ import annotations

from circuitlang.engine.circuits.selection import budget
from circuitlang.engine.runtime.refit_cost import refit_cost
from circuitlang.plan.clauses import Circuit
from circuitlang.plugins.hypothesis_tests import TESTS, Runs
from circuitlang.results.forecast import Cost


def hypothesis_cost(asked: Circuit, relevant: int, operations: int, found_on: int, judged_on: int) -> Cost:
    """Return the cost of a circuit's tests; `operations` are those of one image's forward pass."""
    size = None if asked.size is None else budget(asked.size, relevant)
    cost = Cost()
    for choice in asked.tests:
        runs: Runs = TESTS.load(choice.name).runs(size, **choice.parameters)
        images = runs.circuits * judged_on
        cost += Cost(forwards=runs.circuits, measuring=operations * images, forwarded=images)
        cost += refit_cost(asked, operations, found_on, runs.built) if runs.built else Cost()
    return cost
