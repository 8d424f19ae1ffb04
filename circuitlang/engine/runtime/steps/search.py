"""The search for a circuit: of the size that its plan asks for, or of the smallest that reaches its bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from circuitlang.engine.circuits.selection import count
from circuitlang.engine.runtime.steps.circuit_amounts import CircuitAmounts
from circuitlang.engine.runtime.steps.refit import refit_cost
from circuitlang.engine.runtime.steps.scores import tries
from circuitlang.engine.runtime.steps.step import Step
from circuitlang.results.types import SizeTrial

if TYPE_CHECKING:
    from circuitlang.engine.runtime.found_circuit import FoundCircuit


class Search:
    """The sizes that are tried, and the circuit that is built, as `measurement.Measurement`."""

    def steps(self, amounts: CircuitAmounts) -> Iterator[Step]:
        """Yield a step: every circuit is built, and all but the last are run on the images that judge it."""
        asked, found_on = amounts.asked, amounts.images.found_on
        tried = tries(asked, amounts.relevant)
        means = 1 if asked.ablation.name == "mean" else 0
        cost = amounts.forwards((tried, amounts.judged_on), (means, found_on))
        yield Step("search", "", cost + refit_cost(asked, amounts.forward.operations, found_on, 1 + tried))

    def measure(self, circuit: FoundCircuit) -> dict[str, Any]:
        """Return the numbers of kernels, layer by layer, and the sizes that were tried, smallest first."""
        built, walk = circuit.built, circuit.walk
        return {
            "relevant": count(circuit.builder.relevant),
            "asked": circuit.asked,
            "kept": count(built.masks),
            "constant": count(circuit.job.subnetwork.constant),
            "effective": count(built.effective),
            "layers": circuit.layers(),
            "walk": [SizeTrial(kernels=trial.size, values=[*trial.circuit.values]) for trial in walk.tried]
            if walk
            else [],
        }
