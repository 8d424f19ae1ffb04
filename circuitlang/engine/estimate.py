"""Plan → forecast: what a run would do and roughly what it would cost; no weight is read and no picture decoded.

The cost of a circuit is counted in passes, one forward and one backward of the network up to the target over the
pictures it is found on, and in floating-point operations: two for each multiply-add of a convolution or linear layer.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import torch

from circuitlang.compiler.plan import Circuit as CircuitPlan
from circuitlang.compiler.plan import Key, Origins, Plan
from circuitlang.engine import visualise
from circuitlang.engine.build import IMAGES
from circuitlang.engine.contracts import CRITERIA, LoadedModel, passes_of
from circuitlang.engine.graph import Graph, Step
from circuitlang.engine.images import find, held_out
from circuitlang.engine.kinds import numbers
from circuitlang.engine.prepare import check_criterion, collect, collect_target, outline, read_model, refusals
from circuitlang.engine.scenes import PICTURES
from circuitlang.engine.select import budget
from circuitlang.engine.targets import resolve
from circuitlang.errors import Finding, InputError, listing

# A backward pass computes two gradients, of the input and of the output, each as much work as the forward pass.
_PASS = 3
# On the pictures it was found on the network and the circuit are run, and the network again for exemplars.
_ON_TRAIN = 3
# On the held-out ones the network and the circuit; where fidelity is judged, also two baselines, the network without
# the circuit, and twice more the circuit, beside its module and for what pictures show of it.
_ON_TEST, _RIVALS = 2, 6
# On what it is contrasted with, the network and the circuit.
_ON_CONTRAST = 2
# On the few that the diagram shows, the network and the circuit, for the feature and for every channel.
_SHOWN = 4
# A refit runs the network and the circuit; a circuit is refitted, and its baselines.
_REFIT = 2 * 3

# A circuit's folder is not there, holds another circuit than would be found, or holds the very one.
State = Literal["new", "changed", "finished"]


@dataclass(frozen=True)
class Cost:
    """Passes to find a circuit, forwards to build and measure it, and the floating-point operations of either.

    `forwarded` and `returned` are how many pictures go forward and backward in all: for that, and to make one that
    excites the feature in the circuit, which the operations are without. The one that excites it in the network is made
    once for all circuits of a feature, and not counted.
    """

    passes: float = 0
    forwards: int = 0
    finding: int = 0
    measuring: int = 0
    forwarded: float = 0
    returned: float = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.passes + other.passes,
            self.forwards + other.forwards,
            self.finding + other.finding,
            self.measuring + other.measuring,
            self.forwarded + other.forwarded,
            self.returned + other.returned,
        )


@dataclass(frozen=True)
class Setting:
    """A value of a circuit, as it is written in the language, and its origin: `file:line`, `default`, or unknown."""

    word: str
    value: str
    origin: str


@dataclass(frozen=True)
class ImageSet:
    """A set and how many files it matches."""

    name: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    limit: int | None
    pictures: int


@dataclass(frozen=True)
class Circuit:
    """What is known of a circuit before it is found.

    It is found on `found_on` pictures, contrasted with `contrasted_with`, and measured on `measured_on` others; copies
    of one picture, which are not held out apart, may shift these. `asked` is None without a size, `relevant` and `cost`
    are where they can't be told before the model is run. `refused` says why this version can't run it. Of a circuit
    whose scores are there, `scored` says so, and they cost nothing.
    """

    id: str
    name: str
    settings: tuple[Setting, ...]
    images: str
    test: str | None
    contrast: str | None
    found_on: int
    measured_on: int
    contrasted_with: int
    relevant: int | None
    asked: int | None
    cost: Cost | None
    refused: tuple[str, ...]
    state: State = "new"
    # Where its scores come from without a pass: `cache`, or the id of the circuit of this plan that has the same.
    scored: str = ""


@dataclass(frozen=True)
class Forecast:
    """What a run would do; `size` is the side of the pictures that the model takes, in pixels."""

    model: str
    size: int
    images: tuple[ImageSet, ...]
    circuits: tuple[Circuit, ...]
    comparisons: tuple[tuple[str, ...], ...]
    expectations: tuple[str, ...]

    @property
    def due(self) -> tuple[Circuit, ...]:
        """The circuits that would be computed: they can be run, and are not finished."""
        return tuple(each for each in self.circuits if not each.refused and each.state != "finished")

    @property
    def total(self) -> Cost:
        """What the circuits that are due cost together."""
        return sum((each.cost for each in self.due if each.cost), Cost())


def estimate(plan: Plan, folder: Path, origins: Origins, allow_code: bool = False) -> Forecast:
    """What running a plan would take, every circuit taken to be new. Raises InputError with everything wrong with
    the model, the patterns and the targets, each at the words it is about."""
    findings: list[Finding] = []
    network: _Network | None = None
    with collect(findings, origins, ("model",)):
        network = _Network(*read_model(plan.model, folder, partial(outline, allow_code=allow_code)))
    sets: dict[str, ImageSet] = {}
    for name, images in plan.images.items():
        with collect(findings, origins, ("images", name)):
            number = len(find(images, folder))
            sets[name] = ImageSet(name, tuple(images.include), tuple(images.exclude), images.limit, number)
    circuits = [_circuit(each, network, sets, origins, findings) for each in plan.circuits]
    if findings or network is None:
        raise InputError(findings)
    return Forecast(
        model=str(plan.model),
        size=network.loaded.preprocess.crop,
        images=tuple(sets.values()),
        circuits=tuple(circuits),
        comparisons=tuple(tuple(names) for names in plan.comparisons),
        expectations=tuple(
            f"{each.measure} {each.relation} {each.value:g} of {listing(each.circuits)}" for each in plan.expectations
        ),
    )


def scored_before(circuits: Iterable[Circuit], plan: Plan, cached: Collection[str]) -> Iterator[Circuit]:
    """Circuits, with nothing to pay for scores that are in the cache, or that a circuit before them has left there."""
    plans = {each.id: each for each in plan.circuits}
    first: dict[str, str] = {}
    for circuit in circuits:
        asked = plans[circuit.id]
        nested = CRITERIA.load(asked.criterion.name).nested if not circuit.refused else False
        basis = plan.basis(asked)
        scored = "cache" if circuit.id in cached else first.get(basis, "") if nested else ""
        if not circuit.refused and circuit.state != "finished":
            first.setdefault(basis, circuit.id)
        if scored and circuit.cost and circuit.cost.passes:
            spared = circuit.cost.passes * circuit.found_on
            forwarded, returned = circuit.cost.forwarded - spared, circuit.cost.returned - spared
            cost = replace(circuit.cost, passes=0, finding=0, forwarded=forwarded, returned=returned)
            circuit = replace(circuit, scored=scored, cost=cost)
        yield circuit


def _circuit(
    asked: CircuitPlan,
    network: _Network | None,
    sets: dict[str, ImageSet],
    origins: Origins,
    findings: list[Finding],
) -> Circuit:
    key: Key = ("circuits", asked.id)
    pictures = _pictures(asked, sets)
    relevant: int | None = None
    cost: Cost | None = None
    before = len(findings)
    with collect(findings, origins, (*key, "criterion")):
        check_criterion(asked.criterion)
    if network is not None:
        with collect_target(findings, origins, asked.id):
            target = resolve(asked.target, network.graph, network.loaded.classes)
            relevant = network.relevant(target.step, target.units, asked.structure == "weight")
            if len(findings) == before:
                operations = network.operations(target.step, target.units)
                cost = _cost(asked, relevant, operations, *pictures)
                if asked.into is not None:
                    cost += _more_of_a_split(asked, operations, *pictures[:2])
    return Circuit(
        id=asked.id,
        name=asked.name,
        settings=tuple(_settings(asked)),
        images=asked.images,
        test=asked.test,
        contrast=asked.contrast,
        found_on=pictures[0],
        measured_on=pictures[1],
        contrasted_with=pictures[2],
        relevant=relevant,
        asked=None if asked.size is None or relevant is None else budget(asked.size, relevant),
        cost=cost,
        refused=tuple(refusals(asked).values()),
    )


def _pictures(asked: CircuitPlan, sets: dict[str, ImageSet]) -> tuple[int, int, int]:
    """How many pictures a circuit is found on, how many others it is measured on, and with how many it is contrasted,
    those that are held out of these among them."""
    there = {name: each.pictures for name, each in sets.items()}
    found_on, others = there.get(asked.images, 0), there.get(asked.contrast or "", 0)
    if asked.test is not None:
        return found_on, there.get(asked.test, 0), others
    out = held_out(asked.holdout, found_on)
    return found_on - out, out, others


def _cost(
    asked: CircuitPlan, relevant: int, operations: int, found_on: int, measured_on: int, contrasted_with: int
) -> Cost:
    """`operations` are those of one picture's forward pass; what a search for a size tries is a guess."""
    passes = passes_of(asked.criterion.name, asked.criterion.parameters)
    judged_on = measured_on or found_on
    # Each size down to the last, and some between two of them.
    tries = round(math.log2(max(relevant, 2))) if asked.size is None else 0
    if tries and not CRITERIA.load(asked.criterion.name).nested:
        passes *= tries
    fitted = (_REFIT + 2 * tries if asked.calibrate != "none" else 0), min(found_on, IMAGES)
    averaged = (1 if asked.ablation.name == "mean" else 0), found_on
    forwards = [(_ON_TRAIN, found_on), (_ON_TEST if measured_on else 0, measured_on), (_RIVALS + tries, judged_on)]
    against_out = held_out(asked.holdout, contrasted_with)
    against = contrasted_with - against_out
    forwards += [
        fitted,
        averaged,
        (_SHOWN, min(judged_on, PICTURES)),
        (_ON_CONTRAST if contrasted_with else 0, against_out or against),
    ]
    measured = sum(count * pictures for count, pictures in forwards)
    scored = passes * (found_on + against)
    return Cost(
        passes=passes,
        forwards=sum(count for count, _ in forwards),
        finding=round(scored * _PASS * operations),
        measuring=operations * measured,
        forwarded=scored + measured + visualise.STEPS,
        returned=scored + visualise.STEPS,
    )


