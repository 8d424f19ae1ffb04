"""Plans: plain values between the language and the engine, and their YAML."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec
from msgspec import UNSET

from circuitlang.base.hub_address import is_on_hub, without_revision
from circuitlang.base.source import Span
from circuitlang.plan.clauses import PRESERVE, Bound, Choice, Circuit, Kernels, Sparsity, as_call, unsaid
from circuitlang.plan.edits import Edit
from circuitlang.plan.labels import Labels
from circuitlang.plan.layers import model_key
from circuitlang.plan.targets import (
    Channel,
    ClassOutput,
    ClassSum,
    ClassTerm,
    Concept,
    Direction,
    Joint,
    OfClasses,
    Position,
    Target,
    Term,
    Vector,
    concept_sets,
)
from circuitlang.plugins.registry import Value

__all__ = [
    "IN_MEMORY",
    "MEMORY",
    "Argument",
    "Bound",
    "Channel",
    "Choice",
    "Circuit",
    "ClassOutput",
    "ClassSum",
    "ClassTerm",
    "Concept",
    "Direction",
    "Edit",
    "Expectation",
    "Images",
    "Joint",
    "Kernels",
    "Key",
    "Model",
    "OfClasses",
    "Origins",
    "Plan",
    "Position",
    "Sparsity",
    "Target",
    "Term",
    "Vector",
    "digest",
    "is_folder_name",
]

# The source of models that are objects of a Python program, and the beginning of patterns that stand for such images.
IN_MEMORY = "memory"
MEMORY = "memory:"

_LONGEST = 255  # bytes of a folder's name
# The source of models that are a file, of weights and graph.
_PROGRAMS = "file"

# Keys of a plan's YAML.
Key = tuple[str, ...]
# The places where values of a plan were written, by their keys in the file: `("circuits", "face", "layer")`.
Origins = Mapping[Key, Span]


# An argument of a model; None for what the language calls none.
Argument = Value | list[Value | None] | None


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network: where from, which, and with what arguments, null for what the language calls none."""

    source: str
    name: str
    arguments: dict[str, Argument] = {}

    def __str__(self) -> str:
        return as_call(f"{self.source}.{self.name}", self.arguments)

    @property
    def key(self) -> str:
        """The key that models with the same layers share."""
        return model_key(self.source, without_revision(self.name), self.arguments)

    @property
    def addresses(self) -> list[str]:
        """The files on the Hub that it names: a program, or weights."""
        program = [self.name] if self.source == _PROGRAMS and is_on_hub(self.name) else []
        weights = self.arguments.get("weights")
        return [*program, weights] if isinstance(weights, str) and is_on_hub(weights) else program

    def readdressed(self, change: Callable[[str], str]) -> Model:
        """Return the model with other addresses of its files on the Hub; itself if it has none."""
        if not self.addresses:
            return self
        new = {address: change(address) for address in self.addresses}
        arguments = dict(self.arguments)
        if (weights := arguments.get("weights")) in new:
            arguments["weights"] = new[str(weights)]
        return msgspec.structs.replace(self, name=new.get(self.name, self.name), arguments=arguments)


