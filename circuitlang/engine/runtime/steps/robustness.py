"""The fidelity of a circuit's kernels under the other ablations that `robust=` names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from circuitlang.engine.circuits.refit_amounts import OPTIMAL_PASSES
from circuitlang.engine.runtime.steps.circuit_amounts import PASS, CircuitAmounts
from circuitlang.engine.runtime.steps.step import Step
from circuitlang.results.forecast import Cost

if TYPE_CHECKING:
    from torch import Tensor

    from circuitlang.engine.runtime.found_circuit import FoundCircuit
    from circuitlang.plugins.protocols import Edits
    from circuitlang.results.types import Fidelity

# The network beside the circuit, where removed kernels put out what they do for other images.
_SUBSTITUTED = 2


class RobustFidelity:
    """Fidelity under other ablations, as `measurement.Measurement`."""

    def steps(self, amounts: CircuitAmounts) -> Iterator[Step]:
        """Yield a step if a circuit names any."""
        if amounts.asked.robust:
            yield Step("robust", "", _cost(amounts))

    def measure(self, circuit: FoundCircuit) -> dict[str, Any]:
        """Return the fidelity by ablation; resampling needs two images."""
        from circuitlang.engine.evaluation.robustness import Robustness
        from circuitlang.engine.runtime.circuit_finder import BuiltCircuit

        builder, built, judge, job = circuit.builder, circuit.built, circuit.judge, circuit.job
        plan, effective = job.plan, builder.connected(built.masks)
        if not plan.robust:
            return {"robust": UNSET}

        def run(edits: Edits) -> Tensor:
            return judge.run(BuiltCircuit(built.subnetwork, {}, built.masks, effective, edits))

        ablated = Robustness(builder, built.masks, (job.train, circuit.train.network), job.test or job.train, run)
        measured: dict[str, Fidelity] = {}
        for way in plan.robust:
            # The circuit itself is measured already.
            own = plan.calibrate == "none" and plan.ablation.name == way
            responses = judge.responses_of(built) if own else ablated.responses(way)
            if responses is not None:
                measured[way] = judge.fidelity(responses)
        return {"robust": measured}


def _cost(amounts: CircuitAmounts) -> Cost:
    asked, found_on, judged_on = amounts.asked, amounts.images.found_on, amounts.judged_on
    ways = asked.robust or ()
    own = {asked.ablation.name} if asked.calibrate == "none" else set()
    runs = sum(_SUBSTITUTED if way in ("resample", "blur") else 1 for way in ways if way not in own)
    if "resample" in ways and found_on == judged_on == 1:
        runs -= _SUBSTITUTED
    cost = amounts.forwards((runs, judged_on))
    weights = asked.structure == "weight"
    if ("optimal" in ways and not weights) or ("mean" in ways and "mean" not in own):
        # A mean that the circuit is ablated by is counted there.
        cost += Cost() if "mean" in own else amounts.forwards((1, found_on))
    if "optimal" in ways:
        trained = OPTIMAL_PASSES * found_on
        # Beside the training: its starts, and the sizes of channels.
        cost += amounts.forwards((2 if weights else 3, found_on))
        finding = trained * PASS * amounts.forward.operations
        cost += Cost(OPTIMAL_PASSES, finding=finding, forwarded=trained, returned=trained)
    return cost
