"""What a plan's target is in a network: which step, which of its channels, where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from circuitlang.compiler import plan
from circuitlang.engine.graph import Graph, Step
from circuitlang.engine.intervene import Target
from circuitlang.errors import Finding, InputError, did_you_mean, listing


def resolve(target: plan.Target, graph: Graph, classes: Sequence[str]) -> Target:
    """Find a target in a network. Raises InputError where it has no such layer, channel, position or class."""
    if isinstance(target, plan.ClassOutput):
        step = graph.output()
        return Target(step, (_class(target.label, step, classes),))
    step = graph.find(target.layer)
    units, coefficients = _units(target)
    for unit in units:
        if not 0 <= unit < step.width:
            label = f"its channels are 0 to {step.width - 1}"
            raise InputError(Finding("E111", f"{target.layer} has no channel {unit}", None, label))
    return Target(step, units, coefficients, _place(target, step.positions))


def _units(target: plan.Channel | plan.Joint | plan.Direction) -> tuple[tuple[int, ...], tuple[float, ...]]:
    match target:
        case plan.Channel():
            return (target.unit,), ()
        case plan.Joint():
            return tuple(target.units), ()
        case plan.Direction():
            return tuple(term.unit for term in target.terms), tuple(term.times for term in target.terms)


def _place(
    target: plan.Channel | plan.Joint | plan.Direction, positions: tuple[int, ...]
) -> tuple[int, int] | Literal["max"] | None:
    size = (*positions, 1, 1)[:2]
    if target.at is None or target.at == "max":
        return target.at
    place = (size[0] // 2, size[1] // 2) if target.at == "center" else target.at
    if not all(0 <= at < extent for at, extent in zip(place, size, strict=True)):
        label = f"rows are 0 to {size[0] - 1}, columns 0 to {size[1] - 1}"
        raise InputError(Finding("E125", f"{target.layer} has no position {place}", None, label))
    return place


def _class(label: int | str, step: Step, classes: Sequence[str]) -> int:
    """A class's number, by itself or by its name, upper and lower case and underscores no matter."""
    if isinstance(label, int):
        if not 0 <= label < step.width:
            raise InputError(Finding("E126", f"there is no class {label}", None, f"they are 0 to {step.width - 1}"))
        return label
    names = {_plain(name): number for number, name in enumerate(classes)}
    if _plain(label) in names:
        return names[_plain(label)]
    known = f"they are {listing(classes)}" if classes else "this model does not name its classes"
    cure = did_you_mean(label, classes, "or give the class by its number")
    raise InputError(Finding("E126", f"there is no class '{label}'", None, known, cure))


def _plain(name: str) -> str:
    return name.lower().replace("_", " ")
