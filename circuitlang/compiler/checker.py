"""Syntax → program: every name resolved, every value typed, every mistake of the file found in one go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Literal

from msgspec.structs import replace

from circuitlang.base.diagnostics import Finding, SpecError, did_you_mean, listing
from circuitlang.base.source import Span
from circuitlang.compiler import syntax, values
from circuitlang.compiler.clauses import Clauses, read_clauses, word
from circuitlang.compiler.expand import Variant, expand
from circuitlang.compiler.image_sets import pictures
from circuitlang.compiler.limits import MOST, MOST_COMPARED, MOST_LETTERS, MOST_MENTIONED, MOST_OF_A_FILE, too_many
from circuitlang.compiler.program import (
    Argument,
    Comparison,
    Expectation,
    ImageSet,
    Model,
    Preserve,
    Program,
    Target,
    Vocabulary,
)
from circuitlang.compiler.references import comparison, expectation
from circuitlang.compiler.scope import Findings, Scope
from circuitlang.compiler.targets import targets
from circuitlang.plan import preprocessing
from circuitlang.plan.clauses import IMAGES, PRESERVE
from circuitlang.plan.contrast import contrastable, uncontrasted

BUNDLED = Model("bundled", "doodle", {})

# What holds where neither the statement nor the defaults say anything.
DEFAULT_CRITERION = "greedy"
DEFAULT_ABLATION = "zero"
DEFAULT_HOLDOUT = 0.2
# What a run writes beside its circuits' folders, and letters that every file system takes with an ending.
_TAKEN = ("plan.yaml", "index.html", "sweep.json")
_LONGEST = 100


def check(file: syntax.File, vocabulary: Vocabulary) -> Program:
    """Resolve a file's names and type its values. Raises SpecError with every mistake in it and in included files."""
    return _Check(file, vocabulary).program()


