"""Circuits of a plan, and one table of the clauses that describe them.

A clause is a field of `Circuit` and an entry of `PRESERVE`. The compiler reads values and names circuits by the table;
the engine and the reports look up what a clause affects and how it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, get_args

import msgspec

from circuitlang.plan.targets import Target, concept_sets
from circuitlang.plugins.registry import Value

Calibrate = Literal["none", "bias", "affine", "kernels"]
Refill = Literal["none", "live"]
Structure = Literal["kernel", "weight", "channel"]
# Ablations that a finished circuit is measured under; see `engine/evaluation/robustness.py`.
Robust = Literal["zero", "mean", "resample", "optimal", "blur"]
# The test that measures what `stable` asks for.
STABILITY = "stability"


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An extension and its parameters, complete."""

    name: str
    parameters: dict[str, Value] = {}

    def __str__(self) -> str:
        return as_call(self.name, self.parameters)


class EndToEnd(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="end_to_end", tag_field="method"):
    """A calibration that trains the gains of kernels and the constants of channels end to end, in so many passes."""

    passes: Annotated[int, msgspec.Meta(ge=1)] = 16

    def __str__(self) -> str:
        changed = {} if self == EndToEnd() else {"passes": self.passes}
        return as_call("kernels", {"method": "end_to_end", **changed})


class Sparsity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="sparsity", tag_field="bound"):
    """At most this fraction of the relevant kernels."""

    at_most: float

    def __str__(self) -> str:
        return f"keep<={self.at_most:g}"

    @property
    def slug(self) -> str:
        """The size in the ids of circuits."""
        return f"{self.at_most:g}"


class Kernels(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="kernels", tag_field="bound"):
    """At most this many kernels."""

    at_most: int

    def __str__(self) -> str:
        return f"kernels<={self.at_most}"

    @property
    def slug(self) -> str:
        """The size in the ids of circuits."""
        return f"{self.at_most}kernels"


class Bound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fidelity that the circuit must reach."""

    metric: str
    sample: Literal["test", "train"]
    relation: Literal["<=", ">="]
    value: float

    @property
    def slug(self) -> str:
        """The bound in the ids of circuits that have no size."""
        return f"{self.metric}{self.value:g}"

    def margin(self, value: float) -> float:
        """Return by how much a measured value meets the bound; negative where it doesn't."""
        return value - self.value if self.relation == ">=" else self.value - value


class Circuit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One circuit that is to be found; with `into`, one for each kind of image.

    `id` names its folder, `name` is what the spec calls it, `values` tell it from the others of its sweep.
    `statement` is the text that asked for it, `origin` where each of its values was written: `file:line`, or
    `default`. `within` is the circuit of the plan whose kernels it is found among, complete, so that a circuit says all
    that it follows from.
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
    calibrate: Calibrate | EndToEnd = "none"
    refill: Refill = "live"
    structure: Structure = "kernel"
    seed: int = 0
    also: list[str] = []
    tests: list[Choice] = []
    # Absent from files where nothing is asked for.
    robust: list[Robust] | msgspec.UnsetType = msgspec.UNSET
    stable: float | msgspec.UnsetType = msgspec.UNSET
    within: Circuit | msgspec.UnsetType = msgspec.UNSET
    into: int | Literal["auto"] | None = None
    statement: str = ""
    origin: dict[str, str] = {}

    @property
    def image_sets(self) -> dict[str, str]:
        """The names of the circuit's image sets, by the word that introduces each, but for those of `also`."""
        words = "images", *(clause.name for clause in PRESERVE.values() if clause.kind == "images")
        return {word: name for word in words if (name := getattr(self, word)) is not None}

    @property
    def used_sets(self) -> tuple[str, ...]:
        """The names of all image sets that the circuit follows from or is measured on."""
        own = *self.image_sets.values(), *self.also, *concept_sets(self.target)
        return own if self.within is msgspec.UNSET else (*own, *self.within.used_sets)

    @property
    def lineage(self) -> Iterator[Circuit]:
        """The circuit, the one that it is within, and so on."""
        yield self
        if self.within is not msgspec.UNSET:
            yield from self.within.lineage


