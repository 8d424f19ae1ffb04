"""What a file means: names resolved, values typed, every value with the words it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from circuitlang.errors import Finding
from circuitlang.registry import Declaration, Value
from circuitlang.source import Source, Span

# Arguments of a model that change what it computes, or on what, but not which layers it has.
_NOT_STRUCTURE = ("weights", "resize", "crop", "mean", "std")


def model_key(source: str, name: str, arguments: Mapping[str, object]) -> str:
    """What models of the same layers have in common: `torchvision.resnet18(num_classes=10)`."""
    structure = {word: value for word, value in sorted(arguments.items()) if word not in _NOT_STRUCTURE}
    lists = {word: list(value) if isinstance(value, tuple) else value for word, value in structure.items()}
    inner = ", ".join(f"{word}={value}" for word, value in lists.items())
    return f"{source}.{name}({inner})" if inner else f"{source}.{name}"


@dataclass(frozen=True)
class Layers:
    """What a target may name in a model: channels by every name, and the names that are short enough to list."""

    widths: Mapping[str, int]
    short: tuple[str, ...]


@dataclass(frozen=True)
class Vocabulary:
    """The words a program may use: extensions by name, and the layers of the models that are known.

    `layers` is keyed by `model_key`; a model that isn't in it is not an error, it was just never looked at.
    """

    criteria: Mapping[str, Declaration]
    ablations: Mapping[str, Declaration]
    metrics: Mapping[str, Declaration]
    models: Mapping[str, Declaration]
    layers: Mapping[str, Layers] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """Which network: a source, a name in it, and arguments."""

    source: str
    name: str
    arguments: Mapping[str, Value | tuple[Value, ...]]
    span: Span | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        return model_key(self.source, self.name, self.arguments)


# Where in a feature map: its centre, where it is largest, a row and column, or all of it.
Position = Literal["center", "max"] | tuple[int, int] | None


@dataclass(frozen=True)
class Channel:
    """One channel of a layer."""

    layer: str
    unit: int
    position: Position
    layer_span: Span = field(compare=False)
    unit_span: Span = field(compare=False)


@dataclass(frozen=True)
class Joint:
    """Several channels of a layer, all of them preserved by one circuit."""

    layer: str
    units: tuple[int, ...]
    position: Position
    layer_span: Span = field(compare=False)
    unit_span: Span = field(compare=False)


@dataclass(frozen=True)
class Direction:
    """A linear combination of channels of one layer: (channel, coefficient)."""

    layer: str
    terms: tuple[tuple[int, float], ...]
    position: Position
    layer_span: Span = field(compare=False)
    unit_span: Span = field(compare=False)


@dataclass(frozen=True)
class ClassOutput:
    """The output for a class, by number or name."""

    label: int | str
    layer_span: Span = field(compare=False)
    unit_span: Span = field(compare=False)


Target = Channel | Joint | Direction | ClassOutput


@dataclass(frozen=True)
class ImageSet:
    """Pictures by patterns, relative to the program's source; `limit` is a sample drawn by `seed`."""

    name: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    limit: int | None
    seed: int
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Choice:
    """An extension by name, with its parameters complete."""

    name: str
    parameters: tuple[tuple[str, Value], ...]
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Sparsity:
    """At most this fraction of the relevant kernels is kept."""

    fraction: float


@dataclass(frozen=True)
class Kernels:
    """At most this many kernels are kept."""

    count: int


@dataclass(frozen=True)
class Bound:
    """A fidelity that must be reached, on the pictures of `sample`."""

    metric: str
    sample: Literal["test", "train"]
    relation: Literal["<=", ">="]
    value: float


@dataclass(frozen=True)
class Preserve:
    """One circuit that is asked for, or, where `into` says so, one for each kind of image.

    `name` is shared by the members of a sweep; `values` tell them apart. `given` says where each clause stands,
    whether in the statement or in the defaults; what isn't in it is built in.
    """

    name: str | None
    values: tuple[tuple[str, str], ...]
    target: Target
    images: ImageSet
    test: ImageSet | None
    holdout: float
    size: Sparsity | Kernels | None
    bounds: tuple[Bound, ...]
    criterion: Choice
    ablation: Choice
    calibrate: str
    refill: str
    structure: str
    seed: int
    into: int | Literal["auto"] | None
    given: Mapping[str, Span] = field(compare=False)
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Comparison:
    """Circuits to be compared."""

    circuits: tuple[Preserve, ...]
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Expectation:
    """What must hold of each of some circuits, or the run fails. `measure` is a key of `metrics.json`."""

    circuits: tuple[Preserve, ...]
    measure: str
    relation: Literal["<=", ">="]
    value: float
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Program:
    source: Source
    model: Model
    circuits: tuple[Preserve, ...]
    comparisons: tuple[Comparison, ...]
    expectations: tuple[Expectation, ...]
    warnings: tuple[Finding, ...]
