"""Two plans → what differs in their meaning: not how they are written, but what they ask for."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal

import msgspec

from circuitlang.base.hub_address import is_on_hub, is_pinned, without_revision
from circuitlang.plan import normalize
from circuitlang.plan.clauses import PRESERVE
from circuitlang.plan.edits import OfCircuit
from circuitlang.plan.model import Bound, Choice, Circuit, Concept, Images, Kernels, Origins, Plan, Sparsity, Target

# The words that introduce image sets.
_IMAGES = ("images", *(clause.name for clause in PRESERVE.values() if clause.kind == "images"))

Part = Literal["model", "image set", "circuit", "edit", "comparison", "expectation"]


@dataclass(frozen=True)
class Side:
    """One of two plans, where its values were written, and the folder its patterns are relative to."""

    plan: Plan
    origins: Origins = field(default_factory=dict)
    folder: Path = Path()


@dataclass(frozen=True)
class Change:
    """A value that differs, as text; places are `file:line`, `default`, or empty where they aren't known."""

    name: str
    before: str
    after: str
    before_place: str = ""
    after_place: str = ""


@dataclass(frozen=True)
class Difference:
    """A part of two plans that differs: its names, one of them empty where it is in one plan only."""

    part: Part
    before: str
    after: str
    changes: tuple[Change, ...] = ()
    before_place: str = ""
    after_place: str = ""

    @property
    def kind(self) -> Literal["added", "removed", "renamed", "changed"]:
        if not self.before or not self.after:
            return "removed" if self.before else "added"
        return "changed" if self.changes else "renamed"


# Image sets that are said to differ, by their names on either side.
Reported = set[tuple[str, str]]
# Circuits of two plans that are one and the same, and what they are called there.
Pairs = tuple[tuple[Circuit, Circuit], ...]


def difference(before: Side, after: Side) -> tuple[tuple[Difference, ...], Pairs]:
    """Everything that differs in meaning between two plans, and which circuits correspond."""
    after = _in_words_of(before, after)
    pairs = _pair(before.plan, after.plan)
    sets = list(_sets(before, after, pairs))
    reported = {(change.before, change.after) for change in sets}
    differences = [*_model(before, after), *sets, *_circuits(before, after, pairs, reported)]
    renamed = {theirs.id: ours.id for ours, theirs in pairs}
    differences += _edits(before, after, renamed, reported)
    return (*differences, *_comparisons(before, after, renamed), *_expectations(before, after, renamed)), pairs


def _in_words_of(before: Side, after: Side) -> Side:
    """The second plan with the first one's patterns where both mean the same files from different folders.

    A run pins branches of the Hub: an address at a commit means the same as one that isn't.
    """
    known = {
        _absolute(before, pattern): pattern
        for images in before.plan.images.values()
        for pattern in (*images.include, *images.excluded)
    }
    addresses = *before.plan.model.addresses, *filter(is_on_hub, known)
    theirs = {without_revision(address): address for address in addresses}

    def unpinned(address: str) -> str:
        other = theirs.get(without_revision(address), address)
        return other if is_pinned(address) != is_pinned(other) else address

    def translate(patterns: list[str]) -> list[str]:
        return [
            unpinned(pattern) if is_on_hub(pattern) else known.get(_absolute(after, pattern), pattern)
            for pattern in patterns
        ]

    images = {
        name: msgspec.structs.replace(
            image, include=translate(image.include), exclude=[translate(patterns) for patterns in image.exceptions]
        )
        for name, image in after.plan.images.items()
    }
    model = after.plan.model.readdressed(unpinned)
    return Side(msgspec.structs.replace(after.plan, model=model, images=images), after.origins, after.folder)


def _absolute(side: Side, pattern: str) -> str:
    return pattern if is_on_hub(pattern) else os.path.normpath((side.folder / pattern).absolute())


