"""Inputs of a run that are known by receipts: the same hashes as `jobs.prepare` finds, without torch."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from circuitlang.base.diagnostics import InputError
from circuitlang.engine.images.file_patterns import find
from circuitlang.engine.images.hashed_images import HashedImages
from circuitlang.engine.images.image_receipts import known_images
from circuitlang.engine.runtime.circuit_images import (
    check_also,
    check_circuit_concept,
    check_contrast,
    check_edit_concepts,
)
from circuitlang.engine.runtime.known_job import KnownJob, known_job
from circuitlang.engine.runtime.model_receipts import ModelReceipt, UnknownTargetError, known_model
from circuitlang.engine.runtime.options import Options
from circuitlang.engine.runtime.plan_checks import check_criterion, refused_findings, weights_notes
from circuitlang.engine.runtime.work_request import WorkRequest
from circuitlang.plan.model import Origins, Plan
from circuitlang.results.run_listener import SILENT

if TYPE_CHECKING:
    from circuitlang.engine.runtime.jobs import PreparedRun

Sets = dict[str, tuple[HashedImages, list[str]]]


@dataclass(frozen=True)
class KnownInputs(WorkRequest):
    """A plan with what is known of its model and its images; fields are as in `jobs.PreparedRun`."""

    model: ModelReceipt
    jobs: list[KnownJob[HashedImages]]
    sets: Sets
    weights: str
    structure: str

    @property
    def prepared(self) -> str:
        """The preparation of images, as text."""
        return self.model.prepared


def known_inputs(plan: Plan, folder: Path, origins: Origins, options: Options) -> KnownInputs | None:
    """Return the inputs of a plan, if all are known, unchanged and sound; else `jobs.prepare` must look at them."""
    if options.memory is not None:
        return None
    model = known_model(plan.model, folder)
    if model is None or not model.fingerprint or any(refused_findings(plan, origins)):
        return None
    with suppress(InputError, UnknownTargetError):
        sets = _sets(plan, folder, model, options)
        if sets is None:
            return None
        costs = model.costs()
        for circuit in plan.circuits:
            check_criterion(circuit.criterion)
            check_contrast(circuit, sets)
            check_circuit_concept(circuit, sets)
            check_also(circuit, sets)
            if costs:
                costs.find(circuit.target)
        for edit in plan.edited:
            check_edit_concepts(edit, plan.circuits, sets)
        network = model.fingerprint, model.structure, model.prepared
        jobs = [known_job(plan, circuit, network, sets, options.fast, model.notes) for circuit in plan.circuits]
        return KnownInputs(plan, folder, origins, options, model, jobs, sets, model.fingerprint, model.structure)
    return None


def _sets(plan: Plan, folder: Path, model: ModelReceipt, options: Options) -> Sets | None:
    sets: Sets = {}
    for name, images in plan.images.items():
        known = known_images(find(images, folder), model.prepared, options.skip_unreadable)
        if known is None:
            return None
        sets[name] = known[0].known_as(images.transformed), known[1]
    return sets


def inputs_of(plan: Plan, folder: Path, origins: Origins, options: Options) -> PreparedRun | KnownInputs:
    """Return the inputs of a plan, by receipts or as `jobs.prepare` finds them. Raises InputError."""
    known = known_inputs(plan, folder, origins, options)
    if known is not None:
        note_weights(known)
        return known
    from circuitlang.engine.runtime.jobs import prepare

    return prepare(plan, folder, origins, options)


def note_weights(known: KnownInputs) -> None:
    """Send the notes on a model's weights to the listener, as `jobs.prepare` does."""
    for note in weights_notes(known.model.notes, known.origins.get(("model",))):
        known.options.listener.noted(note)


def prepared_inputs(known: KnownInputs) -> PreparedRun:
    """Return the inputs as `jobs.prepare` finds them. Raises InputError."""
    from circuitlang.engine.runtime.jobs import prepare

    # Its notes were sent already.
    return prepare(known.plan, known.folder, known.origins, replace(known.options, listener=SILENT))
