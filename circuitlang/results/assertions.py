"""Assertions about circuits: the bounds and expectations of a plan, and whether results meet them."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from msgspec import UNSET

from circuitlang.base.diagnostics import Finding
from circuitlang.plan.model import Key, Origins, Plan
from circuitlang.results.edit import EditResult
from circuitlang.results.types import Summary

# The code and the words of the finding for each kind of assertion.
_PROBLEMS = {"bound": ("E331", "does not reach its bound"), "expectation": ("E330", "is not as expected")}
_HOLDS = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True)
class Assertion:
    """An assertion about a number of a circuit, from a bound or an expectation, and the measured number.

    `circuit` is the id of a circuit, or the name of an edit. `measure` is a key of metrics.json. Nothing is `measured`
    of what was not computed, nor held-out where nothing is held out. `place` is where the plan has it from, as a key of
    its origins.
    """

    kind: Literal["bound", "expectation"]
    circuit: str
    measure: str
    relation: Literal["<=", ">="]
    value: float
    computed: bool
    measured: float | None
    place: Key

    @property
    def holds(self) -> bool:
        return self.measured is not None and bool(_HOLDS[self.relation](self.measured, self.value))

    @property
    def says(self) -> str:
        """The measured value and the expected one, in words."""
        if self.measured is None:
            why = "nothing was held out to measure it on"
            if self.measure.startswith("contrast."):
                why = "it is contrasted with nothing"
            if self.measure.startswith("class."):
                why = "its output is no single number for each class"
            if self.measure.startswith("tests."):
                why = "the test was left out, or has no such number"
            if self.measure.endswith((".change", ".change.low", ".change.high")):
                why = "the mean response in the network is 0, or a single image has no interval"
            if not self.computed:
                why = f"{self.circuit} was not computed"
            return f"{self.measure} {self.relation} {plain(self.value)} was expected, but {why}"
        number = f"{self.measured:.4g}" if self.measured % 1 else f"{self.measured:.0f}"
        if _HOLDS[self.relation](float(number), self.value) != self.holds:
            # Rounded it would say the contrary.
            number = repr(self.measured)
        return f"{self.measure} is {number}, expected {self.relation} {plain(self.value)}"


def plain(value: float) -> str:
    """A number as it would be written: all of its digits, and no point where it is whole."""
    return repr(value).removesuffix(".0")


def assertions(
    plan: Plan, summaries: Mapping[str, Summary], edits: Mapping[str, EditResult] | None = None
) -> Iterator[Assertion]:
    """The bounds of a plan's circuits and its expectations, in its order; `summaries` by circuit id, `edits` by name.
    What is promised of a split is promised of the circuit of each part."""
    measured_of: dict[str, list[tuple[str, dict[str, float] | None]]] = {}
    for summary in summaries.values():
        measured_of.setdefault(summary.asked_as, []).append((summary.plan.id, summary.flat()))

    def made(kind: Literal["bound", "expectation"], name: str, measure: str, relation: Literal["<=", ">="],
             value: float, place: Key) -> Iterator[Assertion]:  # fmt: skip
        for circuit, numbers in measured_of.get(name, [(name, None)]):
            measured = (numbers or {}).get(measure)
            yield Assertion(kind, circuit, measure, relation, value, numbers is not None, measured, place)

    for circuit in plan.circuits:
        for bound in circuit.bounds:
            place = ("circuits", circuit.id, bound.metric)
            measure = f"{bound.sample}.{bound.metric}"
            yield from made("bound", circuit.id, measure, bound.relation, bound.value, place)
    for number, expected in enumerate(plan.expectations):
        here = ("expectations", str(number))
        for name in expected.circuits:
            yield from made("expectation", name, expected.measure, expected.relation, expected.value, here)
        if expected.edit is not UNSET:
            result = (edits or {}).get(expected.edit)
            measured = result.flat().get(expected.measure) if result else None
            side, value, computed = expected.relation, expected.value, result is not None
            yield Assertion("expectation", expected.edit, expected.measure, side, value, computed, measured, here)


def failed_bounds(summary: Summary) -> list[Assertion]:
    """Return the bounds in a circuit's own statement that it doesn't meet."""
    numbers = summary.flat()
    bounds = (
        Assertion(
            "bound",
            summary.plan.id,
            measure := f"{bound.sample}.{bound.metric}",
            bound.relation,
            bound.value,
            True,
            numbers.get(measure),
            ("circuits", summary.plan.id, bound.metric),
        )
        for bound in summary.plan.bounds
    )
    return [bound for bound in bounds if not bound.holds]


def failed_assertions(
    plan: Plan, summaries: Mapping[str, Summary], origins: Origins, edits: Mapping[str, EditResult] | None = None
) -> Iterator[Finding]:
    """Yield a finding for each bound and expectation of a plan that its results don't meet.

    `summaries` are by circuit id, `edits` by name; an assertion about a split is about the circuit of each part. One
    about held-out images fails where nothing is held out.
    """
    for assertion in assertions(plan, summaries, edits):
        if assertion.computed and not assertion.holds:
            code, problem = _PROBLEMS[assertion.kind]
            span = origins.get(assertion.place)
            yield Finding(code, f"{assertion.circuit} {problem}", span, assertion.says, circuit=assertion.circuit)