class Images(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A set of images by patterns relative to the plan's base.

    Each of the exceptions must take something away: a pattern, or the patterns of a set together.
    """

    include: list[str]
    exclude: list[str | list[str]] = []
    limit: int | None = None
    seed: int = 0
    # Not written where there are none: the hash of a plan without them is what it was before there were any.
    transforms: list[Choice] | msgspec.UnsetType = msgspec.UNSET

    @property
    def addresses(self) -> list[str]:
        """The patterns of files on the Hub."""
        return [pattern for pattern in (*self.include, *self.excluded) if is_on_hub(pattern)]

    def readdressed(self, change: Callable[[str], str]) -> Images:
        """Return the set with other addresses of its files on the Hub; itself if it has none."""
        if not self.addresses:
            return self

        def new(pattern: str) -> str:
            return change(pattern) if is_on_hub(pattern) else pattern

        exclude = [new(pattern) if isinstance(pattern, str) else [*map(new, pattern)] for pattern in self.exclude]
        return msgspec.structs.replace(self, include=[*map(new, self.include)], exclude=exclude)

    @property
    def transformed(self) -> list[Choice]:
        """The transforms of each image, in order."""
        return [] if self.transforms is msgspec.UNSET else self.transforms

    @property
    def exceptions(self) -> list[list[str]]:
        """The patterns of each exception."""
        return [[pattern] if isinstance(pattern, str) else pattern for pattern in self.exclude]

    @property
    def excluded(self) -> list[str]:
        """The patterns of all exceptions."""
        return [pattern for patterns in self.exceptions for pattern in patterns]


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A condition on a measurement of each of some circuits (a key of metrics.json), or of an edit."""

    circuits: list[str]
    measure: str
    relation: Literal["<=", ">="]
    value: float
    # Absent where it is about circuits.
    edit: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def subjects(self) -> list[str]:
        """The circuits, or the edit, that it is about."""
        return self.circuits if self.edit is msgspec.UNSET else [self.edit]


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything a run needs, independent of comments, the order of clauses and the machine.

    `base` is the folder the patterns are relative to, itself relative to the plan's file. `comparisons` are lists of
    circuits by id. `edits` are measured when the circuits are there. `labels` have no say in any result.
    """

    version: Literal[1] = 1
    base: str = "."
    model: Model
    images: dict[str, Images]
    circuits: list[Circuit]
    comparisons: list[list[str]] = []
    expectations: list[Expectation] = []
    # Absent from files where nothing is edited.
    edits: list[Edit] | msgspec.UnsetType = msgspec.UNSET
    labels: Labels | None = None

    def readdressed(self, change: Callable[[str], str]) -> Plan:
        """Return the plan with other addresses of its files on the Hub."""
        images = {name: images.readdressed(change) for name, images in self.images.items()}
        return msgspec.structs.replace(self, model=self.model.readdressed(change), images=images)

    def identity(self, circuit: Circuit) -> str:
        """A hash of everything in the plan that has a say in this circuit's result, but not of its name.

        A bound beside a size has none: it is held against the result. Neither have revisions of files on the Hub, whose
        contents are hashed.
        """
        model = self.model.readdressed(without_revision)
        sets: list[Images | list[Images]] = [self._content(name) for name in circuit.image_sets.values()]
        sets += [[self._content(name) for name in circuit.also]] if circuit.also else []
        within: object = UNSET if circuit.within is UNSET else self.identity(circuit.within)
        what = msgspec.structs.replace(
            circuit,
            within=within,
            id="",
            name="",
            values={},
            **{**dict.fromkeys(circuit.image_sets), "images": ""},
            also=[],
            bounds=[] if circuit.size is not None else circuit.bounds,
            target=self._by_content(circuit.target),
            statement="",
            origin={},
        )
        left_out = unsaid(what)
        said = {word: getattr(what, word) for word in what.__struct_fields__ if word not in left_out}
        return digest(msgspec.json.encode([self.version, model, sets, circuit.test is None, said], order="sorted"))

    def basis(self, circuit: Circuit) -> str:
        """A hash of everything in the plan that has a say in this circuit's scores, but not of its size."""
        unscored = {clause.key: clause.default for clause in PRESERVE.values() if not clause.scores}
        return self.identity(msgspec.structs.replace(circuit, bounds=[], **unscored))

    @property
    def edited(self) -> list[Edit]:
        """The edits, of which most plans have none."""
        return [] if self.edits is msgspec.UNSET else self.edits

    def network(self, circuit: Circuit) -> str:
        """A hash of everything in the plan that has a say in how its target responds in the network to an image."""
        what = [self.version, self.model.readdressed(without_revision), self._by_content(circuit.target)]
        if isinstance(circuit.target, Concept):
            # Its direction isn't learned from images that the circuit is judged by.
            sets = [self._content(name) for name in circuit.image_sets.values()]
            what += [sets, circuit.holdout, circuit.seed]
        return digest(msgspec.json.encode(what, order="sorted"))

    def concept(self, target: Concept) -> str:
        """A hash of everything in the plan but images that has a say in the direction of a concept."""
        what = msgspec.structs.replace(target, images="", against="", at=None)
        model = self.model.readdressed(without_revision)
        return digest(msgspec.json.encode([self.version, model, what], order="sorted"))

    def _by_content(self, target: Target) -> Target:
        """Return a target with hashes of its image sets for their names."""
        if not isinstance(target, Concept):
            return target
        hashes = (digest(msgspec.json.encode(self._content(name), order="sorted")) for name in concept_sets(target))
        return msgspec.structs.replace(target, **dict(zip(("images", "against"), hashes, strict=True)))

    def _content(self, name: str) -> Images:
        """Return an image set without revisions of files on the Hub."""
        return self.images[name].readdressed(without_revision)


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
