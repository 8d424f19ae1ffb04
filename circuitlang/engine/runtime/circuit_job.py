"""Plan → results, circuit by circuit."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import numpy as np
import torch
from msgspec import UNSET
from numpy.typing import NDArray

from circuitlang.engine.circuits.edits import edits_from_result
from circuitlang.engine.runtime.artifacts import MeasuredCircuit, complete
from circuitlang.engine.runtime.circuit_finder import BuiltCircuit
from circuitlang.engine.runtime.circuit_record import circuit_record
from circuitlang.engine.runtime.fidelity_evaluator import FidelityEvaluator
from circuitlang.engine.runtime.found_circuit import find_circuit, finder_of, judge_of
from circuitlang.engine.runtime.jobs import Job, PreparedRun
from circuitlang.engine.runtime.steps.measurement import measured_fields
from circuitlang.plugins.protocols import Edits, Masks
from circuitlang.results.types import Circuit, Fidelity, KeptKernels, LayerSummary, Result, Summary


def execute(prepared: PreparedRun, job: Job) -> Result:
    """Find one circuit and measure it."""
    circuit = find_circuit(job, prepared.model.classes)
    summary = Summary(
        plan=job.plan,
        model=prepared.plan.model,
        parameters=None,
        extracted_difference=None,
        provenance=job.provenance,
        part=job.part,
        labels=prepared.plan.labels,
        probe=job.probe.result if job.probe else UNSET,
        **measured_fields(circuit),
    )
    measured = _measured(circuit.built, circuit.record, circuit.judge)
    return complete(prepared, job, summary, measured, prepared.formats(job))


def finish(prepared: PreparedRun, job: Job, result: Result, formats: Collection[str]) -> Result:
    """A result that was read back, with the module and the images that these formats need; nothing is searched."""
    subnetwork, judge = job.subnetwork, judge_of(job)
    layers = list(zip(result.summary.layers, result.circuit.kernels, strict=True))
    masks = {
        layer.path: torch.from_numpy(_mask(layer, kernels, np.ones(len(kernels.target), np.bool_)))
        for layer, kernels in layers
    }
    built = BuiltCircuit(subnetwork, {}, masks, masks_of(result), edits_from_result(result))
    return complete(prepared, job, result.summary, _measured(built, result.circuit, judge), formats)


def restore(prepared: PreparedRun, job: Job, summary: Summary, masks: Masks, formats: Collection[str]) -> Result:
    """Return a circuit of known kernels [out, in / groups]. Scores come from the cache or are computed again."""
    finder = finder_of(job)
    # Masks of kernels don't say which weights of them are kept.
    built = finder(summary.asked, None if job.plan.structure == "weight" else masks)
    measured = _measured(built, circuit_record(job.subnetwork, built), judge_of(job))
    return complete(prepared, job, summary, measured, formats)


def masks_of(result: Result) -> Masks:
    """Return the connected kernels [out, in / groups] of a circuit that was read back, by layer."""
    layers = zip(result.summary.layers, result.circuit.kernels, strict=True)
    return {layer.path: torch.from_numpy(_mask(layer, kernels, kernels.effective)) for layer, kernels in layers}


def _measured(built: BuiltCircuit, circuit: Circuit, judge: FidelityEvaluator) -> MeasuredCircuit:
    def fidelity(masks: Masks, edits: Edits) -> Fidelity:
        return judge(BuiltCircuit(built.subnetwork, {}, masks, masks, edits), intervals=False)

    examples = partial(judge.examples, built)
    return MeasuredCircuit(
        built.edits, circuit, judge.strength, lambda: built.module, judge.network, examples, fidelity
    )


def _mask(layer: LayerSummary, kernels: KeptKernels, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which kernels [out, in / groups] of a layer are among the kept ones that are chosen."""
    inner = layer.in_channels // layer.groups
    mask = np.zeros((layer.out_channels, inner), np.bool_)
    mask[kernels.target[chosen], kernels.source[chosen] % inner] = True
    return mask
