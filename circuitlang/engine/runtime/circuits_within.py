"""The kernels of the circuit that a job is within: read from its folder, or else found again."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from circuitlang.base.diagnostics import InputError
from circuitlang.engine.runtime.circuit_job import masks_of
from circuitlang.engine.runtime.found_circuit import find_circuit
from circuitlang.engine.runtime.jobs import Job
from circuitlang.engine.runtime.stored_results import is_stored
from circuitlang.plugins.protocols import Masks
from circuitlang.results.result_store import ResultStore


def among_kernels(job: Job, store: ResultStore) -> Job:
    """Return a job with the kernels that it is found among; most jobs are within no circuit."""
    return job if job.within is None or job.among is not None else replace(job, among=_kernels(job.within, store))


def _kernels(job: Job, store: ResultStore) -> Masks:
    """Return the connected kernels of a circuit, which are the same wherever they are found."""
    with suppress(InputError):
        if is_stored(store, job.plan.id, job.provenance.identity):
            result = store.result(job.plan.id)
            # A packed run has no kernels at hand.
            if result.circuit.kernels:
                return masks_of(result)
    # Its scores are stored if this machine found it before.
    return find_circuit(among_kernels(job, store)).built.effective
