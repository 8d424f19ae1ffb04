"""Outputs of a run besides the circuit and its numbers: the module, and the images for the pages.

The circuit is found and measured by then. What fails here is missing, and is said; it takes nothing away.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from circuitlang.base.diagnostics import CircuitError, reason
from circuitlang.engine.cache import tensor_cache
from circuitlang.engine.cache.tensor_cache import ScoreCache
from circuitlang.engine.circuits.extraction.packing import pack
from circuitlang.engine.circuits.extraction.verification import CHECKED, verify
from circuitlang.engine.runtime.jobs import Job, PreparedRun
from circuitlang.engine.visuals import activation_maps, contributions, exemplars, path_fidelity, strongest_crops
from circuitlang.engine.visuals.affordable_channels import affordable_channels
from circuitlang.engine.visuals.feature_visualisation import visualise
from circuitlang.engine.visuals.stored_images import StoredImages
from circuitlang.plan.model import digest
from circuitlang.plugins.protocols import Edits, Masks
from circuitlang.results.outputs import MODULE
from circuitlang.results.rendering import needs
from circuitlang.results.types import (
    Circuit,
    FeatureVisualisations,
    Fidelity,
    FidelityExamples,
    PathFidelity,
    Result,
    Summary,
)
from circuitlang.results.visualised_channels import BUDGET, NOTHING, VISUALISATIONS, channel_budget, strongest_channels

T = TypeVar("T")
# A module that computes something else is a mistake that the numbers may have too.
_WRONG = "E350"


@dataclass(frozen=True)
class MeasuredCircuit:
    """A circuit that has been measured: `module` cuts it out, `fidelity_examples` collects what its images show,
    `judge` returns the fidelity of other circuits on the same images."""

    edits: Edits
    circuit: Circuit
    strength: torch.Tensor
    module: Callable[[], fx.GraphModule]
    responses: torch.Tensor
    fidelity_examples: Callable[[], FidelityExamples]
    judge: Callable[[Masks, Edits], Fidelity]


@dataclass
class _Attempts:
    """Makes what can be made of what is asked for; `missing` has the reasons of the rest, by name."""

    formats: Collection[str]
    missing: dict[str, str] = field(default_factory=dict)

    def __call__(self, name: str, make: Callable[[], T], otherwise: T) -> T:
        if not needs(self.formats, name):
            return otherwise
        try:
            return make()
        except torch.OutOfMemoryError:
            # It may fit with fewer images at a time.
            raise
        except Exception as error:  # whatever it is, the circuit is there
            if isinstance(error, CircuitError) and any(finding.code == _WRONG for finding in error.findings):
                raise
            self.missing[name] = reason(error)
            return otherwise


def complete(
    prepared: PreparedRun, job: Job, summary: Summary, measured: MeasuredCircuit, formats: Collection[str]
) -> Result:
    """A result with the module and the images that these output formats need, as far as they can be made. Raises
    CircuitError where the module computes something else than the circuit."""
    subnetwork, plan, options = job.subnetwork, job.plan, prepared.options
    attempt = _Attempts(formats)
    preprocess = prepared.model.preprocess
    numbers: dict[str, Any] = {"parameters": None, "extracted_difference": None}
    few = job.test or job.train
    few = few.take(range(min(len(few), CHECKED)))

    def packed() -> bytes:
        module = measured.module()
        numbers["extracted_difference"] = verify(subnetwork, measured.edits, module, few)
        numbers["parameters"] = sum(parameter.numel() for parameter in module.parameters())
        return pack(module, subnetwork.graph.steps[subnetwork.graph.image].shape, preprocess)

    module = attempt(MODULE, packed, b"")
    crops: dict[Any, Any] = attempt(
        "exemplars", partial(exemplars.collect, subnetwork, job.train, measured.circuit), {}
    )
    shown = subnetwork, job.test or job.train, measured.strength, measured.circuit, measured.edits
    carried: tuple[NDArray[np.float32], ...] = attempt("contributions", partial(contributions.collect, *shown), ())
    maps = attempt("activation maps", partial(activation_maps.collect, *shown), None)
    count = channel_budget(options.visualise)
    stored = StoredImages(_cache(prepared, job))

    def visualised() -> FeatureVisualisations | None:
        if count == NOTHING:
            return None
        if count == BUDGET:
            channels = affordable_channels(subnetwork, measured.circuit, carried)
        else:
            channels = strongest_channels(measured.circuit, carried, count)
        settings = preprocess, plan.seed, options.track, stored
        return visualise(subnetwork, measured.edits, channels, *settings, count == BUDGET)

    visualisations = attempt(VISUALISATIONS, visualised, None)
    builder = job.builder()
    paths = partial(path_fidelity.collect, builder, measured.circuit, measured.edits, carried, measured.judge)
    alone: tuple[PathFidelity, ...] = attempt("path fidelity", paths, ())
    examples = attempt("examples", measured.fidelity_examples, None)
    summary = msgspec.structs.replace(summary, missing=attempt.missing, **numbers)
    # A packed circuit has no page that shows more.
    strongest = None
    if options.packed:
        strongest = strongest_crops.collect(subnetwork, job.test or job.train, measured.responses)
    return replace(
        Result(summary, measured.circuit),
        exemplars=crops,
        module=module,
        fidelity_examples=examples,
        activation_maps=maps,
        contributions=carried,
        path_fidelity=alone,
        visualisations=visualisations,
        crops=strongest,
    )


def _cache(prepared: PreparedRun, job: Job) -> ScoreCache:
    """Return where images that were made in the network are stored, for all of its circuits."""
    made_by = *job.provenance.versions.values(), job.provenance.precision
    return tensor_cache.responses(
        digest(f"visualised {prepared.plan.model}".encode()), prepared.weights, prepared.structure, *made_by
    )
