"""Probes of concepts: a pass forward over all images of both sets, and a fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from circuitlang.engine.runtime.concept_images import HELD_OUT, check_enough
from circuitlang.engine.runtime.network_costs import NetworkCosts
from circuitlang.engine.runtime.steps.circuit_amounts import CircuitAmounts, forwards
from circuitlang.engine.runtime.steps.step import Step
from circuitlang.plan.model import Circuit, Concept, Edit, Plan, Target
from circuitlang.results.edits import circuit_of
from circuitlang.results.forecast import Cost

if TYPE_CHECKING:
    from circuitlang.engine.runtime.jobs import Job
    from circuitlang.engine.runtime.known_job import I, KnownJob

PROBE = "probe"
Files = Mapping[str, Sequence[Path]]


class ProbeWork:
    """Probes of concepts, as `shared_work.SharedWork`."""

    def steps(self, amounts: CircuitAmounts) -> Iterator[Step]:
        """Yield the step of the probe that the target of a circuit asks for, if it does."""
        yield from _circuit_probe(amounts.asked, amounts.plan, amounts.network, amounts.files)

    def there(self, amounts: CircuitAmounts, job: KnownJob[I]) -> Iterator[str]:
        """Yield the key of the probe if it is stored."""
        if job.probe and job.probe.cache.has(None):
            yield from (step.key for step in self.steps(amounts))

    def precompute(self, job: Job, due: Sequence[Job]) -> bool:
        """Fit all probes, so that none is fitted in the midst of a pass that needs it."""
        for other in (job, *due):
            if other.probe:
                other.probe.fit()
        return True


def edit_probes(edit: Edit, plan: Plan, network: NetworkCosts, files: Files) -> Iterator[Step]:
    """Yield the steps of the probes of concepts that an edit measures; images may be missing."""
    asked = next((circuit for circuit in plan.circuits if circuit.id == circuit_of(edit)), None)
    seen: set[str] = set()
    for target in edit.measure:
        if not isinstance(target, Concept) or not {*edit.used_sets} <= files.keys():
            continue
        own = next(_circuit_probe(asked, plan, network, files), None) if asked else None
        step = Step(PROBE, _key(target, (f"{HELD_OUT:g} 0",)), _cost(target, plan, network, files))
        if own and own.key.startswith(_key(target, ())):
            step = own
        if step.key not in seen:
            seen.add(step.key)
            yield step


def check_counts(target: Target, plan: Plan, files: Files) -> None:
    """Raises InputError where a side of a concept has too few files; copies of one image are found by a run."""
    if isinstance(target, Concept) and {target.images, target.against} <= files.keys():
        check_enough(target, _counts(target, plan, files))


def _circuit_probe(asked: Circuit, plan: Plan, network: NetworkCosts, files: Files) -> Iterator[Step]:
    if isinstance(asked.target, Concept) and {*asked.used_sets} <= files.keys():
        how = f"{asked.holdout or HELD_OUT:g} {asked.seed}", *_judged(asked, asked.target, plan, files)
        yield Step(PROBE, _key(asked.target, how), _cost(asked.target, plan, network, files))


def _key(target: Concept, how: tuple[str, ...]) -> str:
    return " ".join((f"{PROBE} {msgspec.structs.replace(target, at=None)}", *how))


def _judged(asked: Circuit, target: Concept, plan: Plan, files: Files) -> Iterator[str]:
    """Yield the sets that a circuit is judged by parts of which a probe has, but those of which the same are held out.

    Of a set that is a side of the concept, the images that are drawn are those that are drawn of the side.
    """
    of = {*files[target.images]}
    sides = of, {*files[target.against]} - (of if _transforms_alike(target, plan) else set())
    own = {*files[asked.images], *files.get(asked.test or "", ())}
    judged = {asked.test or asked.images: {*files[asked.test or asked.images]}}
    if asked.contrast is not None:
        judged[asked.contrast] = {*files[asked.contrast]} - own
    for name, images in judged.items():
        drawn = name != asked.test and images in sides
        if not drawn and images & (sides[0] | sides[1]):
            yield name


def _transforms_alike(target: Concept, plan: Plan) -> bool:
    return plan.images[target.images].transformed == plan.images[target.against].transformed


def _counts(target: Concept, plan: Plan, files: Files) -> tuple[int, int]:
    """Count the images of either side; those of both are the concept's, unless they are transformed in other ways."""
    of, against = files[target.images], files[target.against]
    shared = {*of} if _transforms_alike(target, plan) else set()
    return len(of), sum(path not in shared for path in against)


def _cost(target: Concept, plan: Plan, network: NetworkCosts, files: Files) -> Cost:
    """Return the cost of one forward pass over either side, up to the layer."""
    operations = network.forward(network.find(target)).operations
    return forwards(operations, *((1, count) for count in _counts(target, plan, files)))
