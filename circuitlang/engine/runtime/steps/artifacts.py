"""Images and the module of a circuit, which `runtime.artifacts` makes: their cost."""

from __future__ import annotations

from collections.abc import Iterator

from circuitlang.engine.circuits.extraction.verification import CHECKED
from circuitlang.engine.runtime.steps.circuit_amounts import PASS, CircuitAmounts
from circuitlang.engine.runtime.steps.step import Step
from circuitlang.engine.visuals import amounts as visuals
from circuitlang.engine.visuals import path_fidelity
from circuitlang.results.forecast import Cost
from circuitlang.results.outputs import MODULE
from circuitlang.results.visualised_channels import BUDGET, NOTHING, VISUALISATIONS

# On the few images that the module is compared on, network and circuit; on those of the diagram, both for the feature
# and for channels.
_COMPARED, SHOWN = 2, 4


class ArtifactWork:
    """Steps of what a circuit's folder has besides its numbers."""

    def steps(self, amounts: CircuitAmounts) -> Iterator[Step]:
        """Yield a step for each kind; of paths of the diagram there are as many as there may be."""
        if not amounts.folder:
            return
        judged_on, operations = amounts.judged_on, amounts.forward.operations
        few = min(judged_on, visuals.SHOWN)
        yield Step(MODULE, "", amounts.forwards((_COMPARED, min(judged_on, CHECKED))))
        yield Step("activation maps", "", amounts.forwards((SHOWN, few)))
        yield Step("path fidelity", "", amounts.forwards((path_fidelity.MOST, judged_on)))
        # A pass over a few images tells what kernels carry to the feature.
        carried = Cost(forwards=1, measuring=PASS * operations * few, forwarded=few, returned=few)
        yield Step("contributions", "", carried)
        tried = Cost(forwarded=amounts.network.tried(amounts.target))
        yield Step(VISUALISATIONS, f"{amounts.asked.target}|part", tried)
        yield Step(VISUALISATIONS, "", _visualised(amounts))


def visualising(amounts: CircuitAmounts) -> int:
    """Return the operations that images of channels take, in each circuit or part of a split.

    The images that are made in the network are stored, and not counted, and neither are those that all of a layer begin
    with.
    """
    if amounts.visualised == NOTHING:
        return 0
    work = _versions(amounts) * _channels(amounts) * amounts.network.image_work(amounts.target)
    return min(work, amounts.parts * visuals.OPERATIONS) if amounts.visualised == BUDGET else work


def _visualised(amounts: CircuitAmounts) -> Cost:
    """Return the cost of making an image that excites the feature, and images of channels, step by step."""
    if amounts.visualised == NOTHING:
        return Cost()
    feature = Cost(forwarded=visuals.STARTS + visuals.STEPS, returned=visuals.STEPS)
    steps = visuals.STEPS * _channels(amounts) * (_versions(amounts) - 1)
    return feature * amounts.parts + Cost(forwarded=steps, returned=steps)


def _versions(amounts: CircuitAmounts) -> int:
    """Return in how many networks a channel is visualised: by a budget in the circuit alone."""
    return 1 if amounts.visualised == BUDGET else 2


def _channels(amounts: CircuitAmounts) -> int:
    """Return the number of channels that are visualised, at most; there are no more than kernels."""
    most = visuals.MOST if amounts.visualised == BUDGET else max(amounts.visualised, 0)
    return amounts.parts * min(most, amounts.relevant if amounts.size is None else amounts.size)
