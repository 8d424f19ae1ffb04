"""The network's classification against the one that has the circuit's output for its class."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from circuitlang.engine.runtime.steps.circuit_amounts import CircuitAmounts, forwards
from circuitlang.engine.runtime.steps.responses import feature_key
from circuitlang.engine.runtime.steps.step import Step
from circuitlang.plan.targets import ClassOutput

if TYPE_CHECKING:
    from circuitlang.engine.runtime.found_circuit import FoundCircuit


class ClassComparison:
    """Classifications, as `measurement.Measurement`."""

    def steps(self, amounts: CircuitAmounts) -> Iterator[Step]:
        """Yield a step for the network's outputs, if the target is a class; the circuit has been run."""
        asked = amounts.asked
        if isinstance(asked.target, ClassOutput) and (operations := amounts.network.classification(amounts.target)):
            yield Step("classes", f"{feature_key(asked)}|classes", forwards(operations, (1, amounts.judged_on)))

    def measure(self, circuit: FoundCircuit) -> dict[str, Any]:
        """Return the comparison; nothing can be compared unless there are several classes, each a single number."""
        from circuitlang.engine.evaluation import class_check

        job, subnetwork = circuit.job, circuit.job.subnetwork
        images, own = job.test or job.train, circuit.judge.responses_of(circuit.built)
        if not isinstance(job.plan.target, ClassOutput) or own.shape[1] > 1 or subnetwork.target.step.width < 2:
            return {"classes": UNSET}
        network = subnetwork.memo.once(
            ("outputs", images.digest), partial(class_check.outputs, subnetwork, images, "the network's classes")
        )
        (unit,) = subnetwork.target.units
        names = circuit.classes if len(circuit.classes) == network.shape[1] else ()
        return {"classes": class_check.class_check(network, unit, own[:, 0], names)}
