"""What a file means: names resolved, values typed, every value with the words it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class ImageSet:
    """Pictures by patterns, relative to the source they stand in; `limit` is a sample drawn by `seed`."""

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
    parameters: Mapping[str, Value]
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
class Preserve:
    """One circuit that is asked for."""

    name: str | None
    layer: str
    layer_span: Span = field(compare=False)
    unit: int
    unit_span: Span = field(compare=False)
    images: ImageSet
    test: ImageSet | None
    holdout: float
    size: Sparsity | Kernels
    size_span: Span = field(compare=False)
    criterion: Choice
    ablation: Choice
    seed: int
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Program:
    source: Source
    model: Model
    circuits: tuple[Preserve, ...]
    warnings: tuple[Finding, ...]
