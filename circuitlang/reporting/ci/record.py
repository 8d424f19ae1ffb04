"""The record of a run, for programs: its circuits, assertions about them, and failures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from circuitlang.base.diagnostics import Finding
from circuitlang.results.assertions import Assertion
from circuitlang.results.edit import EditResult
from circuitlang.results.types import Summary


@dataclass(frozen=True)
class Done:
    """A finished circuit; `cached` where it was finished before, else in how many seconds it was."""

    summary: Summary
    seconds: float
    cached: bool


@dataclass(frozen=True)
class Record:
    """A run by the name of its spec: the circuits that it was to compute, in order, those that are done, by id, what
    the plan promised of them, and every failure of a circuit or of the whole.

    `edits` are those of the plan by name, None for those that are not measured. A spec with mistakes has no circuits.
    `places` says of each promise where it is written, as `file:line`.
    """

    name: str
    circuits: tuple[str, ...] = ()
    done: Mapping[str, Done] = field(default_factory=dict)
    promises: tuple[Assertion, ...] = ()
    places: tuple[str, ...] = ()
    failures: tuple[Finding, ...] = ()
    edits: Mapping[str, EditResult | None] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Return whether all circuits and edits are there and all assertions hold."""
        return (
            not self.failures
            and all(promise.holds for promise in self.promises)
            and len(self.done) == len(self.circuits)
            and None not in self.edits.values()
        )

    def failed(self, circuit: str) -> tuple[Finding, ...]:
        """Return the reason why a circuit is missing."""
        return tuple(finding for finding in self.failures if finding.circuit == circuit)
