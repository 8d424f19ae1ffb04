"""The cost of the ablations that `robust=` asks for."""

from __future__ import annotations

from circuitlang.engine.circuits.refit_amounts import OPTIMAL_PASSES
from circuitlang.engine.runtime.scoring_cost import PASS
from circuitlang.plan.clauses import Circuit
from circuitlang.results.forecast import Cost

# The network beside the circuit, where removed kernels put out what they do for other images.
_SUBSTITUTED = 2


def robust_cost(asked: Circuit, operations: int, found_on: int, judged_on: int) -> Cost:
    """Return the cost of measuring a circuit under other ablations; `operations` are those of one image's forward
    pass."""
    ways = asked.robust or ()
    own = {asked.ablation.name} if asked.calibrate == "none" else set()
    runs = sum(_SUBSTITUTED if way in ("resample", "blur") else 1 for way in ways if way not in own)
    if "resample" in ways and found_on == judged_on == 1:
        runs -= _SUBSTITUTED
    cost = _forwards(operations, runs, judged_on)
    weights = asked.structure == "weight"
    if ("optimal" in ways and not weights) or ("mean" in ways and "mean" not in own):
        # A mean that the circuit is ablated by is counted there.
        cost += Cost() if "mean" in own else _forwards(operations, 1, found_on)
    if "optimal" in ways:
        trained = OPTIMAL_PASSES * found_on
        # Beside the training: its starts, and the sizes of channels.
        cost += _forwards(operations, 2 if weights else 3, found_on)
        cost += Cost(OPTIMAL_PASSES, finding=trained * PASS * operations, forwarded=trained, returned=trained)
    return cost


def _forwards(operations: int, number: int, images: int) -> Cost:
    return Cost(forwards=number, measuring=operations * number * images, forwarded=number * images)
