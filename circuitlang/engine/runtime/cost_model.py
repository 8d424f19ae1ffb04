"""Plan → what its circuits and edits would take; no weight is read and no image decoded.

The cost of a circuit is counted in passes, one forward and one backward of the network up to the target over the
images it is found on, and in floating-point operations: two for each multiply-add of a convolution or linear layer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from circuitlang.base.diagnostics import Finding, InputError, listing
from circuitlang.engine.images.file_patterns import find
from circuitlang.engine.runtime.network_costs import NetworkCosts
from circuitlang.engine.runtime.options import Options
from circuitlang.engine.runtime.plan_checks import check_criterion, collect, collect_target, refusals
from circuitlang.engine.runtime.steps.artifacts import visualising
from circuitlang.engine.runtime.steps.circuit_amounts import CircuitAmounts, ImageCounts
from circuitlang.engine.runtime.steps.edits import edit_steps, edited_targets
from circuitlang.engine.runtime.steps.measurement import circuit_steps
from circuitlang.engine.runtime.steps.probes import PROBE, check_counts
from circuitlang.engine.runtime.steps.scores import SCORES, STAGE
from circuitlang.engine.runtime.steps.step import Ledger, Step
from circuitlang.plan.clauses import PRESERVE, unsaid
from circuitlang.plan.model import Circuit as CircuitPlan
from circuitlang.plan.model import Edit, Origins, Plan
from circuitlang.results.edits import circuit_of
from circuitlang.results.forecast import FOUND, CircuitForecast, EditForecast, Forecast, ImageSet, Setting, State
from circuitlang.results.visualised_channels import NOTHING, channel_budget

Files = Mapping[str, Sequence[Path]]


@dataclass(frozen=True)
class Existing:
    """Earlier work that a run can use.

    Attributes:
        circuits: States of the folders of circuits, by id; new where there is none.
        edits: States of the folders of edits, by name.
        there: Keys of steps whose outcome is in the cache.
    """

    circuits: Mapping[str, State] = field(default_factory=dict)
    edits: Mapping[str, State] = field(default_factory=dict)
    there: Collection[str] = ()


@dataclass(frozen=True)
class CostModel:
    """The numbers that the cost of a plan follows from.

    Attributes:
        plan: The plan.
        network: Its network.
        files: Files of each set of images.
        amounts: Numbers of each circuit, by id.
    """

    plan: Plan
    network: NetworkCosts
    files: Files
    amounts: Mapping[str, CircuitAmounts]

    def edit_steps(self, edit: Edit) -> Sequence[Step]:
        """Return the steps of an edit."""
        return [*edit_steps(edit, self.plan, self.network, self.files)]

    def forecast(self, existing: Existing, packed: bool) -> Forecast:
        """Return the forecast of a run; `packed` if it keeps circuits as rows of one file."""
        ledger = Ledger(existing.there)
        circuits = tuple(self._circuit(circuit, ledger, existing) for circuit in self.plan.circuits)
        return Forecast(
            model=str(self.plan.model),
            size=self.network.crop,
            images=tuple(self._image_sets()),
            circuits=circuits,
            comparisons=tuple(tuple(names) for names in self.plan.comparisons),
            expectations=tuple(
                f"{expectation.measure} {expectation.relation} {expectation.value:g} of {listing(expectation.subjects)}"
                for expectation in self.plan.expectations
            ),
            weights_notes=self.network.notes,
            packed=packed,
            edits=tuple(self._edit(edit, ledger, existing) for edit in self.plan.edited),
        )

    def _image_sets(self) -> Iterator[ImageSet]:
        for name, images in self.plan.images.items():
            transforms, number = tuple(map(str, images.transformed)), len(self.files[name])
            yield ImageSet(name, tuple(images.include), tuple(images.excluded), images.limit, number, transforms)

    def _circuit(self, asked: CircuitPlan, ledger: Ledger, existing: Existing) -> CircuitForecast:
        state: State = existing.circuits.get(asked.id, "new")
        amounts, refused = self.amounts[asked.id], tuple(refusals(asked).values())
        steps = [*circuit_steps(amounts)]
        # A circuit that is finished leaves nothing to others, and one that can't be run neither.
        left = (Ledger(existing.there) if refused or state in FOUND else ledger).take(asked.id, steps)
        return CircuitForecast(
            id=asked.id,
            name=asked.name,
            settings=tuple(_settings(asked)),
            images=asked.images,
            test=asked.test,
            contrast=asked.contrast,
            found_on=amounts.images.found_on,
            measured_on=amounts.images.measured_on,
            contrasted_with=amounts.images.contrasted_with,
            also=dict(amounts.images.also),
            relevant=amounts.relevant,
            asked=amounts.size,
            cost=left.cost,
            refused=refused,
            state=state,
            scored=left.makers.get(SCORES, ""),
            beside=left.beside.get(SCORES, ""),
            continues=left.makers.get(STAGE, ""),
            probed=next((round(step.cost.forwarded) for step in steps if step.kind == PROBE), 0),
            visualising=visualising(amounts),
        )

    def _edit(self, edit: Edit, ledger: Ledger, existing: Existing) -> EditForecast:
        state: State = existing.edits.get(edit.name, "new")
        left = (Ledger(existing.there) if state in FOUND else ledger).take(edit.name, self.edit_steps(edit))
        return EditForecast(
            name=edit.name,
            edited=f"{edit.of} {edit.how}",
            images=edit.images,
            pictures=len(self.files[edit.images]),
            measured=(*(text for text, _ in edit.targets()), *(["classes"] if edit.classes else [])),
            cost=left.cost,
            waits=circuit_of(edit),
            state=state,
        )


def cost_model(
    plan: Plan, folder: Path, origins: Origins, read: Callable[[], NetworkCosts], options: Options
) -> CostModel:
    """Return the cost model of a plan. Raises InputError with everything wrong with the model, the patterns and the
    targets, each at the words it is about.

    Args:
        plan: The plan.
        folder: What its paths are relative to.
        origins: Where its values came from.
        read: Returns the network.
        options: Options of the run.
    """
    findings: list[Finding] = []
    network: NetworkCosts | None = None
    with collect(findings, origins, ("model",)):
        network = read()
    files: dict[str, Sequence[Path]] = {}
    for name, images in plan.images.items():
        with collect(findings, origins, ("images", name)):
            files[name] = find(images, folder)
    amounts: dict[str, CircuitAmounts] = {}
    visualised = NOTHING if options.packed else channel_budget(options.visualise)
    for circuit in plan.circuits:
        with collect(findings, origins, ("circuits", circuit.id, "criterion")):
            check_criterion(circuit.criterion)
        if network is not None:
            with collect_target(findings, origins, ("circuits", circuit.id, "target")):
                target, counts = network.find(circuit.target), ImageCounts.of(circuit, files)
                check_counts(circuit.target, plan, files)
                known = plan, network, target, counts, files
                amounts[circuit.id] = CircuitAmounts(circuit, *known, options.fast, visualised, not options.packed)
    if network is not None:
        _check_edits(plan, network, files, origins, findings)
    if findings or network is None:
        raise InputError(findings)
    return CostModel(plan, network, files, amounts)


def _check_edits(plan: Plan, network: NetworkCosts, files: Files, origins: Origins, findings: list[Finding]) -> None:
    """Add a finding for what an edit names and the network lacks."""
    for edit in plan.edited:
        for target in edited_targets(edit):
            with collect_target(findings, origins, ("edits", edit.name, "of")):
                network.find(target)
        for number, target in enumerate(edit.measure):
            with collect_target(findings, origins, ("edits", edit.name, "measure", str(number))):
                network.find(target)
                check_counts(target, plan, files)


def _settings(asked: CircuitPlan) -> list[Setting]:
    """Every value of a circuit but its images, in the order in which a spec would say them."""
    here = asked.origin.get("circuit", "")
    settings = [Setting("target", str(asked.target), here)]
    if asked.size is not None:
        settings.append(Setting("size", str(asked.size), asked.origin.get("size", "")))
    settings += [
        Setting("bound", f"{bound.sample}.{bound.metric}{bound.relation}{bound.value:g}", here)
        for bound in asked.bounds
    ]
    if asked.into is not None:
        settings.append(Setting("into", str(asked.into), here))
    silent = unsaid(asked)
    clauses = [clause for clause in PRESERVE.values() if not clause.field and clause.kind != "images"]
    return [
        *settings,
        *(
            Setting(clause.name, clause.text(asked), asked.origin.get(clause.name, ""))
            for clause in clauses
            if clause.key not in silent and not (clause.excludes and getattr(asked, clause.excludes))
        ),
    ]