def _pair(before: Plan, after: Plan) -> Pairs:
    """Circuits that correspond: by id, by name and values, by what they ask for, and by likeness if they have no name.

    Where there is one on either side, they correspond.
    """
    ours, theirs = list(before.circuits), list(after.circuits)
    pairs: list[tuple[Circuit, Circuit]] = []

    def match(key: Callable[[Plan, Circuit], Hashable]) -> None:
        """Pair what has the same key, in order."""
        for mine in tuple(ours):
            wanted = key(before, mine)
            for other in theirs:
                if wanted is not None and key(after, other) == wanted:
                    pairs.append((mine, other))
                    ours.remove(mine)
                    theirs.remove(other)
                    break

    match(lambda _, circuit: circuit.id)
    match(lambda _, circuit: (circuit.name, *sorted(circuit.values.items())) if circuit.name else None)
    match(lambda plan, circuit: msgspec.json.encode(normalize.circuit(plan.images, circuit), order="sorted"))
    for mine, other in _alike(before, after, ours, theirs):
        if mine in ours and other in theirs:
            pairs.append((mine, other))
            ours.remove(mine)
            theirs.remove(other)
    if len(before.circuits) == len(after.circuits) == 1 and ours:
        pairs.append((ours[0], theirs[0]))
    order = {circuit.id: number for number, circuit in enumerate(before.circuits)}
    return tuple(sorted(pairs, key=lambda pair: order[pair[0].id]))


def _alike(before: Plan, after: Plan, ours: list[Circuit], theirs: list[Circuit]) -> list[tuple[Circuit, Circuit]]:
    """Nameless circuits of one target, or of which the target alone differs; the most alike first."""
    ranked = []
    for row, mine in enumerate(ours):
        for column, other in enumerate(theirs):
            a, b = normalize.circuit(before.images, mine), normalize.circuit(after.images, other)
            count = sum(a[word] != b[word] for word in a)
            if not mine.name and not other.name and (count == 1 or a["target"] == b["target"]):
                ranked.append((count, row, column))
    return [(ours[row], theirs[column]) for _, row, column in sorted(ranked)]


def _model(before: Side, after: Side) -> Iterator[Difference]:
    ours, theirs = before.plan.model, after.plan.model
    places = _place(before, "model"), _place(after, "model")
    words = [word for word in ("source", "name") if getattr(ours, word) != getattr(theirs, word)]
    changes = [Change(word, getattr(ours, word), getattr(theirs, word), *places) for word in words]
    for word in sorted(ours.arguments.keys() | theirs.arguments.keys()):
        a, b = (_argument(model.arguments, word) for model in (ours, theirs))
        if a != b:
            changes.append(Change(word, a, b, *places))
    if changes:
        yield Difference("model", ours.name, theirs.name, tuple(changes), *places)


def _argument(arguments: Mapping[str, Any], word: str) -> str:
    """An argument of a model as the language writes it; empty where it isn't given."""
    if word not in arguments:
        return ""
    return "none" if arguments[word] is None else _said(arguments[word]) or '""'


def _sets(before: Side, after: Side, pairs: Pairs) -> Iterator[Difference]:
    """Sets that only one plan has. Those of one name, or of corresponding circuits, are one that has changed; what a
    set is called has no say."""
    ours, theirs = _used(before.plan), _used(after.plan)
    only = {name: model for name, model in ours.items() if not any(_same(model, other) for other in theirs.values())}
    new = {name: model for name, model in theirs.items() if not any(_same(model, other) for other in ours.values())}
    sets = [(ours.image_sets, theirs.image_sets) for ours, theirs in pairs]
    used = [(a[word], b[word]) for word in _IMAGES for a, b in sets if a.keys() & b.keys() & {word}]
    for name, other in (*[(name, name) for name in only], *used):
        if name in only and other in new:
            a, b = only.pop(name), new.pop(other)
            places = _place(before, "images", name), _place(after, "images", other)
            words = [word for word in Images.__struct_fields__ if getattr(a, word) != getattr(b, word)]
            changes = (Change(_SAID.get(w, w), _said(getattr(a, w)), _said(getattr(b, w)), *places) for w in words)
            yield Difference("image set", name, other, tuple(changes), *places)
    for name in only:
        yield Difference("image set", name, "", (), _place(before, "images", name))
    for name in new:
        yield Difference("image set", "", name, (), "", _place(after, "images", name))


