"""What a file says, before anything is known of what it means. Classes bear the names of the grammar's rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class Range(Node):
    """`30..40`, both ends included."""

    first: Number
    last: Number


Value = Number | String | Name | Path | List | Call | Range


@dataclass(frozen=True)
class Clause(Node):
    name: Name
    relation: str
    value: Value


@dataclass(frozen=True)
class Every(Node):
    """`*`: every channel of a layer."""


@dataclass(frozen=True)
class Position(Node):
    """`@center`, `@max` or `@(row, column)`: one of the two is there."""

    name: Name | None
    place: tuple[Number, Number] | None


@dataclass(frozen=True)
class Target(Node):
    """`LAYER:UNIT@POSITION`."""

    layer: Name | String
    unit: Number | List | Call | Every
    position: Position | None


@dataclass(frozen=True)
class Term(Node):
    """One summand of a feature: its sign, its coefficient, and a target, a class or the name of a direction."""

    negative: bool
    coefficient: Number | None
    of: Target | Call | Name


@dataclass(frozen=True)
class Feature(Node):
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Pictures(Node):
    """A path, a name or a list of them, less some."""

    value: Value
    excluded: Value | None


@dataclass(frozen=True)
class Model(Node):
    call: Call


@dataclass(frozen=True)
class Images(Node):
    name: Name
    pictures: Pictures
    clauses: tuple[Clause, ...]


@dataclass(frozen=True)
class Direction(Node):
    """A `target` statement."""

    name: Name
    feature: Feature


@dataclass(frozen=True)
class Defaults(Node):
    clauses: tuple[Clause, ...]


@dataclass(frozen=True)
class Preserve(Node):
    feature: Feature
    pictures: Pictures
    clauses: tuple[Clause, ...]


@dataclass(frozen=True)
class Split(Node):
    feature: Feature
    pictures: Pictures
    into: Number | Name
    clauses: tuple[Clause, ...]


@dataclass(frozen=True)
class Circuit(Node):
    name: Name
    asked: Preserve | Split


@dataclass(frozen=True)
class Member(Node):
    """A circuit by name; of a sweep, the members that have these values."""

    name: Name
    values: tuple[Keyword, ...]


@dataclass(frozen=True)
class Compare(Node):
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Measure(Node):
    """`CIRCUIT.METRIC`, or `SWEEP[unit=30].METRIC`: the name, the values, and what follows the bracket."""

    name: Name
    values: tuple[Keyword, ...]
    suffix: str


@dataclass(frozen=True)
class Expect(Node):
    measure: Measure
    relation: str
    value: Number


@dataclass(frozen=True)
class Include(Node):
    path: String
    namespace: Name | None


Statement = Model | Images | Direction | Defaults | Preserve | Split | Circuit | Compare | Expect | Include


@dataclass(frozen=True)
class File:
    """The statements that could be read, the mistakes in the others, and what those would have defined.

    `broken` holds `model`, `defaults` or `images NAME`, so that what depends on them isn't reported as well.
    `included` holds the files that include statements name, by the statement.
    """

    source: Source
    statements: tuple[Statement, ...]
    findings: tuple[Finding, ...] = ()
    broken: frozenset[str] = frozenset()
    included: Mapping[Include, File] = field(default_factory=dict)
