"""The cost of the scores of a circuit, by criterion, size and number of images."""

from __future__ import annotations

import math
from dataclasses import replace

from circuitlang.engine.circuits.selection import budget
from circuitlang.engine.images.hashed_images import held_out
from circuitlang.engine.runtime.amounts import COMPARED
from circuitlang.plan.model import Circuit, Plan
from circuitlang.plugins.protocols import CRITERIA, Schedule, Stage, complete, passes_of
from circuitlang.results.forecast import CircuitForecast, Common, Cost, SharedStage

# A backward pass computes two gradients, of the input and of the output, each as much work as the forward pass.
PASS = 3


def scoring_cost(
    asked: Circuit, basis: str, relevant: int, operations: int, found_on: int, contrasted_with: int
) -> tuple[Cost, tuple[SharedStage, ...]]:
    """Return the cost of a circuit's own scores, and of the stages that it shares with circuits of other sizes.

    `operations` are those of one image's forward pass, and `basis` is what its scores follow from, but for its size.
    """
    criterion, number = asked.criterion, tries(asked, relevant)
    images = found_on + contrasted_with - held_out(asked.holdout, contrasted_with)
    entry = CRITERIA.load(criterion.name)
    if not (isinstance(entry, Schedule) and entry.stages):
        passes = passes_of(criterion.name, criterion.parameters)
        return _cost(Stage(0, passes if entry.nested else passes * max(number, 1)), images, found_on, operations), ()
    own, shared = Cost(), dict[int, Cost]()
    sizes = [relevant >> step for step in range(number)] if asked.size is None else [budget(asked.size, relevant)]
    for size in sizes:
        *first, last = entry.stages(relevant, size, **complete(criterion.name, criterion.parameters))
        own += _cost(last, images, found_on, operations)
        shared |= {stage.budget: _cost(stage, images, found_on, operations) for stage in first}
    if asked.into is not None:
        # Each part has images of its own.
        return sum(shared.values(), own), ()
    return own, tuple(SharedStage(basis, size, cost) for size, cost in shared.items())


def checked(circuit: CircuitForecast, asked: Circuit, plan: Plan) -> CircuitForecast:
    """Add the cost of scoring a few images in either precision, once for all sizes if scores do not depend on them."""
    if circuit.cost is None or not circuit.found_on:
        return circuit
    basis, share = plan.basis(asked), 2 * min(circuit.found_on, COMPARED) / circuit.found_on
    size = "" if CRITERIA.load(asked.criterion.name).nested else circuit.asked
    few = [Common(f"{basis}|{size}", circuit.scoring * share)]
    few += [Common(f"{basis}|stage {stage.budget}", stage.cost * share) for stage in circuit.stages]
    return replace(circuit, cost=sum((stage.cost for stage in few), circuit.cost), common=(*circuit.common, *few))


def _cost(stage: Stage, images: int, own: int, operations: int) -> Cost:
    """Return the cost of a stage on images, of which `own` are not those of a contrast.

    Passes over a part of the images count as parts of passes, and passes in which they come several times as several.
    """
    most = images if stage.images is None else stage.images
    drawn, others = min(own, most), min(images - own, most)
    # The images of a contrast come once in a pass, however often the others do.
    seen = stage.passes * (drawn * max(1, math.ceil(stage.least / max(drawn, 1))) + others)
    forwarded = stage.forwards * (drawn + others) + stage.beside * seen
    return Cost(
        passes=seen // images if images and seen % images == 0 else seen / max(images, 1),
        finding=round((seen * PASS + forwarded) * operations),
        forwarded=seen + forwarded,
        returned=seen,
    )


def tries(asked: Circuit, relevant: int) -> int:
    """Guess how many sizes a search tries: each down to the last, and some between two of them."""
    return round(math.log2(max(relevant, 2))) if asked.size is None else 0