class _Check:
    def __init__(self, file: syntax.File, vocabulary: Vocabulary) -> None:
        self._file = file
        self._vocabulary = vocabulary
        self._findings = Findings()
        self._models: list[syntax.Model] = []
        self._model_is_broken = False
        # Named circuits, those of a sweep together; none where the definition is has_errors.
        self._named: dict[str, list[Preserve]] = {}
        self._circuits: list[Preserve] = []
        # Of circuits that were asked for so far.
        self._number = 0

    def program(self) -> Program:
        self._find_models(self._file)
        model = self._model()
        scope = self._definitions(self._file, model)
        for statement in self._file.statements:
            if isinstance(statement, (syntax.Preserve, syntax.Split)):
                self._circuits.extend(self._asked(statement, None, statement.span, scope))
            elif isinstance(statement, syntax.Circuit):
                self._circuit(statement, scope)
        self._repeats()
        found = [
            self._findings.attempt(partial(comparison, each, self._named))
            for each in self._file.statements
            if isinstance(each, syntax.Compare)
        ]
        wanted = [
            self._findings.attempt(partial(expectation, each, self._named, scope))
            for each in self._file.statements
            if isinstance(each, syntax.Expect)
        ]
        self._mentions(filter(None, found), filter(None, wanted))
        if self._findings.errors:
            raise SpecError((*self._findings.errors, *self._findings.warnings))
        return Program(
            self._file.source,
            model or BUNDLED,
            tuple(self._circuits),
            tuple(each for each in found if each),
            tuple(each for each in wanted if each),
            self._findings.warnings,
        )

    def _mentions(self, compared: Iterable[Comparison], expected: Iterable[Expectation]) -> None:
        """Resolve comparisons and expectations, which name circuits one by one in the plan."""
        total = 0
        mentioned: list[Comparison | Expectation] = [*compared, *expected]
        for each in mentioned:
            total += len(each.circuits)
            if isinstance(each, Comparison) and len(each.circuits) > MOST_COMPARED:
                message = f"this compares more than {MOST_COMPARED:,} circuits"
                self._findings.add("E211", message, each.span, f"{len(each.circuits):,} circuits")
            elif total > MOST_MENTIONED:
                self._findings.add("E211", f"circuits are named more than {MOST_MENTIONED:,} times", each.span)
                return

    # Definitions: their order doesn't matter, except that a name stands before its use in another definition.

    def _find_models(self, file: syntax.File) -> None:
        """Every model statement, the file's own before those of what it includes."""
        self._model_is_broken |= "model" in file.broken
        self._models.extend(each for each in file.statements if isinstance(each, syntax.Model))
        for included in file.included.values():
            self._find_models(included)

    def _model(self) -> Model | None:
        """The model in force; None where it is has_errors."""
        for extra in self._models[1:]:
            first = self._models[0].span.place
            self._findings.add("E108", "a file has one model", extra.span, f"{first} names one already")
        if not self._models:
            return None if self._model_is_broken else BUNDLED
        return self._findings.attempt(partial(_read_model, self._models[0], self._vocabulary))

    def _definitions(self, file: syntax.File, model: Model | None) -> Scope:
        """The names a file defines and includes."""
        self._findings.extend(file.findings)
        scope = Scope(self._vocabulary, self._findings, self._file.source.folder)
        if model is not None:
            scope.layers, scope.model_name = self._vocabulary.layers.get(model.key), model.name
        for keyword, _, name in (each.partition(" ") for each in file.broken):
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
        """The image sets and targets of an included file, under its namespace; its circuits are not asked for."""
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
        found = self._findings.attempt(partial(pictures, node.pictures, scope))
        if found is not None and not read.has_errors:
            found = replace(
                found,
                name=node.name.text,
                limit=read.values.get("limit", found.limit),
                seed=read.values.get("seed", found.seed),
                span=node.pictures.span,
            )
        self._define(scope.sets, node.name.text, None if read.has_errors else found, node.name.span, "image set")

    def _direction(self, node: syntax.Direction, scope: Scope) -> None:
        found = self._findings.attempt(partial(targets, node.feature, scope)) or []
        if len(found) > 1:
            message = "a target statement names one target"
            self._findings.add(
                "E215", message, node.feature.span, f"this is {len(found)}", "list them where they are preserved"
            )
        self._define(scope.directions, node.name.text, found[0] if len(found) == 1 else None, node.name.span, "target")

    def _define(
        self,
        names: dict[str, ImageSet | None] | dict[str, Target | None],
        name: str,
        value: ImageSet | Target | None,
        span: Span,
        kind: str,
    ) -> None:
        if names.get(name) is not None:
            self._findings.add("E107", f"the {kind} '{name}' is defined twice", span, "the second time")
        names[name] = value  # type: ignore[assignment]

    def _defaults(self, node: syntax.Defaults, scope: Scope) -> None:
        """Defaults are kept as they were written, so that an `each` in them stands for each circuit anew."""
        for clause in node.clauses:
            if word(clause) in scope.defaults:
                self._findings.add("E206", f"'{word(clause)}' is given twice", clause.span, "the second time")
            scope.defaults[word(clause)] = clause
        for _, clauses in self._variants(node.clauses):
            scope.spoiled_defaults |= read_clauses(clauses, PRESERVE, scope).has_errors

    # What is asked for.

    def _circuit(self, node: syntax.Circuit, scope: Scope) -> None:
        name = node.name.text
        found = self._asked(node.asked, name, node.span, scope)
        if self._named.get(name):
            self._findings.add("E107", f"the circuit '{name}' is defined twice", node.name.span, "the second time")
            return
        if name in _TAKEN or len(name) > _LONGEST:
            label = "a run has a file of this name" if name in _TAKEN else f"a name has at most {_LONGEST} letters"
            self._findings.add("E107", f"a circuit can't be called '{name[:40]}'", node.name.span, label)
            return
        self._named[name] = found
        self._circuits.extend(found)

    def _asked(
        self, node: syntax.Preserve | syntax.Split, name: str | None, span: Span, scope: Scope
    ) -> list[Preserve]:
        """The circuits of one statement: one for each target and each combination of values."""
        before = self._findings.count
        images = self._findings.attempt(partial(pictures, node.pictures, scope))
        found = self._findings.attempt(partial(targets, node.feature, scope))
        into = self._findings.attempt(partial(_into, node)) if isinstance(node, syntax.Split) else None
        own = {word(clause) for clause in node.clauses}
        if own & {"sparsity", "kernels"}:
            own |= {"sparsity", "kernels"}
        if own & {"test", "holdout"}:
            own |= {"test", "holdout"}
        clauses = (*(each for key, each in scope.defaults.items() if key not in own), *node.clauses)
        circuits: list[Preserve] = []
        variants = self._variants(clauses)
        if not self._few(len(variants) * len(found or ()), found or (), node, span):
            return []
        for variant, chosen in variants:
            read = read_clauses(chosen, PRESERVE, scope)
            self._consistent(read, span, has_errors=read.has_errors or scope.spoiled_defaults)
            if self._findings.count > before or scope.spoiled_defaults or images is None:
                continue
            if None in (read.values.get("test", images), read.values.get("contrast", images)):
                continue
            for target in found or ():
                unit = (("unit", str(getattr(target, "unit", ""))),) if len(found or ()) > 1 else ()
                circuits.append(self._preserve(name, (*unit, *variant), target, images, read, into, span))
        return circuits if self._findings.count == before else []

    def _few(self, number: int, found: Sequence[Target], node: syntax.Preserve | syntax.Split, span: Span) -> bool:
        """Return whether a statement stands for no more circuits than the limit: each target with each combination."""
        self._number += number
        each = max((len(getattr(target, "units", getattr(target, "terms", ()))) for target in found), default=1)
        label = f"{len(found):,} targets, each with {number // max(len(found), 1):,} combinations of values"
        if number > MOST:
            self._findings.extend(too_many(node.feature.span, label).findings)
        elif number * max(each, len(span.text)) > MOST_LETTERS:
            message = "this is too long for as many circuits as it stands for"
            self._findings.add("E211", message, span, f"{number:,} circuits", "write several statements")
        elif self._number > MOST_OF_A_FILE:
            message = f"the file stands for more than {MOST_OF_A_FILE:,} circuits"
            self._findings.add("E211", message, span, "with this statement", "write several files")
        else:
            return True
        return False

    def _preserve(
        self,
        name: str | None,
        variant: tuple[tuple[str, str], ...],
        target: Target,
        images: ImageSet,
        read: Clauses,
        into: int | Literal["auto"] | None,
        span: Span,
    ) -> Preserve:
        given = read.values
        test: ImageSet | None = given.get("test")
        criterion = given.get("criterion") or values.choice(
            syntax.Name(span, DEFAULT_CRITERION), "criterion", "E103", self._vocabulary.criteria
        )
        known = self._vocabulary.criteria
        if "contrast" in given and not contrastable(criterion.name, dict(criterion.parameters), known):
            self._findings.extend([uncontrasted(criterion.name, known, criterion.span or read.spans["contrast"])])
        ablation = given.get("ablation") or values.choice(
            syntax.Name(span, DEFAULT_ABLATION), "ablation", "E104", self._vocabulary.ablations
        )
        return Preserve(
            name=name,
            values=variant,
            target=target,
            images=images,
            test=test,
            contrast=given.get("contrast"),
            holdout=0.0 if test else given.get("holdout", DEFAULT_HOLDOUT),
            size=given.get("sparsity") or given.get("kernels"),
            bounds=tuple(read.bounds),
            criterion=criterion,
            ablation=ablation,
            calibrate=given.get("calibrate", "none"),
            refill=given.get("refill", "live"),
            structure=given.get("structure", "kernel"),
            seed=given.get("seed", 0),
            into=into,
            given=read.spans,
            span=span,
        )

    def _variants(self, clauses: tuple[syntax.Clause, ...]) -> list[Variant]:
        return self._findings.attempt(lambda: list(expand(clauses))) or []

    def _consistent(self, read: Clauses, span: Span, has_errors: bool) -> None:
        if "sparsity" in read.values and "kernels" in read.values:
            self._findings.add("E205", "a circuit has one size", read.spans["kernels"], "sparsity is given too")
        if "test" in read.values and "holdout" in read.values:
            message = "'test' and 'holdout' exclude each other"
            self._findings.add("E210", message, read.spans["holdout"], "test is given too")
        if not has_errors and not read.bounds and not {"sparsity", "kernels"} & read.values.keys():
            cure = "add sparsity<=0.1, kernels<=250 or correlation>=0.9"
            self._findings.add(
                "E204", "a circuit needs a size or a fidelity", span, "how much to keep is missing", cure
            )

    def _repeats(self) -> None:
        seen: dict[Preserve, Preserve] = {}
        for circuit in self._circuits:
            first = seen.setdefault(circuit, circuit)
            if first is not circuit:
                line, _ = first.span.source.position(first.span.start)
                self._findings.add(
                    "E110", "the same circuit is asked for twice", circuit.span, f"line {line} asks for it"
                )


