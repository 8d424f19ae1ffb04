"""The cost of the tests that `tests=` asks for."""

from __future__ import annotations

from msgspec.structs import replace

from circuitlang.engine.circuits.selection import budget
from circuitlang.engine.images.hashed_images import held_out
from circuitlang.engine.runtime.refit_cost import refit_cost
from circuitlang.engine.runtime.scoring_cost import scoring_cost
from circuitlang.plan.clauses import Circuit, Sparsity
from circuitlang.plugins.hypothesis_tests import TESTS, Runs
from circuitlang.plugins.protocols import CRITERIA, Criterion
from circuitlang.results.forecast import Cost

# The size of a circuit whose size is searched for, as a share of the relevant kernels.
GUESS = 0.1


def hypothesis_cost(
    asked: Circuit, relevant: int, operations: int, found_on: int, judged_on: int, contrasted_with: int
) -> Cost:
    """Return the cost of a circuit's tests; `operations` are those of one image's forward pass."""
    size = None if asked.size is None else budget(asked.size, relevant)
    cost = Cost()
    for choice in asked.tests:
        runs: Runs = TESTS.load(choice.name).runs(size, **choice.parameters)
        images = runs.circuits * judged_on
        cost += Cost(forwards=runs.circuits, measuring=operations * images, forwarded=images)
        cost += refit_cost(asked, operations, found_on, runs.built) if runs.built else Cost()
        if runs.halvings and summed(asked):
            # One pass sums the scores over blocks of the images, of which all halves are made.
            if _halves(found_on):
                cost += scoring_cost(asked, "", relevant, operations, found_on, 0)[0]
            continue
        for images in _halves(found_on) * runs.halvings:
            cost += _search_cost(asked, relevant, operations, images, contrasted_with)
    return cost


def summed(asked: Circuit) -> bool:
    """Return whether a circuit's scores on parts of its images add up to those on all of them."""
    return isinstance(CRITERIA.load(asked.criterion.name), Criterion) and asked.contrast is None


def _halves(images: int) -> tuple[int, ...]:
    """Return the numbers of images of two halves; nothing for a single image."""
    second = held_out(0.5, images)
    return (images - second, second) if second else ()


def _search_cost(asked: Circuit, relevant: int, operations: int, images: int, contrasted_with: int) -> Cost:
    """Return the cost of finding the circuit on so many images, without a refit."""
    # The search on other images takes the size that was found; for one that is not known yet, a guess stands in.
    sized = asked if asked.size is not None else replace(asked, size=Sparsity(GUESS))
    own, stages = scoring_cost(sized, "", relevant, operations, images, contrasted_with)
    cost = sum((stage.cost for stage in stages), own)
    if asked.ablation.name == "mean":
        cost += Cost(forwards=1, measuring=operations * images, forwarded=images)
    return cost
