"""Finished circuits → comparisons: those that a plan asks for, and those of any folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from circuitlang.base.diagnostics import InputError
from circuitlang.base.source import resolved
from circuitlang.engine.analysis.agreement import Side, compare
from circuitlang.engine.device import arithmetic
from circuitlang.engine.images.file_patterns import find
from circuitlang.engine.images.image_set import ImageSet, load
from circuitlang.engine.runtime.jobs import PreparedRun
from circuitlang.plan.model import Plan
from circuitlang.plugins.loaded_model import LoadedModel, PathResolver
from circuitlang.plugins.protocols import MODELS
from circuitlang.results.comparison import Comparison
from circuitlang.results.outputs import ComparisonResult, asked_formats
from circuitlang.results.reader import read, unchanged
from circuitlang.results.types import Result, Summary
from circuitlang.results.writer import write_comparison


def compare_circuits(prepared: PreparedRun, circuits: Sequence[Summary], folder: Path, place: Path) -> Comparison:
    jobs, sides, ids = {job.plan.id: job for job in prepared.jobs}, [], [circuit.plan.id for circuit in circuits]
    for circuit in circuits:
        # The parts of a split are compared on the images of all of them.
        where, job = folder / circuit.plan.id, jobs[circuit.asked_as]
        sides.append(Side(circuit.plan.id, read(where), _Module(where), job.train, job.test))
    with arithmetic(prepared.device):
        comparison = compare(sides)
    places = [folder / circuit.plan.id for circuit in circuits]
    result = ComparisonResult(comparison, [side.result for side in sides], ids, places)
    return write_comparison(result, place, asked_formats(prepared.options.render)).comparison


@dataclass(frozen=True)
class Finished:
    """A circuit's folder and, where it is known, the plan of its run with the folder its patterns are relative to."""

    folder: Path
    plan: Plan | None = None
    base: Path = Path()


def compare_folders(circuits: Sequence[Finished]) -> tuple[Comparison, list[Result]]:
    """Any finished circuits of one network, and what was read of them. Raises InputError."""
    results = [read(circuit.folder) for circuit in circuits]
    sides = [_side(*circuit) for circuit in zip(_names(circuits), circuits, results, strict=True)]
    return compare(sides), results


def _names(circuits: Sequence[Finished]) -> list[str]:
    """Each circuit by the name of its folder; where another's is the same, also by its run's."""
    names = [resolved(circuit.folder).name for circuit in circuits]
    folders = {resolved(circuit.folder) for circuit in circuits}
    alike = {name for name in names if len({folder for folder in folders if folder.name == name}) > 1}
    return [
        f"{resolved(circuit.folder).parent.name}/{name}" if name in alike else name
        for circuit, name in zip(circuits, names, strict=True)
    ]


def _side(name: str, circuit: Finished, result: Result) -> Side:
    module = _Module(circuit.folder)
    train, test, lacks = _pictures(name, circuit, result, module)
    return Side(name, result, module, train, test, lacks)


def _pictures(
    name: str, circuit: Finished, result: Result, module: _Module
) -> tuple[ImageSet | None, ImageSet | None, str]:
    """The images that a circuit was found on and judged by, as its run's plan names them; or why they aren't these
    any more."""
    plan, asked = circuit.plan, result.summary.plan
    if plan is None or asked.images not in plan.images or (asked.test or asked.images) not in plan.images:
        return None, None, f"the plan that {name} was found by is not in the folder above it"

    def read(name: str) -> ImageSet:
        images = plan.images[name]
        return load(find(images, circuit.base), preprocess, True, images.transformed)[0]

    try:
        preprocess = module.loaded().preprocess
        train = read(asked.images)
        test: ImageSet | None
        if asked.test is None:
            train, test = train.split(asked.holdout, asked.seed)
        else:
            test = read(asked.test)
    except InputError as error:
        return None, None, f"the images of {name} can't be read: {error.findings[0].message}"
    provenance = result.summary.provenance
    if (train.digest, test.digest if test else "") != (provenance.train_images, provenance.test_images):
        return None, None, f"the images of {name} are no longer those it was found on"
    return train, test, ""


@dataclass(frozen=True)
class _Module:
    """The module in a circuit's folder."""

    folder: Path

    def loaded(self) -> LoadedModel:
        unchanged(self.folder, "module.pt2")
        return MODELS.load("file")("module.pt2", {}, PathResolver(self.folder))

    def __call__(self) -> nn.Module:
        return self.loaded().module
