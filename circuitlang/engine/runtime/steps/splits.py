"""Splits: what their parts cost beyond a circuit."""

from __future__ import annotations

from collections.abc import Iterator

from circuitlang.engine.runtime.steps.artifacts import SHOWN
from circuitlang.engine.runtime.steps.circuit_amounts import PASS, CircuitAmounts
from circuitlang.engine.runtime.steps.refit import refit_cost
from circuitlang.engine.runtime.steps.step import Step
from circuitlang.engine.visuals import amounts as visuals
from circuitlang.plugins.protocols import passes_of
from circuitlang.results.forecast import Cost


class SplitWork:
    """Steps of a split beyond those of a circuit.

    Its parts share the images, so that their circuits cost together what one does, but for the images that are shown of
    each. Where their number is open, there are the most.
    """

    def steps(self, amounts: CircuitAmounts) -> Iterator[Step]:
        """Yield a step for a split, and none for a circuit."""
        asked, images, parts = amounts.asked, amounts.images, amounts.parts
        if asked.into is None:
            return
        # Every image is scored by itself, and the circuit of all images is found.
        passes = passes_of(asked.criterion.name, asked.criterion.parameters)
        scored = images.found_on * (passes + 1) + images.measured_on
        measured = amounts.forwards(
            (1 if asked.ablation.name == "mean" else 0, images.found_on),
            (SHOWN * (parts - 1), min(amounts.judged_on // parts, visuals.SHOWN)),
            (parts - 1, sum(images.also.values())),
            # The network and all circuits on the images of all parts.
            (parts + 2, images.measured_on),
        )
        measured += refit_cost(asked, amounts.forward.operations, images.found_on, 1)
        finding = round(scored * PASS * amounts.forward.operations)
        yield Step("split", "", measured + Cost(passes + 1, finding=finding, forwarded=scored, returned=scored))
