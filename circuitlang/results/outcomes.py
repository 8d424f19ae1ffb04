"""Outcomes of a run: a finished circuit, a finished split, and the status of a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from circuitlang.base.diagnostics import CircuitError
from circuitlang.results.comparison import Comparison
from circuitlang.results.edit import EditResult
from circuitlang.results.split import SplitResult
from circuitlang.results.types import Result


@dataclass(frozen=True)
class CircuitOutcome:
    """A finished circuit and its folder.

    Attributes:
        cached: True if the circuit was finished before the run.
        seconds: Time that the run took for the circuit; 0 if it was finished before.
        damage: Damage to the files of an earlier result, because of which the circuit was computed again.
    """

    result: Result
    folder: Path
    cached: bool
    seconds: float = 0.0
    damage: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitOutcome:
    """A finished split and its folder; `cached` as in `CircuitOutcome`. The circuits of its parts have outcomes too."""

    result: SplitResult
    folder: Path
    cached: bool


@dataclass(frozen=True)
class ComparisonStatus:
    """A comparison that a plan asks for: finished, waiting for the circuits `missing`, or failed."""

    circuits: tuple[str, ...]
    folder: Path
    comparison: Comparison | None = None
    missing: tuple[str, ...] = ()
    failure: CircuitError | None = None


@dataclass(frozen=True)
class EditStatus:
    """An edit that a plan asks for: finished, waiting for the circuit `missing`, or failed; `cached` as in
    `CircuitOutcome`."""

    name: str
    folder: Path
    result: EditResult | None = None
    missing: str = ""
    failure: CircuitError | None = None
    cached: bool = False


# The result of a job: its circuit; for a split the circuits of the parts and then the split; or an error.
JobResult = CircuitOutcome | SplitOutcome | CircuitError
