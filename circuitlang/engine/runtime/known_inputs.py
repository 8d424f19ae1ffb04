"""Inputs of a run that are known by receipts: the same hashes as `jobs.prepare` finds, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import UNSET

from circuitlang.base.diagnostics import InputError
from circuitlang.engine.cache.tensor_cache import ScoreCache
from circuitlang.engine.images.file_patterns import find
from circuitlang.engine.images.hashed_images import HashedImages
from circuitlang.engine.images.image_receipts import known_images
from circuitlang.engine.runtime.circuit_images import (
    check_also,
    check_circuit_concept,
    check_contrast,
    check_edit_concepts,
    circuit_images,
)
from circuitlang.engine.runtime.concept_images import probe_cache
from circuitlang.engine.runtime.model_receipts import ModelReceipt, UnknownTargetError, known_model
from circuitlang.engine.runtime.options import Options
from circuitlang.engine.runtime.plan_checks import check_criterion, refused_findings, weights_notes
from circuitlang.engine.runtime.provenance import caches_of, provenance_of
from circuitlang.engine.runtime.work_request import WorkRequest
from circuitlang.plan.model import Circuit, Concept, Origins, Plan
from circuitlang.results.run_listener import SILENT
from circuitlang.results.types import Part, Provenance

if TYPE_CHECKING:
    from circuitlang.engine.runtime.jobs import PreparedRun

Sets = dict[str, tuple[HashedImages, list[str]]]


@dataclass(frozen=True)
class KnownProbe:
    """The place in the cache of the probe of a concept."""

    cache: ScoreCache


@dataclass(frozen=True)
class KnownJob:
    """A circuit, or a split, whose provenance is known; fields are as in `jobs.Job`."""

    plan: Circuit
    train: HashedImages
    test: HashedImages | None
    provenance: Provenance
    score_cache: ScoreCache
    responses: ScoreCache
    contrast: HashedImages | None = None
    contrast_test: HashedImages | None = None
    also: Mapping[str, HashedImages] = field(default_factory=dict)
    part: Part | None = None
    probe: KnownProbe | None = None
    within: KnownJob | None = None

    @property
    def against(self) -> HashedImages | None:
        """The images that the circuit is measured on as contrast."""
        return self.contrast_test or self.contrast


@dataclass(frozen=True)
class KnownInputs(WorkRequest):
    """A plan with what is known of its model and its images; fields are as in `jobs.PreparedRun`."""

    model: ModelReceipt
    jobs: list[KnownJob]
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
        jobs = [_job(plan, circuit, network, sets, options, model) for circuit in plan.circuits]
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


def _job(
    plan: Plan, circuit: Circuit, network: tuple[str, str, str], sets: Sets, options: Options, model: ModelReceipt
) -> KnownJob:
    within = None if circuit.within is UNSET else _job(plan, circuit.within, network, sets, options, model)
    images = circuit_images(circuit, sets)
    concept = images.concept.digest if images.concept else ""
    of_model = options.fast, model.notes
    provenance = provenance_of(plan, circuit, network, images.sets, images.unreadable, *of_model, concept, within)
    scores, responses = caches_of(plan, circuit, network, provenance, images.train, images.contrast, concept, within)
    probe = None
    if isinstance(circuit.target, Concept) and images.concept:
        probe = KnownProbe(probe_cache(plan, circuit.target, network, images.concept))
    by = provenance, scores, responses, images.contrast, images.contrast_test, images.also
    return KnownJob(circuit, images.train, images.test, *by, probe=probe, within=within)


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
