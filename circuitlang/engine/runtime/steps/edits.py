"""The edits of a plan: passes forward through the network and the edited network."""

from __future__ import annotations

from collections.abc import Iterator

from circuitlang.engine.runtime.network_costs import NetworkCosts
from circuitlang.engine.runtime.steps.circuit_amounts import forwards
from circuitlang.engine.runtime.steps.probes import Files, edit_probes
from circuitlang.engine.runtime.steps.step import Step
from circuitlang.plan.edits import IMAGE, Edit, OfChannels, OfKernel
from circuitlang.plan.model import Plan
from circuitlang.plan.targets import Channel, ClassOutput, Target

# The network and the edited one; and where a part is patched, the network on the other images.
_SCALED, _PATCHED = 2, 3


def edit_steps(edit: Edit, plan: Plan, network: NetworkCosts, files: Files) -> Iterator[Step]:
    """Yield the steps of an edit. Raises InputError for targets that the network hasn't."""
    yield from edit_probes(edit, plan, network, files)
    targets = [*edit.measure, *([ClassOutput(0)] if edit.classes else [])]
    operations = network.together([network.find(target) for target in targets])
    passes = _SCALED if edit.patch is None else _PATCHED
    yield Step("edit", "", forwards(operations, (passes, len(files.get(edit.images, ())))))


def edited_targets(edit: Edit) -> Iterator[Target]:
    """Yield the channels that an edit is about, as targets."""
    match edit.of:
        case OfChannels(layer=layer, units=units):
            yield from (Channel(layer, unit) for unit in units)
        case OfKernel(layer=layer, unit=unit, source_layer=source_layer, source=source):
            yield Channel(layer, unit)
            if source_layer != IMAGE:
                yield Channel(source_layer, source)
