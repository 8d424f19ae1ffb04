"""Plans: plain values between the language and the engine, and their YAML."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

import msgspec

from circuitlang.base import yaml_document
from circuitlang.base.source import Span
from circuitlang.plan.choices import Calibrate, Refill, Structure
from circuitlang.plugins.registry import Value

_LONGEST = 255  # bytes of a folder's name

Key = yaml_document.Key
# Where values of a plan were written, by their keys in the file: `("circuits", "face", "layer")`.
Origins = Mapping[Key, Span]


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An extension and its parameters, complete."""

    name: str
    parameters: dict[str, Value] = {}

    def __str__(self) -> str:
        return _called(self.name, self.parameters)


class Sparsity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="sparsity", tag_field="bound"):
    """At most this fraction of the relevant kernels."""

    at_most: float

    def __str__(self) -> str:
        return f"sparsity<={self.at_most:g}"


class Kernels(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="kernels", tag_field="bound"):
    """At most this many kernels."""

    at_most: int

    def __str__(self) -> str:
        return f"kernels<={self.at_most}"


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network: where from, which, and with what arguments, null for what the language calls none."""

    source: str
    name: str
    arguments: dict[str, Value | list[Value | None] | None] = {}

    def __str__(self) -> str:
        return _called(f"{self.source}.{self.name}", self.arguments)


class Images(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A set of images by patterns relative to the plan's base.

    Each of the exceptions must take something away: a pattern, or the patterns of a set together.
    """

    include: list[str]
    exclude: list[str | list[str]] = []
    limit: int | None = None
    seed: int = 0

    @property
    def exceptions(self) -> list[list[str]]:
        """The patterns of each exception."""
        return [[each] if isinstance(each, str) else each for each in self.exclude]

    @property
    def excluded(self) -> list[str]:
        """The patterns of all exceptions."""
        return [pattern for patterns in self.exceptions for pattern in patterns]


# Where in a feature map: its centre, where it is largest, `[row, column]`, or all of it.
Position = Literal["center", "max"] | tuple[int, int] | None


class Channel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="channel", tag_field="kind"):
    """A channel of a layer. Layer and channel are separate: `10:34` would be a base-60 number in YAML 1.1."""

    layer: str
    unit: int
    at: Position = None

    def __str__(self) -> str:
        return f"{self.layer}:{self.unit}{_at(self.at)}"


class Joint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="joint", tag_field="kind"):
    """Several channels of a layer that one circuit preserves."""

    layer: str
    units: list[int]
    at: Position = None

    def __str__(self) -> str:
        return f"{self.layer}:joint({', '.join(map(str, self.units))}){_at(self.at)}"


class Term(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A channel of a direction and its coefficient."""

    unit: int
    times: float


class Direction(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="direction", tag_field="kind"):
    """A linear combination of channels of a layer."""

    layer: str
    terms: list[Term]
    at: Position = None

    def __str__(self) -> str:
        text = "".join(f"{term.times:+g}*{self.layer}:{term.unit}" for term in self.terms)
        return text.removeprefix("+") + _at(self.at)


class ClassOutput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="class", tag_field="kind"):
    """The output for a class, by number or name."""

    label: int | str

    def __str__(self) -> str:
        return f"class({self.label})"


Target = Channel | Joint | Direction | ClassOutput


def _called(name: str, arguments: Mapping[str, object]) -> str:
    inside = ", ".join(f"{word}={_as_written(value)}" for word, value in arguments.items())
    return f"{name}({inside})" if inside else name


def _as_written(value: object) -> str:
    """A value as the language writes it, names without quotes."""
    if isinstance(value, list):
        return f"[{', '.join(map(_as_written, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)


def _at(position: Position) -> str:
    if position is None:
        return ""
    return f"@{position}" if isinstance(position, str) else f"@({position[0]}, {position[1]})"


class Bound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fidelity that the circuit must reach."""

    metric: str
    sample: Literal["test", "train"]
    relation: Literal["<=", ">="]
    value: float

    def margin(self, value: float) -> float:
        """Return by how much a measured value meets the bound; negative where it doesn't."""
        return value - self.value if self.relation == ">=" else self.value - value


class Circuit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One circuit that is to be found; with `into`, one for each kind of image.

    `id` names its folder, `name` is what the spec calls it, `values` tell it from the others of its sweep.
    `statement` is the text that asked for it, `origin` where each of its values was written: `file:line`, or
    `default`.
    """

    id: str
    name: str = ""
    values: dict[str, str] = {}
    target: Target
    images: str
    test: str | None = None
    contrast: str | None = None
    holdout: float = 0.2
    size: Sparsity | Kernels | None = None
    bounds: list[Bound] = []
    criterion: Choice
    ablation: Choice
    calibrate: Calibrate = "none"
    refill: Refill = "live"
    structure: Structure = "kernel"
    seed: int = 0
    into: int | Literal["auto"] | None = None
    statement: str = ""
    origin: dict[str, str] = {}


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A condition on a measurement (a key of metrics.json) of each of some circuits."""

    circuits: list[str]
    measure: str
    relation: Literal["<=", ">="]
    value: float


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything a run needs, independent of comments, the order of clauses and the machine.

    `base` is the folder the patterns are relative to, itself relative to the plan's file. `comparisons` are lists of
    circuits by id.
    """

    version: Literal[1] = 1
    base: str = "."
    model: Model
    images: dict[str, Images]
    circuits: list[Circuit]
    comparisons: list[list[str]] = []
    expectations: list[Expectation] = []

    def identity(self, circuit: Circuit) -> str:
        """A hash of everything in the plan that has a say in this circuit's result, but not of its name.

        A bound beside a size has none: it is held against the result.
        """
        names = (circuit.images, circuit.test, circuit.contrast)
        sets = [self.images[name] for name in names if name is not None]
        what = msgspec.structs.replace(
            circuit,
            id="",
            name="",
            values={},
            images="",
            test=None,
            contrast=None,
            bounds=[] if circuit.size is not None else circuit.bounds,
            statement="",
            origin={},
        )
        return digest(msgspec.json.encode([self.version, self.model, sets, circuit.test is None, what], order="sorted"))

    def basis(self, circuit: Circuit) -> str:
        """A hash of everything in the plan that has a say in this circuit's scores, but not of its size."""
        return self.identity(msgspec.structs.replace(circuit, size=None, bounds=[]))

    def network(self, circuit: Circuit) -> str:
        """A hash of everything in the plan that has a say in how its target responds in the network to an image."""
        return digest(msgspec.json.encode([self.version, self.model, circuit.target], order="sorted"))


def digest(content: bytes) -> str:
    """The hash used everywhere: SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def is_folder_name(text: str) -> bool:
    """Return whether a folder may have this name on any system: no path, not hidden, not too long."""
    return (
        text.isprintable()
        and not set(text) & set('/\\:*?"<>|')
        and text[:1] not in ("", ".", " ")
        and text[-1] not in ". "
        and len(text.encode(errors="replace")) <= _LONGEST
    )