@dataclass(frozen=True)
class Slug:
    """Text of a clause in the ids of circuits.

    Attributes:
        text: Format of the clause's value.
        order: Position among the slugs; those of the same order stand in the order of the table.
        presence: The ids that have it: every one, those of circuits whose value isn't the default, or those of
            circuits that no other slug tells apart.
    """

    text: str
    order: int = 10
    presence: Literal["every", "changed", "apart"] = "changed"


# Kinds of values.
Kind = Literal[
    "sparsity",
    "kernels",
    "fraction",
    "number",
    "whole",
    "word",
    "calibrate",
    "criterion",
    "ablation",
    "images",
    "several_images",
    "tests",
    "words",
    "circuit",
]


@dataclass(frozen=True)
class Clause:
    """A clause of a statement.

    Attributes:
        name: The word of the language.
        kind: Kind of value, by which the compiler chooses a reader.
        example: The clause as in an error text.
        relation: The sign between name and value.
        alias: Another word for the clause.
        words: The words that a clause of kind `word`, `words` or `calibrate` chooses from.
        limits: The smallest and the largest number of a `fraction` or a `whole`; None for no limit.
        extension: Name of the default of an extension; the default of all other kinds is that of the field.
        field: Name of the field of `Circuit`, if it isn't the clause's.
        excludes: Another clause that a statement can't have as well, and whose default this one replaces.
        scores: Dependence of the scores: circuits that differ only in clauses without it share their scores.
        builds: Dependence of the circuit that is built of given scores: circuits that differ in it share no baselines.
        hashed: Presence in hashes of plans where it has its default. A clause that was added to the language later is
            left out there, so that plans without it keep their hashes.
        slug: Text in the ids of circuits; None for the size, which every id has after its slugs of presence `every`,
            and for what has no say.
        claim: Format of what reports, pages and diagrams add to the claim about a circuit; empty for nothing.
        detail: Format of what comparisons and overviews say about a circuit besides.
        column: Presence as a column in the overview of a run whose circuits differ in it.
    """

    name: str
    kind: Kind
    example: str
    relation: Literal["=", "<=", ">="] = "="
    alias: str = ""
    words: tuple[str, ...] = ()
    limits: tuple[float, float | None] = (0, None)
    extension: str = ""
    field: str = ""
    excludes: str = ""
    scores: bool = True
    builds: bool = True
    hashed: bool = True
    slug: Slug | None = None
    claim: str = ""
    detail: str = ""
    column: bool = False

    @property
    def key(self) -> str:
        """The field of `Circuit` that holds the value."""
        return self.field or self.name

    @property
    def of_images(self) -> bool:
        """Return whether the value is an image set, or several."""
        return self.kind in ("images", "several_images")

    @cached_property
    def default(self) -> object:
        """The value where nothing is written; of an extension, its name."""
        if self.extension:
            return self.extension
        field = next(field for field in msgspec.structs.fields(Circuit) if field.name == self.key)
        return field.default if field.default is not msgspec.NODEFAULT else list[Choice]()

    def text(self, circuit: Circuit) -> str:
        """Return the value that a circuit has, as text."""
        value = getattr(circuit, self.key)
        if isinstance(value, Circuit):
            return value.id
        if isinstance(value, list):
            return _as_written(value or None)
        return f"{value:g}" if isinstance(value, float) else str(value)

    def is_default(self, circuit: Circuit) -> bool:
        """Return whether a circuit has the default value; the parameters of an extension are not compared."""
        value = getattr(circuit, self.key)
        return bool((value.name if isinstance(value, Choice) else value) == self.default)


def _table(*clauses: Clause) -> Mapping[str, Clause]:
    return {clause.name: clause for clause in clauses}


# The largest seed that all random generators take.
_SEEDS = 0, 2**32 - 1

