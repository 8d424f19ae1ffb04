"""The tests of a circuit's claim that `tests=` asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from circuitlang.engine.images.hashed_images import held_out
from circuitlang.engine.runtime.steps.circuit_amounts import GUESS, CircuitAmounts, forwards
from circuitlang.engine.runtime.steps.refit import refit_cost
from circuitlang.engine.runtime.steps.scores import scoring_cost, summed
from circuitlang.engine.runtime.steps.step import Step
from circuitlang.plan.clauses import Circuit, Sparsity
from circuitlang.plugins.hypothesis_tests import TESTS, Runs
from circuitlang.results.forecast import Cost

if TYPE_CHECKING:
    from torch import Tensor

    from circuitlang.engine.runtime.found_circuit import FoundCircuit
    from circuitlang.plugins.protocols import Edits, Masks


class HypothesisTests:
    """Outcomes of tests, as `measurement.Measurement`."""

    def steps(self, amounts: CircuitAmounts) -> Iterator[Step]:
        """Yield a step for each test."""
        asked, images = amounts.asked, amounts.images
        for choice in asked.tests:
            runs: Runs = TESTS.load(choice.name).runs(amounts.size, **choice.parameters)
            cost = amounts.forwards((runs.circuits, amounts.judged_on))
            if runs.built:
                cost += refit_cost(asked, amounts.forward.operations, images.found_on, runs.built)
            yield Step(f"test {choice.name}", "", cost + _halving_cost(amounts, runs.halvings))

    def measure(self, circuit: FoundCircuit) -> dict[str, Any]:
        """Return the outcomes by name."""
        from circuitlang.engine.evaluation.circuit_claim import BuiltClaim
        from circuitlang.engine.runtime.circuit_finder import BuiltCircuit

        builder, built, judge, plan = circuit.builder, circuit.built, circuit.judge, circuit.job.plan

        def run(masks: Masks, edits: Edits) -> Tensor:
            return judge.run(BuiltCircuit(built.subnetwork, {}, masks, builder.connected(masks), edits))

        noun = "weight" if plan.structure == "weight" else "kernel"
        own = judge.network, judge.responses_of(built)
        halves, resamples = circuit.resampling.halves, circuit.resampling.resamples
        claim = BuiltClaim(builder, built.masks, built.edits, *own, run, halves, plan.seed, noun, resamples=resamples)
        return {"tests": {choice.name: claim.test(choice) for choice in plan.tests}}


def _halving_cost(amounts: CircuitAmounts, number: int) -> Cost:
    """Return the cost of finding circuits on both halves of the images, so many times."""
    asked, images, operations = amounts.asked, amounts.images, amounts.forward.operations
    halves = _halves(images.found_on)
    if not number or not halves:
        return Cost()
    if summed(asked):
        # One pass sums the scores over blocks of the images, of which all halves are made.
        return scoring_cost(asked, amounts.relevant, operations, images.found_on, 0)[0]
    return sum(
        (_search_cost(asked, amounts.relevant, operations, half, images.contrasted_with) for half in halves * number),
        Cost(),
    )


def _halves(images: int) -> tuple[int, ...]:
    """Return the numbers of images of two halves; nothing for a single image."""
    second = held_out(0.5, images)
    return (images - second, second) if second else ()


def _search_cost(asked: Circuit, relevant: int, operations: int, images: int, contrasted_with: int) -> Cost:
    """Return the cost of finding the circuit on so many images, without a refit."""
    # The search on other images takes the size that was found; for one that is not known yet, a guess stands in.
    sized = asked if asked.size is not None else replace(asked, size=Sparsity(GUESS))
    own, stages = scoring_cost(sized, relevant, operations, images, contrasted_with)
    cost = sum(stages.values(), own)
    return cost + forwards(operations, (1, images)) if asked.ablation.name == "mean" else cost