def _more_of_a_split(asked: CircuitPlan, operations: int, found_on: int, measured_on: int) -> Cost:
    """What a split costs more than a circuit: its parts share the pictures, so that their circuits cost together what
    one does, but for the pictures that are shown of each. Where their number is open, as if there were the most."""
    parts = numbers(None, found_on)[-1] if asked.into == "auto" else asked.into or 1
    # Every picture is scored by itself, and the circuit of all pictures is found.
    passes = passes_of(asked.criterion.name, asked.criterion.parameters)
    scored = found_on * (passes + 1) + measured_on
    fitted = (_REFIT // 3 if asked.calibrate != "none" else 0), min(found_on, IMAGES)
    averaged = (1 if asked.ablation.name == "mean" else 0), found_on
    shown = _SHOWN * (parts - 1), min((measured_on or found_on) // parts, PICTURES)
    # The network and all circuits on the pictures of all parts.
    forwards = [fitted, averaged, shown, (parts + 2 if measured_on else 0, measured_on)]
    measured = sum(count * pictures for count, pictures in forwards)
    made = visualise.STEPS * (parts - 1)
    return Cost(
        passes=passes + 1,
        forwards=sum(count for count, _ in forwards),
        finding=round(scored * _PASS * operations),
        measuring=operations * measured,
        forwarded=scored + measured + made,
        returned=scored + made,
    )


def _settings(asked: CircuitPlan) -> list[Setting]:
    """Every value of a circuit but its pictures, in the order in which a spec would say them."""
    here = asked.origin.get("circuit", "")
    found = [Setting("target", str(asked.target), here)]
    if asked.size is not None:
        found.append(Setting("size", str(asked.size), asked.origin.get("size", "")))
    found += [
        Setting("bound", f"{bound.sample}.{bound.metric}{bound.relation}{bound.value:g}", here)
        for bound in asked.bounds
    ]
    if asked.into is not None:
        found.append(Setting("into", str(asked.into), here))
    words = {
        "criterion": asked.criterion,
        "ablation": asked.ablation,
        "calibrate": asked.calibrate,
        "refill": asked.refill,
        "structure": asked.structure,
        **({} if asked.test else {"holdout": f"{asked.holdout:g}"}),
        "seed": asked.seed,
    }
    return [*found, *(Setting(word, str(value), asked.origin.get(word, "")) for word, value in words.items())]


class _Network:
    """A traced network, and what circuits of one target share."""

    def __init__(self, loaded: LoadedModel, graph: Graph) -> None:
        self.loaded = loaded
        self.graph = graph
        self._relevant: dict[tuple[str, tuple[int, ...], bool], int] = {}

    def relevant(self, step: Step, units: tuple[int, ...], weights: bool) -> int:
        """The number of kernels, or of weights, on a path from the image to these channels."""
        key = step.name, units, weights
        if key not in self._relevant:
            live = self.graph.live(step.name, torch.tensor(units))
            each = {layer.path: math.prod(layer.size) if weights else 1 for layer in self.graph.layers}
            self._relevant[key] = sum(int(mask.sum()) * each[path] for path, mask in live.items())
        return self._relevant[key]

    def operations(self, step: Step, units: tuple[int, ...]) -> int:
        """Floating-point operations of one picture's forward pass up to these channels of a step.

        Where they are a layer's own, of this last layer their rows alone are computed.
        """
        whole = sum(
            self._row[each.name] * each.layer.out_channels for each in self.graph.ancestors(step.name) if each.layer
        )
        spared = step.layer.out_channels - len(set(units)) if step.layer else 0
        return whole - spared * self._row.get(step.name, 0)

    @cached_property
    def _row(self) -> dict[str, int]:
        """By step, the operations of one output channel of a layer: at each position a multiply-add for each weight."""
        found = {}
        for node in self.graph.module.graph.nodes:
            step = self.graph.steps.get(node.name)
            if step is not None and step.layer is not None:
                positions = math.prod(step.positions)
                height, width = step.layer.size
                found[node.name] = 2 * positions * step.layer.inner * height * width
        return found
