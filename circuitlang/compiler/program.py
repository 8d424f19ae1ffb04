"""Programs: a file with its names resolved and its values typed, each with the words it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from circuitlang.base.diagnostics import Finding
from circuitlang.base.source import Source, Span
from circuitlang.plan.clauses import Calibrate, Refill, Structure
from circuitlang.plan.layers import Layers, model_key
from circuitlang.plugins.registry import Declaration, Value

# Where something was written.
_PLACES = ("span", "layer_span", "unit_span", "given")


class Meant(msgspec.Struct, frozen=True, eq=False):
    """Equal to another of its class that says the same, wherever it was written."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._said() == other._said()

    def __hash__(self) -> int:
        return hash(self._said())

    def _said(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__struct_fields__ if name not in _PLACES)


class Vocabulary(Meant, frozen=True):
    """The words a program may use: extensions by name, and the layers of the models that are known.

    `layers` is keyed by `model_key`; a model that isn't in it is not an error, it was just never looked at.
    """

    criteria: Mapping[str, Declaration]
    ablations: Mapping[str, Declaration]
    metrics: Mapping[str, Declaration]
    models: Mapping[str, Declaration]
    layers: Mapping[str, Layers] = {}


# What a model's builder is given; None where the spec says `none`.
Argument = Value | None | tuple[Value | None, ...]


class Model(Meant, frozen=True):
    """Which network: a source, a name in it, and arguments."""

    source: str
    name: str
    arguments: Mapping[str, Argument]
    span: Span | None = None

    @property
    def key(self) -> str:
        return model_key(self.source, self.name, self.arguments)


# Where in a feature map: its centre, where it is largest, a row and column, or all of it.
Position = Literal["center", "max"] | tuple[int, int] | None


class Channel(Meant, frozen=True):
    """One channel of a layer."""

    layer: str
    unit: int
    position: Position
    layer_span: Span
    unit_span: Span


class Joint(Meant, frozen=True):
    """Several channels of a layer, all of them preserved by one circuit."""

    layer: str
    units: tuple[int, ...]
    position: Position
    layer_span: Span
    unit_span: Span


class Direction(Meant, frozen=True):
    """A linear combination of channels of one layer: (channel, coefficient)."""

    layer: str
    terms: tuple[tuple[int, float], ...]
    position: Position
    layer_span: Span
    unit_span: Span


class ClassOutput(Meant, frozen=True):
    """The output for a class, by number or name."""

    label: int | str
    layer_span: Span
    unit_span: Span


Target = Channel | Joint | Direction | ClassOutput


class ImageSet(Meant, frozen=True):
    """Pictures by patterns, relative to the program's source; `limit` is a sample drawn by `seed`.

    `exclude` has the patterns of each exception.
    """

    name: str
    include: tuple[str, ...]
    exclude: tuple[tuple[str, ...], ...]
    limit: int | None
    seed: int
    span: Span


class Choice(Meant, frozen=True):
    """An extension by name, with its parameters complete."""

    name: str
    parameters: tuple[tuple[str, Value], ...]
    span: Span | None = None


class Sparsity(Meant, frozen=True):
    """At most this fraction of the relevant kernels is kept."""

    fraction: float


class Kernels(Meant, frozen=True):
    """At most this many kernels are kept."""

    count: int


class Bound(Meant, frozen=True):
    """A fidelity that must be reached, on the pictures of `sample`."""

    metric: str
    sample: Literal["test", "train"]
    relation: Literal["<=", ">="]
    value: float


class Preserve(Meant, frozen=True):
    """One circuit that is asked for, or, where `into` says so, one for each kind of image.

    `name` is shared by the members of a sweep; `values` tell them apart. `given` says where each clause stands,
    whether in the statement or in the defaults; what isn't in it is built in.
    """

    name: str | None
    values: tuple[tuple[str, str], ...]
    target: Target
    images: ImageSet
    test: ImageSet | None
    contrast: ImageSet | None
    holdout: float
    size: Sparsity | Kernels | None
    bounds: tuple[Bound, ...]
    criterion: Choice
    ablation: Choice
    calibrate: Calibrate
    refill: Refill
    structure: Structure
    seed: int
    into: int | Literal["auto"] | None
    given: Mapping[str, Span]
    span: Span


class Comparison(Meant, frozen=True):
    """Circuits to be compared."""

    circuits: tuple[Preserve, ...]
    span: Span


class Expectation(Meant, frozen=True):
    """A condition on each of some circuits; the run fails unless it holds. `measure` is a key of `metrics.json`."""

    circuits: tuple[Preserve, ...]
    measure: str
    relation: Literal["<=", ">="]
    value: float
    span: Span


class Program(Meant, frozen=True):
    source: Source
    model: Model
    circuits: tuple[Preserve, ...]
    comparisons: tuple[Comparison, ...]
    expectations: tuple[Expectation, ...]
    warnings: tuple[Finding, ...]