def _into(node: syntax.Split) -> int | Literal["auto"]:
    if isinstance(node.into, syntax.Number):
        return values.whole(node.into, 2)
    if node.into.text != "auto":
        cure = did_you_mean(node.into.text, ["auto"])
        raise SpecError(Finding("E212", f"unknown value '{node.into.text}'", node.into.span, "a number, or auto", cure))
    return "auto"


def _read_model(statement: syntax.Model, vocabulary: Vocabulary) -> Model:
    """`NAME(...)` of torchvision, `SOURCE.NAME(...)`, or `SOURCE("what", ...)`. Raises SpecError."""
    call = statement.call
    prefix, _, rest = call.name.text.partition(".")
    arguments = list(call.arguments)
    source, name = (prefix, rest) if rest else ("torchvision", prefix)
    if not rest and prefix in vocabulary.models and arguments and isinstance(arguments[0], syntax.String):
        source, name = prefix, arguments.pop(0).text  # type: ignore[union-attr]
    if source not in vocabulary.models:
        sources = sorted(vocabulary.models)
        label, cure = f"models come from {listing(sources)}", did_you_mean(source, sources)
        raise SpecError(Finding("E109", f"unknown model source '{source}'", call.name.span, label, cure))
    given: dict[str, Argument] = {}
    for argument in arguments:
        if not isinstance(argument, syntax.Keyword):
            raise SpecError(Finding("E202", "a parameter needs its name", argument.span, "NAME=value"))
        key = argument.name.text
        if key in given:
            raise SpecError(Finding("E206", f"'{key}' is given twice", argument.span))
        given[key] = _model_argument(key, argument.value)
    return Model(source, name, given, call.name.span)