# The word of the language for a key of the plan.
_SAID = {"include": "patterns", "exclude": "except", "transforms": "as"}


def _used(plan: Plan) -> dict[str, Images]:
    names = [name for circuit in plan.circuits for name in circuit.used_sets]
    names += [name for edit in plan.edited for name in edit.used_sets]
    return {name: normalize.pictures(plan.images[name]) for name in names}


def _same(a: Images | None, b: Images | None) -> bool:
    """A circuit that is read without its run's plan doesn't say which patterns its images were; their hashes do."""
    return a == b or (a is not None and b is not None and not (a.include and b.include))


def _circuits(before: Side, after: Side, pairs: Pairs, sets: Reported) -> Iterator[Difference]:
    paired = {ours.id: theirs for ours, theirs in pairs}
    for circuit in before.plan.circuits:
        place = circuit.origin.get("circuit", "")
        other = paired.get(circuit.id)
        if other is None:
            yield Difference("circuit", circuit.id, "", (), place)
            continue
        changes = tuple(_changes(before.plan, after.plan, circuit, other, sets))
        if changes or circuit.id != other.id:
            yield Difference("circuit", circuit.id, other.id, changes, place, other.origin.get("circuit", ""))
    there = {theirs.id for _, theirs in pairs}
    for circuit in after.plan.circuits:
        if circuit.id not in there:
            yield Difference("circuit", "", circuit.id, (), "", circuit.origin.get("circuit", ""))


def _changes(before: Plan, after: Plan, ours: Circuit, theirs: Circuit, sets: Reported) -> Iterator[Change]:
    a, b = normalize.circuit(before.images, ours), normalize.circuit(after.images, theirs)
    for word, value in a.items():
        if word in _IMAGES:
            names = getattr(ours, word), getattr(theirs, word)
            # Said once already, of the set itself.
            if _same(value, b[word]) or names in sets:
                continue
            was, now = names[0] or "", names[1] or ""
        elif value == b[word] or (word == "holdout" and None in (value, b[word])):
            continue
        elif word == "target":
            was, now = _targets([value], [ours.target]), _targets([b[word]], [theirs.target])
            # Concepts of one name differ in their image sets, as said once already.
            if was == now:
                continue
        elif word == "within":
            was, now = ("" if one.within is msgspec.UNSET else one.within.id for one in (ours, theirs))
        else:
            was, now = _said(value), _said(b[word])
        yield Change(word, was, now, _clause(ours, word), _clause(theirs, word))


def _targets(normalized: Sequence[Target], written: Sequence[Target]) -> str:
    """Return targets as the language writes them: concepts by the names of their image sets, others normalised."""
    concepts = (target for target in written if isinstance(target, Concept))
    return ", ".join(
        sorted([*(str(target) for target in normalized if not isinstance(target, Concept)), *map(str, concepts)])
    )


def _clause(circuit: Circuit, word: str) -> str:
    return circuit.origin.get(word, circuit.origin.get("circuit", ""))


