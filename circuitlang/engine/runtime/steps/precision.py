"""The check of reduced precision: a few images are scored in either precision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from circuitlang.engine.runtime.amounts import COMPARED
from circuitlang.engine.runtime.steps.circuit_amounts import CircuitAmounts
from circuitlang.engine.runtime.steps.scores import ScoreWork
from circuitlang.engine.runtime.steps.step import Step

if TYPE_CHECKING:
    from circuitlang.engine.runtime.found_circuit import FoundCircuit


class Precision:
    """Changes of scores by reduced precision, as `measurement.Measurement`."""

    def steps(self, amounts: CircuitAmounts) -> Iterator[Step]:
        """Yield a step for the scores and for each of their stages, which circuits share as they do the scores."""
        found_on = amounts.images.found_on
        if not amounts.fast or not found_on:
            return
        share = 2 * min(found_on, COMPARED) / found_on
        for scores in ScoreWork().steps(amounts):
            for step in (scores, *scores.needs):
                yield Step("precision", f"precision of {step.key}", step.cost * share)

    def measure(self, circuit: FoundCircuit) -> dict[str, Any]:
        """Return the comparison with single precision; None where scores are computed in that."""
        from circuitlang.engine.runtime.precision_check import reduced

        checked = circuit.job.fast and circuit.finder.score_cache
        return {"reduced": reduced(circuit.job, circuit.asked) if checked else None}