def _model_argument(key: str, node: syntax.Value) -> Argument:
    """An argument of a model: circuitlang's own as it must be, a builder's with `none` for nothing."""
    if key == "weights":
        # Where weights come from is a word, and `none` one of them.
        return values.scalar(node)
    if key == "output":
        if isinstance(node, syntax.Number):
            return values.whole(node, 0)
        if not isinstance(node, (syntax.Name, syntax.String)):
            raise values.wrong(node, "the number or name of an output", "as output=1")
        return node.text
    if key == "state":
        if not isinstance(node, (syntax.Name, syntax.String, syntax.Path)):
            raise values.wrong(node, "the name of a state dict in the weights file", 'as state="ema"')
        return node.text
    if key in preprocessing.LISTS:
        items = node.items if isinstance(node, syntax.List) else ()
        if not items:
            raise values.wrong(node, "a number for each channel of the images", f"write {key}=[0.5, 0.5, 0.5]")
        numbers = tuple(values.number(item) for item in items)
        if expected := preprocessing.unsuitable(key, numbers):
            raise SpecError(Finding("E203", f"{key} is out of range", node.span, expected))
        return numbers
    if key in preprocessing.HIGHEST:
        return values.whole(node, 1, preprocessing.HIGHEST[key])
    if isinstance(node, syntax.List):
        return tuple(None if values.nothing(item) else values.scalar(item) for item in node.items)
    return None if values.nothing(node) else values.scalar(node)
