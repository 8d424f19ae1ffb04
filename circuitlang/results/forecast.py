"""Forecasts: what a run would do and roughly what it would cost."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

# A circuit's folder is not there, holds another circuit than would be computed, holds files that were lost or changed,
# holds the very circuit without files that could not be made, or with all of them.
State = Literal["new", "changed", "damaged", "incomplete", "finished"]
# The states of circuits whose kernels and numbers are there.
FOUND = ("incomplete", "finished")


@dataclass(frozen=True)
class Cost:
    """Passes to find a circuit, forwards to build and measure it, and the floating-point operations of either.

    `forwarded` and `returned` are how many images go forward and backward in all: for that, and to make one that
    excites the feature in the circuit, which the operations are without. The one that excites it in the network is made
    once for all circuits of a feature, and not counted. It is the same with images of channels, where these are made.
    """

    passes: float = 0
    forwards: int = 0
    finding: int = 0
    measuring: int = 0
    forwarded: float = 0
    returned: float = 0

    def __sub__(self, other: Cost) -> Cost:
        return self + Cost(*(-getattr(other, field.name) for field in fields(other)))

    def __mul__(self, share: float) -> Cost:
        whole = {"forwards", "finding", "measuring"}
        scaled = {field.name: getattr(self, field.name) * share for field in fields(self)}
        return Cost(**{name: round(value) if name in whole else value for name, value in scaled.items()})

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.passes + other.passes,
            self.forwards + other.forwards,
            self.finding + other.finding,
            self.measuring + other.measuring,
            self.forwarded + other.forwarded,
            self.returned + other.returned,
        )


@dataclass(frozen=True)
class Setting:
    """A value of a circuit, as it is written in the language, and its origin: `file:line`, `default`, or unknown."""

    word: str
    value: str
    origin: str


@dataclass(frozen=True)
class ImageSet:
    """A set and how many files it matches."""

    name: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    limit: int | None
    pictures: int
    transforms: tuple[str, ...] = ()


@dataclass(frozen=True)
class CircuitForecast:
    """The forecast of a circuit before it is found.

    It is found on `found_on` images, contrasted with `contrasted_with`, and measured on `measured_on` others and on as
    many of each set as `also` says; copies of one image, which are not held out apart, may shift these. `asked` is None
    without a size, `relevant` and `cost` are where they can't be told before the model is run. `refused` says why this
    version can't run it. Of a circuit whose scores are there, `scored` says so, and they cost nothing.
    """

    id: str
    name: str
    settings: tuple[Setting, ...]
    images: str
    test: str | None
    contrast: str | None
    found_on: int
    measured_on: int
    contrasted_with: int
    also: dict[str, int]
    relevant: int
    asked: int | None
    cost: Cost
    refused: tuple[str, ...]
    state: State = "new"
    # The source of its scores if they cost no pass: `cache`, or the id of the circuit of this plan that has the same.
    scored: str = ""
    # The id of the first of those that it is scored together with.
    beside: str = ""
    # The source of its first stages if they cost no pass: `cache`, or the id of a circuit of this plan.
    continues: str = ""
    # The number of images that the probe of a concept needs; 0 for other targets.
    probed: int = 0
    # The operations that images of channels take at most; they are not in its cost, as those in the network are made
    # once for all circuits.
    visualising: int = 0


@dataclass(frozen=True)
class EditForecast:
    """The forecast of an edit: the part with its change, as the language writes them, and what is measured, on so many
    `pictures` of an image set. `waits` is the id of the circuit that it needs."""

    name: str
    edited: str
    images: str
    pictures: int
    measured: tuple[str, ...]
    cost: Cost
    waits: str = ""
    state: State = "new"


@dataclass(frozen=True)
class Forecast:
    """The forecast of a run; `size` is the side of the images that the model takes, in pixels."""

    model: str
    size: int
    images: tuple[ImageSet, ...]
    circuits: tuple[CircuitForecast, ...]
    comparisons: tuple[tuple[str, ...], ...]
    expectations: tuple[str, ...]
    # The place of the weights in their file, if it is not a plain state dict.
    weights_notes: tuple[str, ...] = ()
    # True if circuits are kept as rows of one file.
    packed: bool = False
    edits: tuple[EditForecast, ...] = ()

    @property
    def due(self) -> tuple[CircuitForecast, ...]:
        """The circuits that would be computed: they can be run, and are not finished."""
        return tuple(circuit for circuit in self.circuits if not circuit.refused and circuit.state not in FOUND)

    @property
    def total(self) -> Cost:
        """The total cost of the circuits and edits that are due."""
        costs = *(circuit.cost for circuit in self.due), *(edit.cost for edit in self.due_edits)
        return sum(costs, Cost())

    @property
    def due_edits(self) -> tuple[EditForecast, ...]:
        """The edits that would be measured."""
        return tuple(edit for edit in self.edits if edit.state not in FOUND)
