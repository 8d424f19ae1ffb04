"""Find a plan's target in a network: a node, some of its channels, and perhaps a position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from circuitlang.base.diagnostics import Finding, InputError, did_you_mean, listing
from circuitlang.engine.graph.channel_nodes import ChannelNode
from circuitlang.plan import targets as plan

if TYPE_CHECKING:
    from circuitlang.engine.graph.channel_graph import Graph

Place = tuple[int, int] | Literal["max"] | None


class LearnedCoefficients(Sequence[float]):
    """Coefficients of all channels of a layer that are learned when they are first asked for."""

    def __init__(self, width: int, learn: Callable[[], Sequence[float]]) -> None:
        self._width, self._learn = width, learn

    def __len__(self) -> int:
        return self._width

    def __getitem__(self, index: Any) -> Any:
        return self._learn()[index]

    def __iter__(self) -> Iterator[float]:
        return iter(self._learn())


def _unlearned() -> Sequence[float]:
    raise RuntimeError("the direction of a concept is learned by a run")


@dataclass(frozen=True)
class Target:
    """The feature of a circuit: the maps of a node's units, or, with coefficients, one map that is their weighted sum.

    `at` narrows a map to a row and column, or to where the whole network's map is largest (`max`). `bias` is added to a
    weighted sum, and where it is `rectified`, a negative one counts as 0.
    """

    step: ChannelNode
    units: tuple[int, ...]
    coefficients: Sequence[float] = ()
    at: Place = None
    bias: float = 0.0
    rectified: bool = False

    def learned_by(self, learn: Callable[[], Sequence[float]]) -> Target:
        """Return the target of a concept with coefficients that are learned when they are first asked for."""
        return replace(self, coefficients=LearnedCoefficients(len(self.units), learn))


def resolve(target: plan.Target, graph: Graph, classes: Sequence[str], output: int | str | None = None) -> Target:
    """Find a target in a network, a class in its output of a number or name.

    Raises InputError where it has no such layer, channel, position or class, or it can't be told which output is meant.
    """
    step = graph.output(output) if isinstance(target, plan.OfClasses) else graph.find(target.layer)
    return Target(step, *units_of(target, step.width, step.positions, classes))


class Units(NamedTuple):
    """Channels of a node, their coefficients and a place in their maps, as in a `Target`."""

    units: tuple[int, ...]
    coefficients: Sequence[float] = ()
    at: Place = None
    bias: float = 0.0
    rectified: bool = False


def units_of(target: plan.Target, width: int, positions: tuple[int, ...], classes: Sequence[str]) -> Units:
    """Find a target in a node of so many channels, whose maps have this shape.

    Raises InputError where there is no such channel, position or class.
    """
    if isinstance(target, plan.ClassOutput):
        return Units((_class(target.label, width, classes),))
    if isinstance(target, plan.ClassSum):
        numbers = tuple(_class(term.label, width, classes) for term in target.terms)
        if len(set(numbers)) < len(numbers):
            twice = next(number for number in numbers if numbers.count(number) > 1)
            raise InputError(Finding("E126", f"class {twice} is listed twice", None, "by its number and its name"))
        return Units(numbers, tuple(term.times for term in target.terms))
    if isinstance(target, plan.Vector):
        values = target.values
        if len(values) != width:
            label = f"{target.layer} has {width:,} channels"
            raise InputError(Finding("E133", f"the vector has {len(values):,} numbers", None, label))
        # A channel of no weight is no part of the feature.
        units = tuple(unit for unit, value in enumerate(values) if value)
        coefficients = tuple(value for value in values if value)
        return Units(units, coefficients, _place(target, positions), target.bias, target.rectified)
    if isinstance(target, plan.Concept):
        # All channels, whatever the probe makes of them: a plan is costed before it is fitted.
        return Units(tuple(range(width)), LearnedCoefficients(width, _unlearned), _place(target, positions))
    units, coefficients = _units(target)
    for unit in units:
        if not 0 <= unit < width:
            label = f"its channels are 0 to {width - 1}"
            raise InputError(Finding("E111", f"{target.layer} has no channel {unit}", None, label))
    return Units(units, coefficients, _place(target, positions))


def _units(target: plan.Channel | plan.Joint | plan.Direction) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the channels of a target, and their coefficients if it is their weighted sum."""
    match target:
        case plan.Channel():
            return (target.unit,), ()
        case plan.Joint():
            return tuple(target.units), ()
        case plan.Direction():
            return tuple(term.unit for term in target.terms), tuple(term.times for term in target.terms)


def _place(target: plan.InLayer, positions: tuple[int, ...]) -> Place:
    size = (*positions, 1, 1)[:2]
    if target.at is None or target.at == "max":
        return target.at
    place = (size[0] // 2, size[1] // 2) if target.at == "center" else target.at
    if not all(0 <= at < extent for at, extent in zip(place, size, strict=True)):
        label = f"rows are 0 to {size[0] - 1}, columns 0 to {size[1] - 1}"
        raise InputError(Finding("E125", f"{target.layer} has no position {place}", None, label))
    return place


def _class(label: int | str, width: int, classes: Sequence[str]) -> int:
    """Return the number of a class from its number or name; case and underscores are ignored."""
    numbers = f"0 to {width - 1}"
    if isinstance(label, int):
        if not 0 <= label < width:
            raise InputError(Finding("E126", f"there is no class {label}", None, f"they are {numbers}"))
        return label
    if len(classes) != width:
        message = f"class names are not known for a head of {width} outputs"
        reason = f"the weights name {len(classes)} classes" if classes else "the weights do not name their classes"
        raise InputError(Finding("E126", message, None, reason, f"give the class by its number, {numbers}"))
    matching = [number for number, name in enumerate(classes) if _plain(name) == _plain(label)]
    if len(matching) > 1:
        names = listing([str(number) for number in matching])
        cure = f"give the class by its number, as class({matching[0]})"
        raise InputError(Finding("E126", f"'{label}' names several classes", None, f"they are {names}", cure))
    if not matching:
        cure = did_you_mean(label, classes, "or give the class by its number")
        raise InputError(Finding("E126", f"there is no class '{label}'", None, f"they are {listing(classes)}", cure))
    return matching[0]


def _plain(name: str) -> str:
    return name.lower().replace("_", " ")
