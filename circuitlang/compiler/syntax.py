"""Syntax trees. Classes bear the names of the grammar's rules."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from circuitlang.base.diagnostics import Finding
from circuitlang.base.source import Source, Span


class Node(msgspec.Struct, frozen=True):
    """Something with a place. Structs, since dataclasses take long to define and to make."""

    span: Span


class Name(Node, frozen=True):
    text: str


class String(Node, frozen=True):
    text: str


class Path(Node, frozen=True):
    text: str


class Number(Node, frozen=True):
    """A number as written: `34`, `0.1`, `1e-3`, `10%`."""

    text: str


class List(Node, frozen=True):
    items: tuple[Value, ...]


class Keyword(Node, frozen=True):
    name: Name
    value: Value


class Call(Node, frozen=True):
    name: Name
    arguments: tuple[Value | Keyword, ...]


class Range(Node, frozen=True):
    """`30..40`, both ends included."""

    first: Number
    last: Number


Value = Number | String | Name | Path | List | Call | Range


class Clause(Node, frozen=True):
    name: Name
    relation: str
    value: Value


class Every(Node, frozen=True):
    """`*`: every channel of a layer."""


class Position(Node, frozen=True):
    """`@center`, `@max` or `@(row, column)`: one of the two is there."""

    name: Name | None
    place: tuple[Number, Number] | None


class Target(Node, frozen=True):
    """`LAYER:UNIT@POSITION`."""

    layer: Name | String
    unit: Number | List | Call | Every
    position: Position | None


class Contrasted(Node, frozen=True):
    """`IMAGES against IMAGES`."""

    images: Selection
    against: Selection


class Concept(Node, frozen=True):
    """`concept(IMAGES against IMAGES, penalty=0.1)`; the name may be another, by mistake."""

    name: Name
    sets: Contrasted
    words: tuple[Keyword, ...]


class Located(Node, frozen=True):
    """`CALL in LAYER@POSITION`: a direction of a layer that is not written down."""

    call: Call | Concept
    layer: Name | String
    position: Position | None


class Term(Node, frozen=True):
    """One summand of a feature: its sign, its coefficient, and a target, a class or the name of a direction."""

    negative: bool
    coefficient: Number | None
    of: Target | Located | Call | Concept | Name


class Feature(Node, frozen=True):
    terms: tuple[Term, ...]


class Transform(Node, frozen=True):
    """A transform of images, `as blurred(4)`."""

    by: Call | Name


class Selection(Node, frozen=True):
    """A path, a name or a list of them, less some, and the transforms of its images."""

    value: Value
    excluded: Value | None
    transforms: tuple[Transform, ...]


class Model(Node, frozen=True):
    call: Call


class Images(Node, frozen=True):
    name: Name
    images: Selection
    clauses: tuple[Clause, ...]


class Direction(Node, frozen=True):
    """A `target` statement."""

    name: Name
    feature: Feature


class Defaults(Node, frozen=True):
    clauses: tuple[Clause, ...]


class Preserve(Node, frozen=True):
    """A circuit; `incomplete` where clauses that can't be read are left out."""

    feature: Feature
    images: Selection
    clauses: tuple[Clause, ...]
    incomplete: bool = False


class Split(Node, frozen=True):
    feature: Feature
    images: Selection
    into: Number | Name
    clauses: tuple[Clause, ...]
    incomplete: bool = False


class Circuit(Node, frozen=True):
    name: Name
    asked: Preserve | Split


class Member(Node, frozen=True):
    """A circuit by name; of a sweep, the members that have these values."""

    name: Name
    values: tuple[Keyword, ...]


class Kernel(Node, frozen=True):
    """`LAYER:UNIT <- LAYER:UNIT`: the kernel of an output channel that reads an input channel."""

    target: Target
    source: Target


class Edit(Node, frozen=True):
    """An edit of the network, and the features that are measured in it.

    `of` is a kernel, channels, the name of a group, or a circuit.
    """

    name: Name
    of: Kernel | Target | String | Member
    images: Selection
    clauses: tuple[Clause, ...]
    measured: tuple[Feature, ...]


class Compare(Node, frozen=True):
    members: tuple[Member, ...]


class Measure(Node, frozen=True):
    """`CIRCUIT.METRIC`, `SWEEP[unit=30].METRIC` or `EDIT[conv5:34].METRIC`: the name, the values or the feature, and
    what follows the bracket."""

    name: Name
    values: tuple[Keyword, ...]
    suffix: str
    feature: Feature | None = None


class Expect(Node, frozen=True):
    measure: Measure
    relation: str
    value: Number


class Include(Node, frozen=True):
    path: String
    namespace: Name | None


class Label(Node, frozen=True):
    target: Target
    text: String


class Group(Node, frozen=True):
    text: String
    target: Target


Statement = (
    Model
    | Images
    | Direction
    | Defaults
    | Preserve
    | Split
    | Circuit
    | Edit
    | Compare
    | Expect
    | Include
    | Label
    | Group
)


class File(msgspec.Struct, frozen=True):
    """The statements that could be read, the mistakes in the others, and what those would have defined.

    `broken` holds `model`, `defaults` or `images NAME`, so that what depends on them isn't reported as well.
    `included` holds the files that include statements name, by the statement, `beside` the file of labels, if there is
    one.
    """

    source: Source
    statements: tuple[Statement, ...]
    findings: tuple[Finding, ...] = ()
    broken: frozenset[str] = frozenset()
    included: Mapping[Include, File] = {}
    beside: File | None = None
