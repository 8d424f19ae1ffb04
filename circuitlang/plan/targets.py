"""Targets of circuits: the features of a network that a circuit preserves."""

from __future__ import annotations

import base64
import math
import struct
from typing import Literal, TypeVar

import msgspec

# A place in a feature map: its centre, where it is largest, `[row, column]`, or all of it.
Position = Literal["center", "max"] | tuple[int, int] | None
T = TypeVar("T", bound="_Target")


class _Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    @property
    def channels(self) -> int:
        """The number of channels that the target combines."""
        return 1

    @property
    def place(self) -> tuple[str, str]:
        """A word and a value that tell the target from others of its statement, such as `unit` and `34`."""
        return "unit", str(getattr(self, "unit", ""))

    def normalized(self: T) -> T:
        """Return a value that is equal for all targets of the same meaning, in whatever order they are written."""
        return self


class Channel(_Target, frozen=True, forbid_unknown_fields=True, tag="channel", tag_field="kind"):
    """A channel of a layer. Layer and channel are separate: `10:34` would be a base-60 number in YAML 1.1."""

    layer: str
    unit: int
    at: Position = None

    def __str__(self) -> str:
        return f"{self.layer}:{self.unit}{_at(self.at)}"


class Joint(_Target, frozen=True, forbid_unknown_fields=True, tag="joint", tag_field="kind"):
    """Several channels of a layer that one circuit preserves."""

    layer: str
    units: list[int]
    at: Position = None

    def __str__(self) -> str:
        return f"{self.layer}:joint({', '.join(map(str, self.units))}){_at(self.at)}"

    @property
    def channels(self) -> int:
        return len(self.units)

    def normalized(self) -> Joint:
        return msgspec.structs.replace(self, units=sorted(self.units))


class Term(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A channel of a direction and its coefficient."""

    unit: int
    times: float


class Direction(_Target, frozen=True, forbid_unknown_fields=True, tag="direction", tag_field="kind"):
    """A linear combination of channels of a layer."""

    layer: str
    terms: list[Term]
    at: Position = None

    def __str__(self) -> str:
        text = "".join(f"{term.times:+g}*{self.layer}:{term.unit}" for term in self.terms)
        return text.removeprefix("+") + _at(self.at)

    @property
    def channels(self) -> int:
        return len(self.terms)

    def normalized(self) -> Direction:
        return msgspec.structs.replace(self, terms=sorted(self.terms, key=lambda term: (term.unit, term.times)))


class Vector(_Target, frozen=True, forbid_unknown_fields=True, tag="vector", tag_field="kind"):
    """A direction of a layer from a file: its weighted sum of all channels, by `coefficients`, plus `bias`.

    `rectified` where a negative sum counts as 0, as in a sparse autoencoder. `coefficients` are float32, little-endian,
    in base64: a plan holds them itself. `source` says where they were read, such as `sae.safetensors decoder`, and
    `row` or `column` which of the vectors there they are.
    """

    layer: str
    source: str
    coefficients: str
    row: int | None = None
    column: int | None = None
    bias: float = 0.0
    rectified: bool = False
    at: Position = None

    def __post_init__(self) -> None:
        values = self.values
        if not values or not all(map(math.isfinite, values)) or not any(values) or not math.isfinite(self.bias):
            raise ValueError("the coefficients of a vector are finite float32 in base64, and not all of them 0")

    def __str__(self) -> str:
        word, number = self.place
        line = f" {word}={number}" if number else ""
        return f"vector({self.source}{line}) in {self.layer}{_at(self.at)}"

    @property
    def place(self) -> tuple[str, str]:
        number, word = (self.row, "row") if self.row is not None else (self.column, "column")
        return word, "" if number is None else str(number)

    @property
    def values(self) -> tuple[float, ...]:
        """The coefficient of each channel of the layer; empty where they can't be read."""
        try:
            content = base64.b64decode(self.coefficients, validate=True)
            return struct.unpack(f"<{len(content) // 4}f", content)
        except (ValueError, struct.error):
            return ()

    @property
    def channels(self) -> int:
        return len(self.values)


# The share of the penalty in what a probe minimises, where a spec says none.
PENALTY = 0.1


class Concept(_Target, frozen=True, forbid_unknown_fields=True, tag="concept", tag_field="kind"):
    """The direction of a layer that tells the images of a set from those of another, by a linear probe.

    `images` and `against` are names of the plan's image sets. The numbers are learned by a run. The probe is a logistic
    regression with an L2 penalty, `penalty` times half the squared length of its weights for standardised channels.
    """

    layer: str
    images: str
    against: str
    penalty: float = PENALTY
    at: Position = None

    def __post_init__(self) -> None:
        if not 0 < self.penalty < math.inf:
            raise ValueError("the penalty of a concept is above 0")

    def __str__(self) -> str:
        penalty = "" if self.penalty == PENALTY else f", penalty={self.penalty:g}"
        return f"concept({self.images} against {self.against}{penalty}) in {self.layer}{_at(self.at)}"


class ClassOutput(_Target, frozen=True, forbid_unknown_fields=True, tag="class", tag_field="kind"):
    """The output for a class, by number or name."""

    label: int | str

    def __str__(self) -> str:
        return f"class({self.label})"


class ClassTerm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A class of a sum, by number or name, and its coefficient."""

    label: int | str
    times: float


class ClassSum(_Target, frozen=True, forbid_unknown_fields=True, tag="classes", tag_field="kind"):
    """A weighted sum of the outputs for classes, such as the difference of two logits."""

    terms: list[ClassTerm]

    def __str__(self) -> str:
        text = "".join(f"{_factor(term.times)}class({term.label})" for term in self.terms)
        return text.removeprefix("+")

    @property
    def channels(self) -> int:
        return len(self.terms)

    def normalized(self) -> ClassSum:
        return msgspec.structs.replace(self, terms=sorted(self.terms, key=lambda term: (str(term.label), term.times)))


# Targets within a layer that they name.
InLayer = Channel | Joint | Direction | Vector | Concept
# Targets in the network's output.
OfClasses = ClassOutput | ClassSum
Target = InLayer | OfClasses


def concept_sets(target: Target) -> tuple[str, ...]:
    """Return the names of the image sets that a target follows from: those of a concept."""
    return (target.images, target.against) if isinstance(target, Concept) else ()


def _factor(times: float) -> str:
    """Return a coefficient with its sign, which is all there is of 1 and -1."""
    return f"{times:+g}"[:1] if abs(times) == 1 else f"{times:+g}*"


def _at(position: Position) -> str:
    if position is None:
        return ""
    return f"@{position}" if isinstance(position, str) else f"@({position[0]}, {position[1]})"
