"""Plans: plain values between the language and the engine, and their YAML."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec
import yaml

from circuitlang.base import yaml_document
from circuitlang.base.diagnostics import Finding, SpecError
from circuitlang.base.printable import is_hidden
from circuitlang.base.source import Source, Span
from circuitlang.base.yaml_document import DamagedError, read_yaml
from circuitlang.plan.choices import Calibrate, Refill, Structure
from circuitlang.plugins.registry import Value

_LONGEST = 255  # bytes of a folder's name
# Names of files that a run writes beside the folders of its circuits.
_OF_THE_RUN = ("index.html", "plan.yaml", "sweep.json")
# What the file of a plan begins with.
PLAN_HEADER = "# What was run. `circuitlang run` takes this file like a spec.\n"

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


class _Dumper(yaml.SafeDumper):
    """Writes what can't be seen by its number, so that a plan can be looked at."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - as PyYAML calls it
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = '"' if any(map(is_hidden, text)) else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _Dumper.represent_text)


def is_folder_name(text: str) -> bool:
    """Return whether a folder may have this name on any system: no path, not hidden, not too long."""
    return (
        text.isprintable()
        and not set(text) & set('/\\:*?"<>|')
        and text[:1] not in ("", ".", " ")
        and text[-1] not in ". "
        and len(text.encode(errors="replace")) <= _LONGEST
    )


def write_plan(plan: Plan) -> str:
    """The plan as YAML: deterministic, every value written out but for those that say nothing."""
    content = {"images": {}, "circuits": [], **_said(plan, msgspec.to_builtins(plan))}
    ordered = {field: content[field] for field in Plan.__struct_fields__ if field in content}
    body: str = yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    # Within the quotes that `represent_text` asked for.
    return PLAN_HEADER + "".join(_escaped(each) if each != "\n" and is_hidden(each) else each for each in body)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


def _said(value: Any, written: Any) -> Any:
    """Return the fields of a value that are written: all but empty ones whose default is empty."""
    if isinstance(value, msgspec.Struct):
        fields = {each.encode_name: each for each in msgspec.structs.fields(value)}
        return {
            key: _said(getattr(value, fields[key].name), each) if key in fields else each
            for key, each in written.items()
            if each not in (None, "", [], {}) or key not in fields or not _is_default(fields[key], each)
        }
    if isinstance(value, dict):
        return {key: _said(each, own) for each, (key, own) in zip(value.values(), written.items(), strict=True)}
    return [_said(*each) for each in zip(value, written, strict=True)] if isinstance(value, (list, tuple)) else written


def _is_default(field: msgspec.structs.FieldInfo, value: object) -> bool:
    if field.default_factory is not msgspec.NODEFAULT:
        return bool(field.default_factory() == value)
    return field.default is not msgspec.NODEFAULT and bool(field.default == value)


def read_plan(source: Source) -> tuple[Plan, Origins]:
    """A plan from YAML, and where each of its values stands. Raises SpecError naming key and place."""
    try:
        content, origins = read_yaml(source)
    except DamagedError as error:
        span = Span(source, error.start, error.end)
        raise SpecError(Finding("E311", f"this is not YAML: {error.problem}", span)) from None
    try:
        plan = msgspec.convert(content, Plan)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        key = tuple(part.strip("[].") for part in path.rstrip("`").replace("[", ".[").split(".") if part)
        span = _nearest(origins, key, Span(source, 0, 0))
        raise SpecError(Finding("E311", f"not a valid plan: {_lower(message)}", span, ".".join(key))) from None
    if infinite := next(_infinite(content, ()), None):
        span = _nearest(origins, infinite, Span(source, 0, 0))
        raise SpecError(Finding("E311", "not a valid plan: a number is not finite", span, ".".join(infinite)))
    by_id = {str(number): circuit.id for number, circuit in enumerate(plan.circuits)}
    named = {
        ("circuits", by_id[key[1]], *key[2:]) if key[0] == "circuits" and len(key) > 1 else key: span
        for key, span in origins.items()
        if key
    }
    _consistent(plan, named)
    return plan, named


def _infinite(content: Any, key: Key) -> Iterator[Key]:
    """Yield the places of numbers that are infinite or not a number: hashes can't tell these from nothing."""
    if isinstance(content, float) and not math.isfinite(content):
        yield key
    elif isinstance(content, (dict, list)):
        for name, each in content.items() if isinstance(content, dict) else enumerate(content):
            yield from _infinite(each, (*key, str(name)))


def _consistent(plan: Plan, origins: Origins) -> None:
    """Check what types can't express: names that are used exist, ids are valid folder names and unique."""
    findings = []
    seen: set[str] = set()
    for circuit in plan.circuits:
        for word, name in (("images", circuit.images), ("test", circuit.test), ("contrast", circuit.contrast)):
            if name is not None and name not in plan.images:
                span = origins.get(("circuits", circuit.id, word))
                findings.append(Finding("E101", f"unknown image set '{name}'", span))
        if circuit.id in seen or not is_folder_name(circuit.id) or circuit.id.lower() in _OF_THE_RUN:
            problem = "occurs twice" if circuit.id in seen else "can't be the name of a folder"
            findings.append(
                Finding("E311", f"the id '{circuit.id}' {problem}", origins.get(("circuits", circuit.id, "id")))
            )
        seen.add(circuit.id)
    for word, lists in (
        ("comparisons", plan.comparisons),
        ("expectations", [each.circuits for each in plan.expectations]),
    ):
        for number, names in enumerate(lists):
            for name in names:
                if name not in seen:
                    span = origins.get((word, str(number)))
                    findings.append(Finding("E115", f"unknown circuit '{name}'", span))
    if findings:
        raise SpecError(findings)


def _nearest(origins: Origins, key: Key, otherwise: Span) -> Span:
    for length in range(len(key), 0, -1):
        if key[:length] in origins:
            return origins[key[:length]]
    return otherwise


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
