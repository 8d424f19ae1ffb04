"""Check what a plan asks for against what this version can do, and collect findings at their places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import msgspec

from circuitlang.base.diagnostics import Finding, InputError, did_you_mean, listing
from circuitlang.base.source import Span
from circuitlang.plan.clauses import STABILITY
from circuitlang.plan.model import Choice, Key, Origins, Plan
from circuitlang.plan.model import Circuit as CircuitPlan
from circuitlang.plugins.protocols import CRITERIA

# Codes of findings about a unit of a target rather than its layer.
_OF_A_UNIT = ("E111", "E125", "E126", "E132", "E135", "E136")


def check_criterion(choice: Choice) -> None:
    """Raises InputError where a plan was written by hand and names what isn't there."""
    known = CRITERIA.declarations
    if choice.name not in known:
        raise InputError(_unknown(choice.name))
    parameters = known[choice.name].parameters
    for word, value in choice.parameters.items():
        parameter = known[choice.name].parameter(word)
        if parameter is None:
            cure = did_you_mean(word, [parameter.name for parameter in parameters])
            raise InputError(Finding("E105", f"{choice.name} has no parameter '{word}'", None, "", cure))
        if not parameter.accepts(value):
            raise InputError(Finding("E202", f"{word} of {choice.name} can't be {value!r}", None, parameter.type))
        if parameter.type == "CriterionName" and value not in known:
            raise InputError(_unknown(str(value)))


def _unknown(criterion: str) -> Finding:
    known = CRITERIA.declarations
    label = f"there are {listing(sorted(known))}"
    return Finding("E103", f"unknown criterion '{criterion}'", None, label, did_you_mean(criterion, known))


def refused_findings(plan: Plan, origins: Origins) -> Iterator[Finding]:
    """Yield what the language can say and this version can't do yet."""
    for circuit in plan.circuits:
        for word, reason in refusals(circuit).items():
            span = origins.get(("circuits", circuit.id, word)) or origins.get(("circuits", circuit.id))
            yield Finding("E320", f"this version can't run {reason}", span, "it can be checked and planned")


def refusals(circuit: CircuitPlan) -> dict[str, str]:
    """Why this version can't run a circuit, by the part of it that is about; empty where it can."""
    mixed = circuit.structure == "weight" and circuit.ablation.name != "zero"
    means = "mean" in (circuit.robust or ())
    unstable = circuit.stable is msgspec.UNSET
    kernels, tested = circuit.structure == "kernel", STABILITY in (choice.name for choice in circuit.tests)
    stable = f"stable with structure={circuit.structure}" if not kernels else "stable without tests=stability"
    reasons = {
        "ablation": f"ablation={circuit.ablation} with structure=weight" if mixed else "",
        "robust": "robust=mean with structure=weight" if circuit.structure == "weight" and means else "",
        "stable": "" if unstable or (kernels and tested) else stable,
    }
    return {word: reason for word, reason in reasons.items() if reason}


@contextmanager
def collect(findings: list[Finding], origins: Origins, key: Key) -> Iterator[None]:
    """Collect errors within the block as findings, at the place that a key of the plan came from."""
    try:
        yield
    except InputError as error:
        for finding in error.findings:
            span = finding.span
            for length in range(len(key), 0, -1):
                span = span or origins.get(key[:length])
            findings.append(replace(finding, span=span))


@contextmanager
def collect_target(findings: list[Finding], origins: Origins, key: Key) -> Iterator[None]:
    """`collect`, at the layer of the target of a key or, for what is wrong about a unit of it, at that."""
    try:
        yield
    except InputError as error:
        for finding in error.findings:
            with collect(findings, origins, (*key, "unit" if finding.code in _OF_A_UNIT else "layer")):
                raise InputError(finding) from None


def weights_notes(notes: Iterable[str], place: Span | None) -> list[Finding]:
    """Return the warnings about weights that are not a plain state dict."""
    return [Finding("W305", "the weights are not a plain state dict", place, note) for note in notes]
