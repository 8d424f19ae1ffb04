"""Syntax → plan: every name resolved, every value typed, every mistake of the file found in one go."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, TypeVar

from msgspec import UNSET
from msgspec.structs import replace

from circuitlang.base.diagnostics import Finding, SpecError, did_you_mean
from circuitlang.base.source import Span
from circuitlang.compiler import syntax, values
from circuitlang.compiler.clauses import Clauses, read_clauses, read_value, with_stability, word
from circuitlang.compiler.concepts import registered
from circuitlang.compiler.edits import EditReader
from circuitlang.compiler.expand import Variant, expand
from circuitlang.compiler.image_sets import selection
from circuitlang.compiler.labels import read_labels
from circuitlang.compiler.limits import MOST, MOST_COMPARED, MOST_LETTERS, MOST_MENTIONED, MOST_OF_A_FILE, too_many
from circuitlang.compiler.models import read_model
from circuitlang.compiler.naming import LONGEST, ids, image_set_name
from circuitlang.compiler.placed import PlacedCircuit, PlacedImages, PlacedTarget, line
from circuitlang.compiler.references import Edits, comparison, expectation
from circuitlang.compiler.scope import Findings, Scope
from circuitlang.compiler.targets import targets
from circuitlang.compiler.vocabulary import Vocabulary
from circuitlang.plan.clauses import IMAGES, PRESERVE
from circuitlang.plan.compiled import CompiledPlan
from circuitlang.plan.contrast import contrastable, uncontrasted
from circuitlang.plan.labels import Labels
from circuitlang.plan.model import Circuit, Edit, Expectation, Images, Key, Model, Plan
from circuitlang.plan.within import check_within

T = TypeVar("T", PlacedImages, PlacedTarget)

# The words that introduce the image sets of a circuit, and the fields whose places a plan lists.
_IMAGE_SETS = ("images", *(clause.name for clause in PRESERVE.values() if clause.kind == "images"))
# Clauses that plans without them don't mention.
_LATER = tuple(clause.key for clause in PRESERVE.values() if not clause.hashed)
_ORIGINS = tuple(dict.fromkeys(clause.key for clause in PRESERVE.values() if clause.kind != "images"))
# Files that a run writes beside its circuits' folders, and letters of a name that leave room for an ending.
_TAKEN = ("plan.yaml", "index.html", "sweep.json")
_LONGEST = 100


def check(file: syntax.File, vocabulary: Vocabulary) -> CompiledPlan:
    """Resolve a file's names and type its values. Raises SpecError with every mistake in it and in included files."""
    return _Check(file, vocabulary).plan()


