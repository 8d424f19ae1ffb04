"""Measurements of a found circuit, each of which gives fields of its summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from circuitlang.engine.runtime.steps.artifacts import ArtifactWork
from circuitlang.engine.runtime.steps.baselines import Baselines
from circuitlang.engine.runtime.steps.circuit_amounts import CircuitAmounts
from circuitlang.engine.runtime.steps.class_comparison import ClassComparison
from circuitlang.engine.runtime.steps.fidelity import FidelityOnImages
from circuitlang.engine.runtime.steps.hypothesis_tests import HypothesisTests
from circuitlang.engine.runtime.steps.precision import Precision
from circuitlang.engine.runtime.steps.robustness import RobustFidelity
from circuitlang.engine.runtime.steps.search import Search
from circuitlang.engine.runtime.steps.shared_work import SHARED_WORK
from circuitlang.engine.runtime.steps.splits import SplitWork
from circuitlang.engine.runtime.steps.step import Step

if TYPE_CHECKING:
    from circuitlang.engine.runtime.found_circuit import FoundCircuit


class Work(Protocol):
    """A kind of work for a circuit."""

    def steps(self, amounts: CircuitAmounts) -> Iterator[Step]:
        """Yield its steps."""


class Measurement(Work, Protocol):
    """A measurement of a found circuit."""

    def measure(self, circuit: FoundCircuit) -> dict[str, Any]:
        """Return fields of the summary of a circuit, `results.types.Summary`, by name."""


MEASUREMENTS: tuple[Measurement, ...] = (
    Search(),
    FidelityOnImages(),
    Baselines(),
    HypothesisTests(),
    RobustFidelity(),
    ClassComparison(),
    Precision(),
)


def circuit_steps(amounts: CircuitAmounts) -> Iterator[Step]:
    """Yield all steps of a circuit or a split."""
    kinds: Sequence[Work] = (*SHARED_WORK, *MEASUREMENTS, ArtifactWork(), SplitWork())
    for kind in kinds:
        yield from kind.steps(amounts)


def measured_fields(circuit: FoundCircuit) -> dict[str, Any]:
    """Return the fields of a circuit's summary that are measured."""
    fields: dict[str, Any] = {}
    for measurement in MEASUREMENTS:
        fields |= measurement.measure(circuit)
    return fields
