"""Plan → forecast: what a run would do and roughly what it would cost; no weight is read and no image decoded.

The cost of a circuit is counted in passes, one forward and one backward of the network up to the target over the
images it is found on, and in floating-point operations: two for each multiply-add of a convolution or linear layer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from msgspec import UNSET

from circuitlang.base.diagnostics import Finding, InputError, listing
from circuitlang.engine.analysis.split.clustering import numbers
from circuitlang.engine.circuits.extraction.verification import CHECKED
from circuitlang.engine.circuits.selection import budget
from circuitlang.engine.images.file_patterns import find
from circuitlang.engine.images.hashed_images import held_out
from circuitlang.engine.runtime.amounts import TOGETHER
from circuitlang.engine.runtime.concept_cost import check_counts, circuit_probe, edit_probes
from circuitlang.engine.runtime.edit_cost import edit_cost, edited_targets
from circuitlang.engine.runtime.hypothesis_cost import GUESS, hypothesis_cost
from circuitlang.engine.runtime.network_costs import NetworkCosts, TargetNode
from circuitlang.engine.runtime.plan_checks import check_criterion, collect, collect_target, refusals
from circuitlang.engine.runtime.refit_cost import refit_cost
from circuitlang.engine.runtime.robust_cost import robust_cost
from circuitlang.engine.runtime.scoring_cost import PASS, checked, scoring_cost, tries
from circuitlang.engine.visuals import amounts, path_fidelity
from circuitlang.plan.clauses import PRESERVE, building, unsaid
from circuitlang.plan.model import Circuit as CircuitPlan
from circuitlang.plan.model import Edit, Key, Origins, Plan, Sparsity
from circuitlang.plan.targets import ClassOutput
from circuitlang.plugins.protocols import CRITERIA, Criterion, passes_of
from circuitlang.results.edits import circuit_of
from circuitlang.results.forecast import (
    FOUND,
    CircuitForecast,
    Common,
    Cost,
    EditForecast,
    Forecast,
    Forward,
    ImageSet,
    Setting,
    SharedStage,
)

# On the images it was found on and on the held-out ones, the network and the circuit.
_NETWORK, _CIRCUIT = 1, 1
# Circuits that are measured besides: two baselines, and the network without the circuit.
_BASELINES, _WITHOUT = 2, 1
# On the few images that the module is compared on, both; on the few of the diagram, both for feature and channels.
_CHECKED, _SHOWN = 2, 4


def estimate(
    plan: Plan, folder: Path, origins: Origins, read: Callable[[], NetworkCosts], fast: bool = False
) -> Forecast:
    """Estimate the cost of a plan as if every circuit were new; `fast`, with scores in TF32. `read` gives the network.

    Raises InputError with everything wrong with the model, the patterns and the targets, each at the words it is about.
    """
    findings: list[Finding] = []
    network: NetworkCosts | None = None
    with collect(findings, origins, ("model",)):
        network = read()
    sets: dict[str, ImageSet] = {}
    files: dict[str, Sequence[Path]] = {}
    for name, images in plan.images.items():
        with collect(findings, origins, ("images", name)):
            files[name] = find(images, folder)
            number, transforms = len(files[name]), tuple(map(str, images.transformed))
            sets[name] = ImageSet(name, tuple(images.include), tuple(images.excluded), images.limit, number, transforms)
    circuits = [_circuit(circuit, plan, network, files, origins, findings) for circuit in plan.circuits]
    edits = [_edit(edit, plan, network, files, origins, findings) for edit in plan.edited]
    if findings or network is None:
        raise InputError(findings)
    if fast:
        circuits = [checked(circuit, asked, plan) for circuit, asked in zip(circuits, plan.circuits, strict=True)]
    return Forecast(
        model=str(plan.model),
        size=network.crop,
        images=tuple(sets.values()),
        circuits=tuple(circuits),
        comparisons=tuple(tuple(names) for names in plan.comparisons),
        expectations=tuple(
            f"{expectation.measure} {expectation.relation} {expectation.value:g} of {listing(expectation.subjects)}"
            for expectation in plan.expectations
        ),
        weights_notes=network.notes,
        edits=tuple(edits),
    )


def _edit(
    edit: Edit,
    plan: Plan,
    network: NetworkCosts | None,
    files: Mapping[str, Sequence[Path]],
    origins: Origins,
    findings: list[Finding],
) -> EditForecast:
    cost, key, pictures = Cost(), ("edits", edit.name), len(files.get(edit.images, ()))
    common: tuple[Common, ...] = ()
    if network is not None:
        for target in edited_targets(edit):
            with collect_target(findings, origins, (*key, "of")):
                network.find(target)
        for number, target in enumerate(edit.measure):
            with collect_target(findings, origins, (*key, "measure", str(number))):
                network.find(target)
                check_counts(target, plan, files)
        # Mistakes in its targets were reported above.
        with suppress(InputError):
            common = tuple(edit_probes(edit, plan, network, files))
            cost = sum((probe.cost for probe in common), edit_cost(edit, network, pictures))
    return EditForecast(
        name=edit.name,
        edited=f"{edit.of} {edit.how}",
        images=edit.images,
        pictures=pictures,
        measured=(*(text for text, _ in edit.targets()), *(["classes"] if edit.classes else [])),
        cost=cost,
        waits=circuit_of(edit),
        common=common,
    )


def scored_before(
    circuits: Iterable[CircuitForecast],
    plan: Plan,
    cached: Collection[str],
    answered: Mapping[str, Collection[str]],
    stages: Collection[tuple[str, int]] = (),
    probes: Collection[str] = (),
) -> Iterator[CircuitForecast]:
    """Yield circuits without what is there when their turn comes, or what those before them leave.

    That is scores, stages of scores and probes in the cache, and what the network makes of the images (see
    `known_inputs.answered`).
    """
    plans = {entry.id: entry for entry in plan.circuits}
    scores: dict[str, str] = {}
    made: set[str] = set(probes)
    begun = dict.fromkeys(stages, "cache")
    companies: defaultdict[str, _Company] = defaultdict(_Company)
    for circuit in circuits:
        asked, cost = plans[circuit.id], circuit.cost
        if circuit.refused or cost is None or circuit.forward is None:
            yield circuit
            continue
        finding = sum((stage.cost for stage in circuit.stages), circuit.scoring)
        if circuit.state in FOUND:
            # It leaves nothing to the others, but its scores may be there.
            there = "cache" if circuit.id in cached else ""
            yield replace(circuit, scored=there, cost=cost - finding if there else cost)
            continue
        made.update(_network(asked, contrast) for contrast in answered.get(circuit.id, ()))
        target = str(asked.target)
        for common in circuit.common:
            if common.key in made:
                cost -= common.cost
            elif common.pictures:
                cost -= companies[common.pictures].spared(common.cost, target, circuit.forward)
            made.add(common.key)
        entry, basis = CRITERIA.load(asked.criterion.name), plan.basis(asked)
        scored = "cache" if circuit.id in cached else scores.get(basis, "") if entry.nested else ""
        scores.setdefault(basis, circuit.id)
        beside = continues = ""
        if scored and finding.passes:
            cost -= finding
        elif circuit.stages:
            for stage in circuit.stages:
                continues = begun.get(stage.key, continues)
                cost -= stage.cost if stage.key in begun else Cost()
                begun.setdefault(stage.key, circuit.id)
        elif isinstance(entry, Criterion) and asked.into is None and asked.contrast is None:
            # With other images to measure on, none are held out of those that are scored.
            found_on = f"{asked.images}|{0 if asked.test else asked.holdout}|{asked.seed}"
            company = companies[f"{found_on}|{asked.structure}"]
            beside, spared = company.scored(circuit, circuit.forward, target, entry.cotangent)
            cost -= spared
        yield replace(circuit, scored=scored, beside=beside, continues=continues, cost=cost)


class _Company:
    """Targets that are taken together on the same images, as `ahead` does: what leads to several is computed once."""

    def __init__(self) -> None:
        # The circuit that a target is scored with, or itself, by target.
        self._targets: dict[str, str] = {}
        self._sources: set[tuple[str, object]] = set()
        self._there: set[str] = set()

    def spared(self, cost: Cost, target: str, forward: Forward, circuit: str = "") -> Cost:
        """Return what a target's forward passes save beside those of the targets before it, which it joins."""
        if target in self._targets:
            return cost
        if len(self._targets) % TOGETHER == 0:
            self._there.clear()
        self._targets[target] = circuit
        others = forward.steps.keys() - {forward.own}
        there = sum(forward.steps[name] for name in others & self._there)
        self._there |= others
        share = there / forward.operations
        # An image has been forward, if only a part of the way.
        return replace(cost * share, forwards=cost.forwards, forwarded=cost.forwarded) if share else Cost()

    def scored(self, circuit: CircuitForecast, forward: Forward, target: str, cotangent: object) -> tuple[str, Cost]:
        """With which circuit one is scored, if it isn't the first of them, and what that spares: of criteria of one
        target that begin with the same gradient the backward pass too."""
        before = list(self._targets.values())
        first = circuit.id if len(before) % TOGETHER == 0 else before[-1]
        first = self._targets.get(target, first)
        known = (target, cotangent) in self._sources
        self._sources.add((target, cotangent))
        whole = circuit.scoring
        going = Cost(passes=whole.passes / PASS, finding=whole.finding // PASS, forwarded=whole.forwarded)
        spared = self.spared(going, target, forward, first)
        if first == circuit.id:
            return "", Cost()
        return first, whole if known else spared


def _on(asked: CircuitPlan) -> str:
    """The images of a circuit, and which of them are held out."""
    return f"{asked.images}|{asked.test}|{asked.holdout}|{asked.seed}"


def _circuit(
    asked: CircuitPlan,
    plan: Plan,
    network: NetworkCosts | None,
    files: Mapping[str, Sequence[Path]],
    origins: Origins,
    findings: list[Finding],
) -> CircuitForecast:
    key: Key = ("circuits", asked.id)
    pictures, also = _pictures(asked, files), _also(asked, files)
    relevant: int | None = None
    image_work = 0
    forward: Forward | None = None
    cost, scoring, stages, common = None, Cost(), tuple[SharedStage, ...](), tuple[Common, ...]()
    before = len(findings)
    with collect(findings, origins, (*key, "criterion")):
        check_criterion(asked.criterion)
    if network is not None:
        with collect_target(findings, origins, ("circuits", asked.id, "target")):
            target = network.find(asked.target)
            check_counts(asked.target, plan, files)
            relevant = _relevant(asked, network, target)
            if len(findings) == before:
                forward = network.forward(target)
                operations = forward.operations
                scoring, stages = scoring_cost(asked, plan.basis(asked), relevant, operations, *pictures[::2])
                tried, image_work = network.tried(target), network.image_work(target)
                common = (*_common(asked, operations, *pictures), Common(f"{asked.target}|part", Cost(forwarded=tried)))
                common = (*common, *_common_also(asked, operations, also), *circuit_probe(asked, plan, network, files))
                if isinstance(asked.target, ClassOutput) and (all_classes := network.classification(target)):
                    cost = _forwards(all_classes, (_NETWORK, pictures[1] or pictures[0]))
                    common = (*common, Common(f"{_network(asked)}|classes", cost))
                cost = _cost(asked, relevant, operations, *pictures)
                cost += _forwards(operations, *((_CIRCUIT, count) for count in also.values()))
                shared = (*(stage.cost for stage in stages), *(work.cost for work in common))
                cost = sum(shared, cost + scoring)
                if asked.into is not None:
                    cost += _more_of_a_split(asked, operations, *pictures[:2], sum(also.values()))
    return CircuitForecast(
        id=asked.id,
        name=asked.name,
        settings=tuple(_settings(asked)),
        images=asked.images,
        test=asked.test,
        contrast=asked.contrast,
        found_on=pictures[0],
        measured_on=pictures[1],
        contrasted_with=pictures[2],
        also=also,
        relevant=relevant,
        asked=None if asked.size is None or relevant is None else budget(asked.size, relevant),
        cost=cost,
        scoring=scoring,
        stages=stages,
        common=common,
        forward=forward,
        refused=tuple(refusals(asked).values()),
        image_work=image_work,
    )


def _relevant(asked: CircuitPlan, network: NetworkCosts, target: TargetNode) -> int:
    """Return how many kernels or weights a circuit is found among.

    Within a circuit, these are as many as that one may keep, or a guess where its size is searched for.
    """
    relevant = network.relevant(target, asked.structure == "weight")
    kernels = left = network.relevant(target, weights=False)
    for parent in [*asked.lineage][:0:-1]:
        left = budget(parent.size or Sparsity(GUESS), left)
    return relevant * left // max(kernels, 1)


def _pictures(asked: CircuitPlan, files: Mapping[str, Sequence[Path]]) -> tuple[int, int, int]:
    """Count the images a circuit is found on, the others it is measured on, and those with which it is contrasted,
    those that are held out of these among them."""
    there = {name: len(paths) for name, paths in files.items()}
    found_on, others = there.get(asked.images, 0), there.get(asked.contrast or "", 0)
    if asked.test is not None:
        return found_on, there.get(asked.test, 0), others
    out = held_out(asked.holdout, found_on)
    return found_on - out, out, others


def _also(asked: CircuitPlan, files: Mapping[str, Sequence[Path]]) -> dict[str, int]:
    """Count the images of each set that a circuit is measured on besides, less those that it is found on."""
    own = set(files.get(asked.images, ()))
    left = held_out(0 if asked.test else asked.holdout, len(own))
    counts = {}
    for name in asked.also:
        shared = sum(path in own for path in files.get(name, ()))
        # The share of the circuit's images that is held out is also that of the images that a set shares with it.
        counts[name] = len(files.get(name, ())) - shared + (round(shared * left / len(own)) if shared else 0)
    return counts


def _forwards(operations: int, *runs: tuple[int, int]) -> Cost:
    """Runs of so many networks or circuits on so many images."""
    pictures = sum(count * many for count, many in runs)
    number = sum(count for count, many in runs if many)
    return Cost(forwards=number, measuring=operations * pictures, forwarded=pictures)


def _contributions(operations: int, images: int) -> Cost:
    """Return the cost of what kernels carry to the feature: a pass over a few images."""
    return Cost(forwards=1, measuring=PASS * operations * images, forwarded=images, returned=images)


def _network(asked: CircuitPlan, contrast: str | None = None) -> str:
    """Return the key of the network's responses to a circuit's images, or to those that it is contrasted with."""
    feature = f"{asked.target}|{_on(asked)}"
    return f"{feature}|{contrast}" if contrast else feature


def _common(
    asked: CircuitPlan, operations: int, found_on: int, measured_on: int, contrasted_with: int
) -> Iterator[Common]:
    """Yield the costs that circuits of one feature share, and those that circuits of one size share too."""
    # Each part of a split has images of its own.
    feature, pictures = _network(asked), f"{_on(asked)}|" if asked.into is None else ""
    yield Common(feature, _forwards(operations, (_NETWORK, found_on), (_NETWORK, measured_on)), pictures)
    if contrasted_with:
        out = held_out(asked.holdout, contrasted_with)
        cost = _forwards(operations, (_NETWORK, out or contrasted_with))
        yield Common(_network(asked, asked.contrast), cost, pictures and f"{pictures}{asked.contrast}|")
    # Neither is known beforehand: the size that a search finds, and how many kernels are stable.
    size = asked.id if asked.size is None or asked.stable is not UNSET else asked.size
    cost = _forwards(operations, (_BASELINES, measured_on or found_on))
    cost += refit_cost(asked, operations, found_on, _BASELINES)
    yield Common(f"{feature}|{size}|{building(asked)}", cost)


def _common_also(asked: CircuitPlan, operations: int, also: Mapping[str, int]) -> Iterator[Common]:
    """Yield the costs of the network on the sets that circuits of one feature are measured on besides."""
    pictures = f"{_on(asked)}|" if asked.into is None else ""
    for name, count in also.items():
        cost = _forwards(operations, (_NETWORK, count))
        yield Common(_network(asked, name), cost, pictures and f"{pictures}{name}|")


def _cost(
    asked: CircuitPlan, relevant: int, operations: int, found_on: int, measured_on: int, contrasted_with: int
) -> Cost:
    """Return the cost of a circuit beside its scores and what it shares with others."""
    judged_on, tried = measured_on or found_on, tries(asked, relevant)
    against = held_out(asked.holdout, contrasted_with) or contrasted_with
    measured = _forwards(
        operations,
        (_CIRCUIT, found_on),
        (_CIRCUIT, measured_on),
        (_WITHOUT + tried, judged_on),
        (1 if asked.ablation.name == "mean" else 0, found_on),
        (_CHECKED, min(judged_on, CHECKED)),
        (_SHOWN, min(judged_on, amounts.SHOWN)),
        (_CIRCUIT, against),
        # Parts of the diagram, as many as there may be.
        (path_fidelity.MOST, judged_on),
    )
    measured += _contributions(operations, min(judged_on, amounts.SHOWN))
    measured += refit_cost(asked, operations, found_on, 1 + tried)
    measured += robust_cost(asked, operations, found_on, judged_on)
    measured += hypothesis_cost(asked, relevant, operations, found_on, judged_on, contrasted_with)
    # And an image that excites the feature is made, step by step.
    return measured + Cost(forwarded=amounts.STARTS + amounts.STEPS, returned=amounts.STEPS)


def _more_of_a_split(asked: CircuitPlan, operations: int, found_on: int, measured_on: int, also: int) -> Cost:
    """Return the extra cost of a split over a circuit: its parts share the images, so that their circuits cost together
    what one does, but for the images that are shown of each. Where their number is open, there are the most."""
    parts = numbers(None, found_on)[-1] if asked.into == "auto" else asked.into or 1
    # Every image is scored by itself, and the circuit of all images is found.
    passes = passes_of(asked.criterion.name, asked.criterion.parameters)
    scored = found_on * (passes + 1) + measured_on
    measured = _forwards(
        operations,
        (1 if asked.ablation.name == "mean" else 0, found_on),
        (_SHOWN * (parts - 1), min((measured_on or found_on) // parts, amounts.SHOWN)),
        (_CIRCUIT * (parts - 1), also),
        # The network and all circuits on the images of all parts.
        (parts + 2, measured_on),
    )
    made, begun = amounts.STEPS * (parts - 1), amounts.STARTS * (parts - 1)
    measured += refit_cost(asked, operations, found_on, 1)
    finding = round(scored * PASS * operations)
    return measured + Cost(passes=passes + 1, finding=finding, forwarded=scored + begun + made, returned=scored + made)


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