# The clauses of `preserve`, `split` and `defaults`, in the order in which errors, plans and forecasts list them.
PRESERVE: Mapping[str, Clause] = _table(
    Clause(
        "sparsity",
        "sparsity",
        "keep<=0.1",
        "<=",
        alias="keep",
        field="size",
        excludes="kernels",
        scores=False,
        builds=False,
    ),
    Clause("kernels", "kernels", "kernels<=250", "<=", field="size", excludes="sparsity", scores=False, builds=False),
    Clause(
        "criterion",
        "criterion",
        "criterion=snip",
        extension="annealed",
        builds=False,
        slug=Slug("{0.name}", presence="every"),
        column=True,
    ),
    Clause("ablation", "ablation", "ablation=zero", extension="zero", slug=Slug("{0.name}", 1), column=True),
    Clause(
        "calibrate",
        "calibrate",
        "calibrate=none",
        words=get_args(Calibrate),
        slug=Slug("calibrated_{}", 2),
        claim="refitted ({})",
    ),
    Clause("refill", "word", "refill=live", words=get_args(Refill), slug=Slug("refill_{}", 4), column=True),
    Clause(
        "structure",
        "word",
        "structure=kernel",
        words=get_args(Structure),
        slug=Slug("{}", 3),
        detail="{}s removed",
        column=True,
    ),
    Clause(
        "holdout",
        "fraction",
        "holdout=20%",
        limits=(0, 0.9),
        excludes="test",
        builds=False,
        slug=Slug("holdout{:g}", 2, presence="apart"),
    ),
    Clause(
        "test",
        "images",
        "test=images/others/*",
        excludes="holdout",
        builds=False,
        slug=Slug("test_{}", 3, presence="apart"),
    ),
    Clause(
        "contrast",
        "images",
        "contrast=images/others/*",
        builds=False,
        slug=Slug("contrast_{}", 5),
        detail="against {}",
    ),
    Clause("seed", "whole", "seed=0", limits=_SEEDS, builds=False, slug=Slug("seed{}", 1, presence="apart")),
    Clause("also", "several_images", "also=images/others/*", scores=False, builds=False, hashed=False),
    Clause("tests", "tests", "tests=all", scores=False, builds=False, hashed=False),
    Clause("robust", "words", "robust=all", words=get_args(Robust), scores=False, builds=False, hashed=False),
    Clause(
        "stable",
        "fraction",
        "stable>=0.9",
        ">=",
        limits=(0, 1),
        scores=False,
        hashed=False,
        slug=Slug("stable{:g}", 6),
        claim="stable>={:g}",
    ),
    Clause("within", "circuit", "within=face", hashed=False, slug=Slug("within_{0.name}", 7), detail="within {0.name}"),
)
# The clauses of `images`.
IMAGES: Mapping[str, Clause] = _table(
    Clause("limit", "whole", "limit=200", limits=(1, None)),
    Clause("seed", "whole", "seed=0", limits=_SEEDS),
)
# The clauses of `edit`.
EDIT: Mapping[str, Clause] = _table(
    Clause("scale", "number", "scale=0", excludes="patch"),
    Clause("patch", "images", "patch=images/others/*", excludes="scale"),
)


def building(circuit: Circuit) -> tuple[str, ...]:
    """Return the values that decide which circuit is built of given scores."""
    return tuple(clause.text(circuit) for clause in PRESERVE.values() if clause.builds)


def unsaid(circuit: Circuit) -> set[str]:
    """Return the fields that hashes of a circuit leave out, because its plan says nothing about them."""
    return {clause.key for clause in PRESERVE.values() if not clause.hashed and clause.is_default(circuit)}


def claims(circuit: Circuit) -> list[str]:
    """Return what belongs to the claim about a circuit besides its size and its fidelity, such as `refitted (bias)`."""
    return _shown(circuit, [(clause, clause.claim) for clause in PRESERVE.values()])


def details(circuit: Circuit) -> list[str]:
    """Return what comparisons and overviews say about a circuit besides its claims, such as `channels removed`."""
    return _shown(circuit, [(clause, clause.detail) for clause in PRESERVE.values()])


def _shown(circuit: Circuit, formats: Iterable[tuple[Clause, str]]) -> list[str]:
    return [
        text.format(getattr(circuit, clause.key)) for clause, text in formats if text and not clause.is_default(circuit)
    ]


def as_call(name: str, arguments: Mapping[str, object]) -> str:
    """Return a name with arguments as the language writes them: `force(steps=10)`."""
    inside = ", ".join(f"{word}={_as_written(value)}" for word, value in arguments.items())
    return f"{name}({inside})" if inside else name


def _as_written(value: object) -> str:
    """A value as the language writes it, names without quotes."""
    if isinstance(value, list):
        return f"[{', '.join(map(_as_written, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)
