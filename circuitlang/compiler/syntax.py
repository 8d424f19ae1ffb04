"""What a file says, before anything is known of what it means. Classes bear the names of the grammar's rules."""

from __future__ import annotations

from dataclasses import dataclass

from circuitlang.errors import Finding
from circuitlang.source import Source, Span


@dataclass(frozen=True)
class Node:
    span: Span


@dataclass(frozen=True)
class Name(Node):
    text: str


@dataclass(frozen=True)
class String(Node):
    text: str


@dataclass(frozen=True)
class Path(Node):
    text: str


@dataclass(frozen=True)
class Number(Node):
    """A number as written: `34`, `0.1`, `1e-3`, `10%`."""

    text: str


@dataclass(frozen=True)
class List(Node):
    items: tuple[Value, ...]


@dataclass(frozen=True)
class Keyword(Node):
    name: Name
    value: Value


@dataclass(frozen=True)
class Call(Node):
    name: Name
    arguments: tuple[Value | Keyword, ...]


Value = Number | String | Name | Path | List | Call


@dataclass(frozen=True)
class Clause(Node):
    name: Name
    relation: str
    value: Value


@dataclass(frozen=True)
class Target(Node):
    layer: Name | String
    unit: Number


@dataclass(frozen=True)
class Model(Node):
    call: Call


@dataclass(frozen=True)
class Images(Node):
    name: Name
    value: Value
    excluded: Value | None
    clauses: tuple[Clause, ...]


@dataclass(frozen=True)
class Defaults(Node):
    clauses: tuple[Clause, ...]


@dataclass(frozen=True)
class Preserve(Node):
    target: Target
    images: Value
    clauses: tuple[Clause, ...]


@dataclass(frozen=True)
class Circuit(Node):
    name: Name
    preserve: Preserve


Statement = Model | Images | Defaults | Preserve | Circuit


@dataclass(frozen=True)
class File:
    """The statements that could be read, the mistakes in the others, and what those would have defined.

    `broken` holds `model`, `defaults` or `images NAME`, so that what depends on them isn't reported as well.
    """

    source: Source
    statements: tuple[Statement, ...]
    findings: tuple[Finding, ...] = ()
    broken: frozenset[str] = frozenset()
