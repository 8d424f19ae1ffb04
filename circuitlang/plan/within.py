"""Circuits within circuits: what a circuit may be within, wherever that was written."""

from __future__ import annotations

from circuitlang.base.diagnostics import Finding, SpecError
from circuitlang.base.source import Span
from circuitlang.plan.clauses import Circuit
from circuitlang.plan.targets import Concept, Target

# Circuits that are within one another, at most.
DEEPEST = 8


def check_within(parent: Circuit, target: Target, place: Span | None) -> None:
    """Raise SpecError unless a circuit for a target can be found among the kernels of another."""
    name = parent.name or parent.id
    if parent.into is not None:
        label, cure = f"'{name}' is a split", "preserve the target on the images of a part, and name that circuit"
        raise SpecError(Finding("E140", "a circuit is within one circuit", place, label, cure))
    if str(parent.target) != str(target):
        label = f"'{name}' preserves {parent.target}, and this circuit {target}"
        cure = f"preserve {parent.target} within it"
        raise SpecError(Finding("E142", "a circuit is within a circuit of the same feature", place, label, cure))
    if isinstance(target, Concept):
        label, cure = "other images would learn another direction", "preserve a channel or a vector"
        raise SpecError(Finding("E142", "a circuit is within no circuit of a concept", place, label, cure))
    if parent.structure == "weight":
        label, cure = f"'{name}' keeps single weights", f"leave structure=weight out of '{name}'"
        raise SpecError(Finding("E221", "a circuit is within a circuit of whole kernels", place, label, cure))
    if len([*parent.lineage]) >= DEEPEST:
        message = f"more than {DEEPEST} circuits are within one another"
        raise SpecError(Finding("E222", message, place, "", "name a circuit that is within fewer"))
