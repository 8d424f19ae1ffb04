"""Baselines: circuits of the same size by other criteria, built in the same way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from circuitlang.engine.circuits.selection import count
from circuitlang.engine.runtime.steps.circuit_amounts import CircuitAmounts
from circuitlang.engine.runtime.steps.refit import refit_cost
from circuitlang.engine.runtime.steps.responses import feature_key
from circuitlang.engine.runtime.steps.step import Step
from circuitlang.plan.clauses import building
from circuitlang.plan.model import Choice

if TYPE_CHECKING:
    from circuitlang.engine.runtime.found_circuit import FoundCircuit
    from circuitlang.results.types import Fidelity

# Their criteria, which take no pass.
_CRITERIA = ("random", "magnitude")


class Baselines:
    """Fidelity of baselines, as `measurement.Measurement`."""

    def steps(self, amounts: CircuitAmounts) -> Iterator[Step]:
        """Yield a step that circuits of one feature and size share, if these are known beforehand: the size that a
        search finds isn't, and neither is how many kernels are stable."""
        asked, number = amounts.asked, len(_CRITERIA)
        size = asked.id if asked.size is None or asked.stable is not UNSET else asked.size
        cost = amounts.forwards((number, amounts.judged_on))
        cost += refit_cost(asked, amounts.forward.operations, amounts.images.found_on, number)
        yield Step("baselines", f"{feature_key(asked)}|{size}|{building(asked)}", cost)

    def measure(self, circuit: FoundCircuit) -> dict[str, Any]:
        """Return the fidelity of each on the images that judge the circuit."""
        return {"baselines": {name: self._fidelity(name, circuit) for name in _CRITERIA}}

    def _fidelity(self, name: str, circuit: FoundCircuit) -> Fidelity:
        from circuitlang.engine.runtime.circuit_finder import CircuitFinder

        job, plan = circuit.job, circuit.job.plan
        size = circuit.asked if plan.stable is UNSET else count(circuit.built.masks)

        def compute() -> Fidelity:
            return circuit.judge(CircuitFinder(circuit.builder, Choice(name), plan.seed)(size))

        pictures = job.train.digest, job.test.digest if job.test else ""
        key = "baseline", name, size, *building(plan), plan.seed, *pictures
        fidelity: Fidelity = job.subnetwork.memo.once(key, compute)
        return fidelity
