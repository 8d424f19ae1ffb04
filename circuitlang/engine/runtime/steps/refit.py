"""Refits of circuits, as `calibrate` says."""

from __future__ import annotations

from circuitlang.engine.circuits import refit_amounts, small_batches
from circuitlang.engine.runtime.steps.circuit_amounts import PASS, forwards
from circuitlang.plan.clauses import Circuit, EndToEnd
from circuitlang.results.forecast import Cost

# A layerwise refit runs the network and the circuit.
_LAYERWISE = 2


def refit_cost(asked: Circuit, operations: int, found_on: int, circuits: int) -> Cost:
    """Return the cost of so many refits; `operations` are those of one image's forward pass."""
    if asked.calibrate == "none" or not found_on:
        return Cost()
    cost = forwards(operations, (_LAYERWISE * circuits, min(found_on, refit_amounts.REFITTED)))
    if not isinstance(asked.calibrate, EndToEnd):
        return cost
    images, passes = min(found_on, refit_amounts.TRAINED), asked.calibrate.passes
    again = small_batches.rounds(images)
    trained = circuits * passes * again * images
    cost += Cost(trained / found_on, finding=trained * PASS * operations, forwarded=trained, returned=trained)
    return cost + forwards(operations, (circuits * refit_amounts.training_forwards(passes * again), images))