def _edits(before: Side, after: Side, renamed: dict[str, str], sets: Reported) -> Iterator[Difference]:
    """Compare edits of one name; one that is called otherwise is another."""
    ours, theirs = ({edit.name: edit for edit in side.plan.edited} for side in (before, after))
    for name, edit in ours.items():
        places = _place(before, "edits", name), _place(after, "edits", name)
        if name not in theirs:
            yield Difference("edit", name, "", (), places[0])
            continue
        a, b = normalize.edit(before.plan.images, edit), normalize.edit(after.plan.images, theirs[name])
        if isinstance(b["of"], OfCircuit):
            b["of"] = OfCircuit(renamed.get(b["of"].circuit, b["of"].circuit))
        changes = []
        for word, value in a.items():
            was, now = _said(value), _said(b[word])
            if word in ("images", "patch"):
                was, now = getattr(edit, word) or "", getattr(theirs[name], word) or ""
                # Said once already, of the set itself.
                if _same(value, b[word]) or (was, now) in sets:
                    continue
            elif value == b[word]:
                continue
            elif word == "measure":
                was, now = _targets(value, edit.measure), _targets(b[word], theirs[name].measure)
                if was == now:
                    continue
            changes.append(Change("part" if word == "of" else word, was, now, *places))
        if changes:
            yield Difference("edit", name, name, tuple(changes), *places)
    for name in theirs.keys() - ours.keys():
        yield Difference("edit", "", name, (), "", _place(after, "edits", name))


def _comparisons(before: Side, after: Side, renamed: dict[str, str]) -> Iterator[Difference]:
    ours = set(normalize.comparisons(before.plan))
    theirs = {
        tuple(sorted(renamed.get(name, name) for name in comparison)): comparison
        for comparison in after.plan.comparisons
    }
    for key in sorted(ours - theirs.keys()):
        yield Difference("comparison", " with ".join(key), "")
    for key in sorted(theirs.keys() - ours):
        yield Difference("comparison", "", " with ".join(theirs[key]))


def _expectations(before: Side, after: Side, renamed: dict[str, str]) -> Iterator[Difference]:
    """Compare expectations circuit by circuit and measure by measure, however they were written together."""
    ours, theirs = _expected(before, {}), _expected(after, renamed)
    for key in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(key, {}), theirs.get(key, {})
        gone, new = sorted(a.keys() - b.keys()), sorted(b.keys() - a.keys())
        circuit, measure, relation = key
        name = f"{circuit}.{measure}"
        if len(gone) == len(new) == 1:
            was, now = f"{relation} {gone[0]:g}", f"{relation} {new[0]:g}"
            places = a[gone[0]], b[new[0]]
            yield Difference("expectation", name, name, (Change("value", was, now, *places),), *places)
            continue
        for value in gone:
            yield Difference("expectation", f"{name} {relation} {value:g}", "", (), a[value])
        for value in new:
            yield Difference("expectation", "", f"{name} {relation} {value:g}", (), "", b[value])


def _expected(side: Side, renamed: dict[str, str]) -> dict[tuple[str, str, str], dict[float, str]]:
    """Return the expected values and their places, by circuit, measure and relation."""
    expected: dict[tuple[str, str, str], dict[float, str]] = {}
    for number, expectation in enumerate(side.plan.expectations):
        for name in expectation.subjects:
            key = renamed.get(name, name), expectation.measure, expectation.relation
            expected.setdefault(key, {}).setdefault(expectation.value, _place(side, "expectations", str(number)))
    return expected


def _place(side: Side, *key: str) -> str:
    """`file:line`, as in `Circuit.origin`."""
    span = side.origins.get(key)
    return f"{PurePath(span.source.name).name}:{span.source.position(span.start)[0]}" if span is not None else ""


def _said(value: Any) -> str:
    """A value as the language writes it; empty where there is none."""
    match value:
        case None | msgspec.UNSET:
            return ""
        case bool():
            return str(value).lower()
        case Sparsity(at_most=share):
            return f"keep<={share:.15g}"
        case Kernels(at_most=count):
            return f"kernels<={count}"
        case Choice(name=name, parameters=parameters):
            arguments = ", ".join(f"{word}={_said(parameter)}" for word, parameter in sorted(parameters.items()))
            return f"{name}({arguments})" if arguments else name
        case Bound():
            return f"{value.sample}.{value.metric}{value.relation}{value.value:.15g}"
        case float():
            return f"{value:.15g}"
        case list():
            return ", ".join(map(_said, value))
    return str(value)
