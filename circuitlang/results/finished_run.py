"""Results in the folder of a run that belong to its plan, whichever process finished them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from circuitlang.base.diagnostics import InputError
from circuitlang.plan.model import Plan
from circuitlang.results.reader import parts, read_split, read_summary
from circuitlang.results.split import Split
from circuitlang.results.types import Summary


@dataclass(frozen=True)
class FinishedRun:
    """Finished results of a run.

    Attributes:
        circuits: Circuits by id, those of the parts of splits included.
        splits: Splits by id.
    """

    circuits: dict[str, Summary] = field(default_factory=dict)
    splits: dict[str, Split] = field(default_factory=dict)


def read_finished(plan: Plan, identities: Mapping[str, str], folder: Path) -> FinishedRun:
    """Read the results in a run's folder that have the identities that a run of the plan would compute.

    `identities` are by id of the plan's circuits. Other results, and those that can't be read, are left out.
    """
    finished = FinishedRun()
    for circuit in plan.circuits:
        identity = identities[circuit.id]
        if circuit.into is None:
            if (summary := _read_circuit(folder / circuit.id, identity)) is not None:
                finished.circuits[circuit.id] = summary
            continue
        finished.circuits.update({part.plan.id: part for part in _read_parts(folder, circuit.id, identity)})
        if (split := _read_split(folder / circuit.id, identity)) is not None:
            finished.splits[circuit.id] = split
    return finished


def _read_circuit(folder: Path, identity: str) -> Summary | None:
    with suppress(InputError):
        summary = read_summary(folder)
        return summary if summary.provenance.identity == identity else None
    return None


def _read_split(folder: Path, identity: str) -> Split | None:
    with suppress(InputError):
        split = read_split(folder)
        return split if split.provenance.identity == identity else None
    return None


def _read_parts(run: Path, split: str, identity: str) -> list[Summary]:
    """Read the circuits of the parts of a split that are there."""
    circuits = []
    for folder in parts(run, split):
        with suppress(InputError):
            summary = read_summary(folder)
            if summary.part is not None and summary.part.split == identity:
                circuits.append(summary)
    return circuits
