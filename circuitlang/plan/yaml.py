"""The YAML of plans: written, and read back with everything that is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from itertools import chain
from typing import Any

import msgspec
import yaml

from circuitlang.base.diagnostics import Finding, SpecError
from circuitlang.base.printable import is_hidden
from circuitlang.base.source import Source, Span
from circuitlang.base.yaml_document import DamagedError, read_yaml
from circuitlang.plan.edits import OfChannels, OfCircuit
from circuitlang.plan.model import Edit, Key, Origins, Plan, is_folder_name
from circuitlang.plan.targets import concept_sets
from circuitlang.plan.within import check_within

# The first line of the file of a plan.
PLAN_HEADER = "# What was run. `circuitlang run` takes this file like a spec.\n"
# Names of files that a run writes beside the folders of its circuits.
_OF_THE_RUN = ("index.html", "plan.yaml", "sweep.json")


class _Dumper(yaml.SafeDumper):
    """Writes what can't be seen by its number, so that a plan can be looked at."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - as PyYAML calls it
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = '"' if any(map(is_hidden, text)) else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _Dumper.represent_text)


def write_plan(plan: Plan) -> str:
    """The plan as YAML: deterministic, every value written out but for those that say nothing."""
    content = {"images": {}, "circuits": [], **_said(plan, msgspec.to_builtins(plan))}
    ordered = {field: content[field] for field in Plan.__struct_fields__ if field in content}
    body: str = yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    # The quotes are those that `represent_text` asked for.
    return PLAN_HEADER + "".join(
        _escaped(character) if character != "\n" and is_hidden(character) else character for character in body
    )


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


def _said(value: Any, written: Any) -> Any:
    """Return the fields of a value that are written: all but empty ones whose default is empty."""
    if isinstance(value, msgspec.Struct):
        fields = {field.encode_name: field for field in msgspec.structs.fields(value)}
        return {
            key: _said(getattr(value, fields[key].name), field_) if key in fields else field_
            for key, field_ in written.items()
            if field_ not in (None, "", [], {}) or key not in fields or not _is_default(fields[key], field_)
        }
    if isinstance(value, dict):
        return {key: _said(part, own) for part, (key, own) in zip(value.values(), written.items(), strict=True)}
    return [_said(*pair) for pair in zip(value, written, strict=True)] if isinstance(value, (list, tuple)) else written


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
    names: dict[Key, str] = {("circuits", str(number)): circuit.id for number, circuit in enumerate(plan.circuits)}
    names |= {("edits", str(number)): edit.name for number, edit in enumerate(plan.edited)}
    named = {
        (key[0], names[key[:2]], *key[2:]) if key[:2] in names else key: span for key, span in origins.items() if key
    }
    _consistent(plan, named)
    return plan, named


def _infinite(content: Any, key: Key) -> Iterator[Key]:
    """Yield the places of numbers that are infinite or not a number: hashes can't tell these from nothing."""
    if isinstance(content, float) and not math.isfinite(content):
        yield key
    elif isinstance(content, (dict, list)):
        for name, part in content.items() if isinstance(content, dict) else enumerate(content):
            yield from _infinite(part, (*key, str(name)))


def _consistent(plan: Plan, origins: Origins) -> None:
    """Check what types can't express: names that are used exist, ids are valid folder names and unique."""
    findings = []
    seen: set[str] = set()
    for circuit in plan.circuits:
        for one in circuit.lineage:
            more = (("also", name) for name in one.also), (("target", name) for name in concept_sets(one.target))
            for word, name in (*one.image_sets.items(), *chain(*more)):
                if name not in plan.images:
                    span = origins.get(("circuits", circuit.id, word if one is circuit else "within"))
                    findings.append(Finding("E101", f"unknown image set '{name}'", span))
            if one.within is not msgspec.UNSET:
                try:
                    check_within(one.within, one.target, origins.get(("circuits", circuit.id, "within")))
                except SpecError as error:
                    findings += error.findings
        if circuit.id in seen or not is_folder_name(circuit.id) or circuit.id.lower() in _OF_THE_RUN:
            problem = "occurs twice" if circuit.id in seen else "can't be the name of a folder"
            findings.append(
                Finding("E311", f"the id '{circuit.id}' {problem}", origins.get(("circuits", circuit.id, "id")))
            )
        seen.add(circuit.id)
    findings += _edit_findings(plan, seen, origins)
    for word, lists in (
        ("comparisons", plan.comparisons),
        ("expectations", [expectation.circuits for expectation in plan.expectations]),
    ):
        for number, names in enumerate(lists):
            for name in names:
                if name not in seen:
                    span = origins.get((word, str(number)))
                    findings.append(Finding("E115", f"unknown circuit '{name}'", span))
    if findings:
        raise SpecError(findings)


def _edit_findings(plan: Plan, circuits: Collection[str], origins: Origins) -> Iterator[Finding]:
    """Yield a finding for each name of an edit, or of an expectation about one, that is not there or can't be."""
    folders = {name.lower() for name in circuits}
    names: dict[str, Edit] = {}
    for edit in plan.edited:

        def finding(code: str, message: str, *key: str, name: str = edit.name) -> Finding:
            place = origins.get(("edits", name, *key)) or origins.get(("edits", name))
            return Finding(code, message, place)

        concepts = (("measure", name) for target in edit.measure for name in concept_sets(target))
        for word, images in (*edit.image_sets.items(), *concepts):
            if images not in plan.images:
                yield finding("E101", f"unknown image set '{images}'", word)
        if edit.name in names or edit.folder.lower() in folders or not is_folder_name(edit.folder):
            there = "occurs twice" if edit.name in names else "is taken by a circuit's folder"
            problem = there if is_folder_name(edit.folder) else "can't be part of the name of a folder"
            yield finding("E311", f"the name '{edit.name}' of an edit {problem}", "name")
        names[edit.name] = edit
        asked = {circuit.id: circuit for circuit in plan.circuits}
        if isinstance(edit.of, OfCircuit) and edit.of.circuit not in asked:
            yield finding("E115", f"unknown circuit '{edit.of.circuit}'", "of", "circuit")
        elif isinstance(edit.of, OfCircuit) and asked[edit.of.circuit].into is not None:
            yield finding("E217", f"an edit is of one circuit, and '{edit.of.circuit}' is a split", "of", "circuit")
        if isinstance(edit.of, OfChannels) and (not edit.of.units or len({*edit.of.units}) < len(edit.of.units)):
            yield finding("E311", f"the edit '{edit.name}' has no channels, or one twice", "of", "units")
        if (edit.scale is None) == (edit.patch is None):
            yield finding("E216", f"the edit '{edit.name}' needs a scale or a patch, and not both")
        if not edit.measure and not edit.classes:
            yield finding("E311", f"the edit '{edit.name}' measures nothing", "measure")
        elif len({str(target) for target in edit.measure}) < len(edit.measure):
            yield finding("E206", f"the edit '{edit.name}' measures a target twice", "measure")
    for number, expectation in enumerate(plan.expectations):
        edit_name, place = expectation.edit, origins.get(("expectations", str(number)))
        if edit_name is not msgspec.UNSET and edit_name not in names:
            yield Finding("E115", f"unknown edit '{edit_name}'", place)
        elif edit_name is not msgspec.UNSET and expectation.circuits:
            yield Finding("E311", "an expectation is about circuits, or about an edit", place)


def _nearest(origins: Origins, key: Key, otherwise: Span) -> Span:
    for length in range(len(key), 0, -1):
        if key[:length] in origins:
            return origins[key[:length]]
    return otherwise


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
