"""Folders of packed circuits, made when they are asked for: the same files that a direct run would have written."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec
import numpy as np
import torch

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.device import arithmetic
from circuitlang.engine.runtime.batch_fitting import BatchFitting
from circuitlang.engine.runtime.circuit_job import restore
from circuitlang.engine.runtime.circuits_within import among_kernels
from circuitlang.engine.runtime.jobs import Job, PreparedRun
from circuitlang.plugins.protocols import Masks
from circuitlang.results.outputs import asked_formats
from circuitlang.results.packed.circuits import PackedCircuits
from circuitlang.results.packed.rows import PackedCircuit, pack
from circuitlang.results.result_store import FolderStore, ResultStore
from circuitlang.results.types import Result
from circuitlang.results.writer import claim


def unpack_jobs(prepared: PreparedRun, folder: Path) -> Iterator[Path]:
    """Yield the folder of each circuit of a prepared plan, made of its row in a packed run.

    Raises:
        InputError: If a circuit is not in the run, or would not be the same with the model and images as they are.
        OutputError: If a folder can't be written.
    """
    there, store = PackedCircuits.read(folder), FolderStore(folder)
    formats = asked_formats(prepared.options.render)
    for job in prepared.jobs:
        packed = there.circuit(job.plan.id)
        if packed.summary.provenance.identity != job.provenance.identity:
            label = "its plan, its model, its images or the version of circuitlang have changed since"
            cure = "run its spec again"
            raise InputError(Finding("E312", f"{job.plan.id} can't be made again from {folder}", None, label, cure))
        claim(folder / job.plan.id)
        store.write(_restored(prepared, job, packed, formats, store), formats)
        job.subnetwork.memo.clear()
        yield folder / job.plan.id


def _restored(
    prepared: PreparedRun, job: Job, packed: PackedCircuit, formats: Collection[str], store: ResultStore
) -> Result:
    summary = msgspec.structs.replace(packed.summary, labels=prepared.plan.labels)
    masks = _masks(packed)

    def compute(job: Job) -> Result:
        return restore(prepared, job, summary, masks, formats)

    with arithmetic(prepared.device):
        result = BatchFitting()(among_kernels(job, store), compute)
    if not _same_kernels(packed, pack(result)):
        label = "scored on this machine, other weights are its strongest"
        raise InputError(Finding("E312", f"{job.plan.id} can't be made again", None, label, "run it without --packed"))
    return result


def _masks(packed: PackedCircuit) -> Masks:
    """Return the masks of a circuit [out, in / groups], by path of the layer."""
    masks = {}
    for layer, mask in zip(packed.summary.layers, packed.masks, strict=True):
        kept = torch.zeros(layer.out_channels * layer.in_channels // layer.groups, dtype=torch.bool)
        kept[torch.from_numpy(mask.kernels)] = True
        masks[layer.path] = kept.view(layer.out_channels, -1)
    return masks


def _same_kernels(one: PackedCircuit, other: PackedCircuit) -> bool:
    pairs = zip(one.masks, other.masks, strict=True)
    return all(np.array_equal(mine.kernels, theirs.kernels) for mine, theirs in pairs)