class _Check:
    def __init__(self, file: syntax.File, vocabulary: Vocabulary) -> None:
        self._file = file
        self._vocabulary = vocabulary
        self._findings = Findings()
        self._models: list[syntax.Model] = []
        self._model_is_broken = False
        # Named circuits, those of a sweep together; none if the definition has errors.
        self._named: dict[str, list[Circuit]] = {}
        self._circuits: list[PlacedCircuit] = []
        # The image sets of circuits by their names in the plan.
        self._sets: dict[str, Images] = {}
        self._origins: dict[Key, Span] = {}
        # The number of circuits so far.
        self._number = 0

    def plan(self) -> CompiledPlan:
        self._find_models(self._file)
        model = self._model()
        scope = self._definitions(self._file, model)
        scope.named = self._named
        scope.circuits = {node.name.text for node in self._file.statements if isinstance(node, syntax.Circuit)}
        for statement in self._file.statements:
            if isinstance(statement, (syntax.Preserve, syntax.Split)):
                self._circuits.extend(self._asked(statement, None, statement.span, scope))
            elif isinstance(statement, syntax.Circuit):
                self._circuit(statement, scope)
        self._repeats()
        circuits = self._identified()
        labels = read_labels(self._file, scope)
        edits = self._edits(labels, scope)
        comparisons, expectations = self._references(scope, edits)
        if self._findings.errors:
            raise SpecError((*self._findings.errors, *self._findings.warnings))
        source = self._file.source
        plan = Plan(
            base=str(source.folder),
            model=model or self._vocabulary.model,
            images=self._sets,
            circuits=circuits,
            comparisons=comparisons,
            expectations=expectations,
            edits=[edit for edit in edits.values() if edit is not None] or UNSET,
            labels=labels,
        )
        return CompiledPlan(plan, self._origins, self._findings.warnings, source.folder, source.name)

    def _identified(self) -> list[Circuit]:
        """Give each circuit its id, and record where its values were written."""
        circuits = []
        self._named = {name: [] for name in self._named}
        # A circuit stands after the one that it is within.
        identified: dict[int, Circuit] = {}
        for placed, name in zip(self._circuits, ids([circuit for circuit, _ in self._circuits]), strict=True):
            circuit = replace(placed.circuit, id=name)
            if circuit.within is not UNSET:
                parent = identified[id(circuit.within)]
                circuit = replace(circuit, within=replace(parent, values={}, statement="", origin={}))
            if circuit.name:
                identified[id(placed.circuit)] = circuit
            circuits.append(circuit)
            if circuit.name:
                self._named[circuit.name].append(circuit)
            self._origins.update({("circuits", name, *key): span for key, span in placed.spans.items()})
        return circuits

    def _edits(self, labels: Labels | None, scope: Scope) -> dict[str, Edit | None]:
        """Return the edits by name, None for those with errors, and record where their parts were written."""
        edits: dict[str, Edit | None] = {
            name: None
            for keyword, _, name in (heading.partition(" ") for heading in self._file.broken)
            if keyword == "edit"
        }
        reader = EditReader(self._named, labels, self._set_name, scope)
        for node in (node for node in self._file.statements if isinstance(node, syntax.Edit)):
            name = node.name.text
            read = reader.read(node)
            if name in self._named or edits.get(name) is not None:
                kind = "circuit" if name in self._named else "edit"
                self._findings.add(
                    "E107",
                    f"there is {'a' if kind == 'circuit' else 'an'} {kind} '{name}' already",
                    node.name.span,
                    "the second of this name",
                )
            elif len(name) > _LONGEST:
                self._findings.add(
                    "E107",
                    f"an edit can't be called '{name[:40]}'",
                    node.name.span,
                    f"a name has at most {_LONGEST} letters",
                )
            edits[name] = read[0] if read else None
            self._origins.update({("edits", name, *key): span for key, span in (read[1] if read else {}).items()})
        return edits

    def _references(self, scope: Scope, edits: Edits) -> tuple[list[list[str]], list[Expectation]]:
        """Resolve the statements that refer to circuits, which the plan names one by one."""
        compared: list[tuple[list[str], syntax.Compare]] = []
        expected: list[tuple[Expectation, syntax.Expect]] = []
        statements = self._file.statements
        for compare in (node for node in statements if isinstance(node, syntax.Compare)):
            names = self._findings.attempt(partial(comparison, compare, self._named))
            compared += [(names, compare)] if names else []
        for expect in (node for node in statements if isinstance(node, syntax.Expect)):
            condition = self._findings.attempt(partial(expectation, expect, self._named, edits, scope, self._set_name))
            expected += [(condition, expect)] if condition else []
        total = 0
        mentions = [*compared, *((condition.subjects, expect) for condition, expect in expected)]
        for names, statement in mentions:
            total += len(names)
            if isinstance(statement, syntax.Compare) and len(names) > MOST_COMPARED:
                message = f"this compares more than {MOST_COMPARED:,} circuits"
                self._findings.add("E211", message, statement.span, f"{len(names):,} circuits")
            elif total > MOST_MENTIONED:
                message = f"circuits are named more than {MOST_MENTIONED:,} times"
                self._findings.add("E211", message, statement.span)
                break
        self._origins.update({("comparisons", str(n)): node.span for n, (_, node) in enumerate(compared)})
        self._origins.update({("expectations", str(n)): node.span for n, (_, node) in enumerate(expected)})
        return [names for names, _ in compared], [condition for condition, _ in expected]

    # Definitions: their order doesn't matter, except that a name stands before its use in another definition.

    def _find_models(self, file: syntax.File) -> None:
        """Collect every model statement, the file's own before those of what it includes."""
        self._model_is_broken |= "model" in file.broken
        self._models.extend(statement for statement in file.statements if isinstance(statement, syntax.Model))
        for included in file.included.values():
            self._find_models(included)

    def _model(self) -> Model | None:
        """Return the model in force, or None if it has errors."""
        for extra in self._models[1:]:
            first = self._models[0].span.place
            self._findings.add("E108", "a file has one model", extra.span, f"{first} names one already")
        if not self._models:
            return None if self._model_is_broken else self._vocabulary.model
        self._origins["model",] = self._models[0].call.name.span
        return self._findings.attempt(partial(read_model, self._models[0], self._vocabulary))

    def _definitions(self, file: syntax.File, model: Model | None) -> Scope:
        """Return the names that a file defines and includes."""
        self._findings.extend(file.findings)
        scope = Scope(self._vocabulary, self._findings, self._file.source.folder)
        if file is self._file:
            start = Span(file.source, 0, 0)
            known = self._vocabulary.images.items()
            scope.sets.update({name: PlacedImages(name, images, start) for name, images in known})
        if model is not None:
            scope.layers, scope.model_name = self._vocabulary.layers.get(model.key), model.name
        for keyword, _, name in (heading.partition(" ") for heading in file.broken):
            if keyword == "images":
                scope.sets[name] = None
            elif keyword == "target":
                scope.directions[name] = None
            elif keyword == "circuit" and file is self._file:
                self._named[name] = []
        scope.spoiled_defaults = "defaults" in file.broken
        for statement in file.statements:
            match statement:
                case syntax.Include():
                    self._include(statement, file, scope, model)
                case syntax.Images():
                    self._images(statement, scope)
                case syntax.Direction():
                    self._direction(statement, scope)
                case syntax.Defaults():
                    self._defaults(statement, scope)
        return scope

    def _include(self, node: syntax.Include, file: syntax.File, scope: Scope, model: Model | None) -> None:
        """Define the image sets and targets of an included file under its namespace; its circuits are left out."""
        if node not in file.included:
            # It couldn't be read: whatever it would have defined isn't reported as well.
            scope.missing.add(f"{node.namespace.text}." if node.namespace else "")
            return
        inner = self._definitions(file.included[node], model)
        prefix = f"{node.namespace.text}." if node.namespace else ""
        for name, images in inner.sets.items():
            self._define(scope.sets, prefix + name, images, node.span, "image set")
        for name, target in inner.directions.items():
            self._define(scope.directions, prefix + name, target, node.span, "target")

    def _images(self, node: syntax.Images, scope: Scope) -> None:
        read = read_clauses(node.clauses, IMAGES, scope)
        image_set = self._findings.attempt(partial(selection, node.images, scope))
        if image_set is not None and not read.has_errors:
            image_set = PlacedImages(node.name.text, replace(image_set.images, **read.values), node.images.span)
        self._define(scope.sets, node.name.text, None if read.has_errors else image_set, node.name.span, "image set")

    def _direction(self, node: syntax.Direction, scope: Scope) -> None:
        placed = self._findings.attempt(partial(targets, node.feature, scope)) or []
        if len(placed) > 1:
            message = "a target statement names one target"
            self._findings.add(
                "E215", message, node.feature.span, f"this is {len(placed)}", "list them where they are preserved"
            )
        self._define(
            scope.directions, node.name.text, placed[0] if len(placed) == 1 else None, node.name.span, "target"
        )

    def _define(
        self,
        names: dict[str, T | None],
        name: str,
        value: T | None,
        span: Span,
        kind: str,
    ) -> None:
        if names.get(name) is not None:
            self._findings.add("E107", f"the {kind} '{name}' is defined twice", span, "the second time")
        names[name] = value

    def _defaults(self, node: syntax.Defaults, scope: Scope) -> None:
        """Keep defaults as they were written, so that an `each` in them stands for each circuit anew."""
        for clause in node.clauses:
            if word(clause) in scope.defaults:
                self._findings.add("E206", f"'{word(clause)}' is given twice", clause.span, "the second time")
            scope.defaults[word(clause)] = clause
        for _, clauses in self._variants(node.clauses):
            scope.spoiled_defaults |= read_clauses(clauses, PRESERVE, scope).has_errors

    # The statements that ask for results.

    def _circuit(self, node: syntax.Circuit, scope: Scope) -> None:
        name = node.name.text
        circuits = self._asked(node.asked, name, node.span, scope)
        if self._named.get(name):
            self._findings.add("E107", f"the circuit '{name}' is defined twice", node.name.span, "the second time")
            return
        if name in _TAKEN or len(name) > _LONGEST:
            label = "a run has a file of this name" if name in _TAKEN else f"a name has at most {_LONGEST} letters"
            self._findings.add("E107", f"a circuit can't be called '{name[:40]}'", node.name.span, label)
            return
        self._named[name] = [circuit for circuit, _ in circuits]
        self._circuits.extend(circuits)

    def _asked(
        self, node: syntax.Preserve | syntax.Split, name: str | None, span: Span, scope: Scope
    ) -> list[PlacedCircuit]:
        """Return the circuits of one statement: one for each target and each combination of values."""
        before = self._findings.count
        images = self._findings.attempt(partial(selection, node.images, scope))
        placed = self._findings.attempt(partial(targets, node.feature, scope)) or []
        into = self._findings.attempt(partial(_into, node)) if isinstance(node, syntax.Split) else None
        own = {word(clause) for clause in node.clauses}
        own |= {PRESERVE[key].excludes for key in own if key in PRESERVE}
        clauses = (*(default for key, default in scope.defaults.items() if key not in own), *node.clauses)
        circuits: list[PlacedCircuit] = []
        variants = self._variants(clauses)
        if not self._few(len(variants) * len(placed), placed, node, span):
            return []
        statement = text if len(text := span.text) <= LONGEST else f"{text[:LONGEST]}…"
        for variant, chosen in variants:
            read = read_clauses(chosen, PRESERVE, scope)
            self._consistent(read, span, has_errors=read.has_errors or scope.spoiled_defaults or node.incomplete)
            if self._findings.count > before or scope.spoiled_defaults or images is None or node.incomplete:
                continue
            if None in read.values.values():
                continue
            fields, spans = self._settings(images, read, span, scope)
            for target, layer, unit, _ in (registered(one, self._set_name) for one in placed):
                if "within" in fields:
                    place = read.value_spans["within"]
                    self._findings.attempt(partial(check_within, fields["within"], target, place))
                differs = (target.place, *variant) if len(placed) > 1 else variant
                circuit = Circuit(
                    id="",
                    name=name or "",
                    values=dict(differs),
                    target=target,
                    into=into,
                    statement=statement,
                    **fields,
                )
                places: dict[Key, Span] = {("target", "layer"): layer, ("target", "unit"): unit}
                circuits.append(PlacedCircuit(circuit, spans | places))
        return circuits if self._findings.count == before else []

    def _few(
        self, number: int, placed: Sequence[PlacedTarget], node: syntax.Preserve | syntax.Split, span: Span
    ) -> bool:
        """Return whether a statement stands for no more circuits than the limit: each target with each combination."""
        self._number += number
        channels = max((one.target.channels for one in placed), default=1)
        label = f"{len(placed):,} targets, each with {number // max(len(placed), 1):,} combinations of values"
        if number > MOST:
            self._findings.extend(too_many(node.feature.span, label).findings)
        elif number * max(channels, len(span.text)) > MOST_LETTERS:
            message = "this is too long for as many circuits as it stands for"
            self._findings.add("E211", message, span, f"{number:,} circuits", "write several statements")
        elif self._number > MOST_OF_A_FILE:
            message = f"the file stands for more than {MOST_OF_A_FILE:,} circuits"
            self._findings.add("E211", message, span, "with this statement", "write several files")
        else:
            return True
        return False

    def _settings(
        self, images: PlacedImages, read: Clauses, span: Span, scope: Scope
    ) -> tuple[dict[str, Any], dict[Key, Span]]:
        """Return the fields of a circuit that its clauses and their defaults decide, and where they were written."""
        fields = {PRESERVE[clause].key: value for clause, value in read.values.items()}
        for clause in PRESERVE.values():
            if clause.extension and clause.name not in fields:
                fields[clause.name] = read_value(clause, syntax.Name(span, clause.extension), scope)
        criterion, known = fields["criterion"], self._vocabulary.criteria
        if "contrast" in fields and not contrastable(criterion.name, criterion.parameters, known):
            # The default criterion stands nowhere.
            place = read.value_spans.get("criterion") or read.value_spans.get("contrast", span)
            self._findings.extend([uncontrasted(criterion.name, known, place)])
        fields["images"] = images
        for key in (key for key in _IMAGE_SETS if key in fields):
            fields[key] = self._set_name(fields[key])
        if "also" in fields:
            fields["also"] = [self._set_name(placed) for placed in fields["also"]]
        if "test" in fields:
            fields["holdout"] = 0.0
        if "stable" in fields:
            fields["tests"] = with_stability(fields.get("tests", []), self._vocabulary.tests)
        places = {PRESERVE[name].key: line(place) for name, place in read.spans.items() if name in PRESERVE}
        written = {key: places.get(key, "default") for key in _ORIGINS if key in fields or key not in ("size", *_LATER)}
        fields |= {"bounds": list(read.bounds), "origin": {"circuit": line(span), **written}}
        return fields, {(): span, **{(clause,): place for clause, place in read.spans.items()}}

    def _set_name(self, placed: PlacedImages) -> str:
        """Return the name of an image set in the plan, and keep the set and its place."""
        name = image_set_name(placed, self._sets)
        self._origins.setdefault(("images", name), placed.span)
        return name

    def _variants(self, clauses: tuple[syntax.Clause, ...]) -> list[Variant]:
        return self._findings.attempt(lambda: list(expand(clauses))) or []

    def _consistent(self, read: Clauses, span: Span, has_errors: bool) -> None:
        if "sparsity" in read.values and "kernels" in read.values:
            self._findings.add("E205", "a circuit has one size", read.spans["kernels"], "sparsity is given too")
        if "test" in read.values and "holdout" in read.values:
            message = "'test' and 'holdout' exclude each other"
            self._findings.add("E210", message, read.spans["holdout"], "test is given too")
        if not has_errors and not read.bounds and not {"sparsity", "kernels"} & read.values.keys():
            cure = "add keep<=10%, kernels<=250 or correlation>=0.9"
            self._findings.add(
                "E204", "a circuit needs a size or a fidelity", span, "how much to keep is missing", cure
            )

    def _repeats(self) -> None:
        seen: dict[str, Span] = {}
        for circuit, spans in self._circuits:
            # A text, as circuits have lists and can't be hashed.
            key = repr(replace(circuit, statement="", origin={}))
            if first := seen.get(key):
                number, _ = first.source.position(first.start)
                message = "the same circuit is asked for twice"
                self._findings.add("E110", message, spans[()], f"line {number} asks for it")
            seen.setdefault(key, spans[()])


def _into(node: syntax.Split) -> int | Literal["auto"]:
    if isinstance(node.into, syntax.Number):
        return values.whole(node.into, 2)
    if node.into.text != "auto":
        cure = did_you_mean(node.into.text, ["auto"], "as into 2 or into auto")
        raise SpecError(Finding("E212", f"unknown value '{node.into.text}'", node.into.span, "a number, or auto", cure))
    return "auto"
