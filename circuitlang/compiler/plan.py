"""What will be done, as plain values: the YAML file between the language and the engine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from circuitlang.errors import Finding, SpecError
from circuitlang.registry import Value
from circuitlang.source import Source, Span

# Where a value of a plan was written: keys as in the file, `("circuits", "face", "layer")`.
Key = tuple[str, ...]
Origins = Mapping[Key, Span]


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An extension and its parameters, complete."""

    name: str
    parameters: dict[str, Value] = {}


class Sparsity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="sparsity", tag_field="bound"):
    """At most this fraction of the relevant kernels."""

    at_most: float


class Kernels(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="kernels", tag_field="bound"):
    """At most this many kernels."""

    at_most: int


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network: where from, which, and with what arguments."""

    source: str
    name: str
    arguments: dict[str, Value | list[Value]] = {}


class Images(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A set of pictures by patterns relative to the plan's base."""

    include: list[str]
    exclude: list[str] = []
    limit: int | None = None
    seed: int = 0


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A channel of a layer. Layer and channel are separate: `10:34` would be a base-60 number in YAML 1.1."""

    layer: str
    unit: int

    def __str__(self) -> str:
        return f"{self.layer}:{self.unit}"


class Circuit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One circuit that is to be found; `id` names its folder, `statement` is the text that asked for it."""

    id: str
    target: Target
    images: str
    test: str | None = None
    holdout: float = 0.2
    size: Sparsity | Kernels
    criterion: Choice
    ablation: Choice
    seed: int = 0
    statement: str = ""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything a run needs, independent of comments, the order of clauses and the machine.

    `base` is the folder the patterns are relative to, itself relative to the plan's file.
    """

    version: Literal[1] = 1
    base: str = "."
    model: Model
    images: dict[str, Images]
    circuits: list[Circuit]

    def identity(self, circuit: Circuit) -> str:
        """A hash of everything in the plan that has a say in this circuit's result, but not of its name."""
        sets = [self.images[name] for name in (circuit.images, circuit.test) if name is not None]
        what = msgspec.structs.replace(circuit, id="", images="", test=None, statement="")
        return digest(msgspec.json.encode([self.version, self.model, sets, circuit.test is None, what], order="sorted"))


def digest(content: bytes) -> str:
    """The hash used everywhere: SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_plan(plan: Plan) -> str:
    """The plan as YAML: deterministic, every value written out."""
    header = "# What was run. `circuitlang run` takes this file like a spec.\n"
    body: str = yaml.safe_dump(msgspec.to_builtins(plan), sort_keys=False, allow_unicode=True, width=110)
    return header + body


def read_plan(source: Source) -> tuple[Plan, Origins]:
    """A plan from YAML, and where each of its values stands. Raises SpecError naming key and place."""
    try:
        node = yaml.compose(source.text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(source.text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = mark.index if mark else 0
        problem = error.problem or "it can't be read"
        span = Span(source, at, at + 1)
        raise SpecError(Finding("E311", f"this is not YAML: {problem}", span)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError(Finding("E311", f"{source.name} is not YAML: {error}", Span(source, 0, 0))) from None
    origins = dict(_spans(source, node, ())) if node is not None else {}
    try:
        plan = msgspec.convert(content, Plan)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        key = tuple(part.strip("[].") for part in path.rstrip("`").replace("[", ".[").split(".") if part)
        span = _nearest(origins, key, Span(source, 0, 0))
        raise SpecError(Finding("E311", f"not a valid plan: {_lower(message)}", span, ".".join(key))) from None
    by_id = {str(number): circuit.id for number, circuit in enumerate(plan.circuits)}
    named = {
        ("circuits", by_id[key[1]], *key[2:]) if key[0] == "circuits" and len(key) > 1 else key: span
        for key, span in origins.items()
        if key
    }
    _consistent(plan, named)
    return plan, named


def _consistent(plan: Plan, origins: Origins) -> None:
    """What types alone can't say: names that are used exist, ids are fit to be folders and occur once."""
    findings = []
    seen: set[str] = set()
    for circuit in plan.circuits:
        for word, name in (("images", circuit.images), ("test", circuit.test)):
            if name is not None and name not in plan.images:
                span = origins.get(("circuits", circuit.id, word))
                findings.append(Finding("E101", f"unknown image set '{name}'", span))
        if circuit.id in seen or Path(circuit.id).name != circuit.id or circuit.id.startswith("."):
            problem = "occurs twice" if circuit.id in seen else "can't be the name of a folder"
            findings.append(
                Finding("E311", f"the id '{circuit.id}' {problem}", origins.get(("circuits", circuit.id, "id")))
            )
        seen.add(circuit.id)
    if findings:
        raise SpecError(findings)


def _spans(source: Source, node: yaml.Node, key: Key) -> Any:
    yield key, Span(source, node.start_mark.index, node.end_mark.index)
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from _spans(source, value, (*key, str(name.value)))
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _spans(source, value, (*key, str(number)))


def _nearest(origins: Origins, key: Key, otherwise: Span) -> Span:
    for length in range(len(key), 0, -1):
        if key[:length] in origins:
            return origins[key[:length]]
    return otherwise


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
