"""Syntax → program: every name resolved, every value typed, every mistake of the file found in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from circuitlang.compiler import syntax, values
from circuitlang.compiler.program import (
    Choice,
    ImageSet,
    Kernels,
    Model,
    Preserve,
    Program,
    Sparsity,
    Vocabulary,
)
from circuitlang.errors import Finding, Severity, SpecError, did_you_mean, listing
from circuitlang.registry import Value
from circuitlang.source import Span

BUNDLED = Model("bundled", "doodle", {}, None)

# The paper's best criterion at the sizes people ask for first.
DEFAULT_CRITERION = "actgrad"
DEFAULT_ABLATION = "zero"
DEFAULT_HOLDOUT = 0.2

Reader = Callable[["_Check", syntax.Value], Any]


@dataclass(frozen=True)
class Rule:
    """A clause: the relation it is written with, how its value is read, and an example for the error."""

    relation: str
    read: Reader
    example: str


PRESERVE: Mapping[str, Rule] = {
    "sparsity": Rule("<=", lambda _, node: _sparsity(node), "sparsity<=0.1"),
    "kernels": Rule("<=", lambda _, node: Kernels(values.whole(node, 1)), "kernels<=250"),
    "criterion": Rule("=", lambda check, node: check.criterion(node), "criterion=snip"),
    "ablation": Rule("=", lambda check, node: check.ablation(node), "ablation=zero"),
    "holdout": Rule("=", lambda _, node: values.fraction(node, 0, 0.9), "holdout=20%"),
    "test": Rule("=", lambda check, node: check.image_set(node), "test=images/others/*"),
    "seed": Rule("=", lambda _, node: values.whole(node, 0), "seed=0"),
}
IMAGES: Mapping[str, Rule] = {
    "limit": Rule("=", lambda _, node: values.whole(node, 1), "limit=200"),
    "seed": Rule("=", lambda _, node: values.whole(node, 0), "seed=0"),
}


def check(file: syntax.File, vocabulary: Vocabulary) -> Program:
    """What the file means. Raises SpecError with every mistake in it, those of its syntax included."""
    return _Check(file, vocabulary).program()


@dataclass
class _Clauses:
    """The clauses of one statement that could be read: value and place by name."""

    values: dict[str, Any] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)
    spoiled: bool = False


class _Check:
    def __init__(self, file: syntax.File, vocabulary: Vocabulary) -> None:
        self._file = file
        self._vocabulary = vocabulary
        self._findings: list[Finding] = list(file.findings)
        self._sets: dict[str, ImageSet | None] = {
            name: None for keyword, _, name in map(_words, file.broken) if keyword == "images"
        }
        self._model: Model | None = None if "model" in file.broken else BUNDLED
        self._defaults = _Clauses(spoiled="defaults" in file.broken)
        self._circuits: list[Preserve] = []

    def program(self) -> Program:
        self._definitions()
        for statement in self._file.statements:
            if isinstance(statement, syntax.Preserve):
                self._preserve(statement, None, statement.span)
            elif isinstance(statement, syntax.Circuit):
                self._preserve(statement.preserve, statement.name, statement.span)
        self._repeats()
        if self._errors:
            raise SpecError(self._findings)
        assert self._model is not None
        return Program(self._file.source, self._model, tuple(self._circuits), tuple(self._findings))

    def criterion(self, node: syntax.Value) -> Choice:
        return values.choice(node, "criterion", "E103", self._vocabulary.criteria)

    def ablation(self, node: syntax.Value) -> Choice:
        return values.choice(node, "ablation", "E104", self._vocabulary.ablations)

    def image_set(self, node: syntax.Value) -> ImageSet | None:
        """The pictures a value stands for: a name, a pattern, or a list of both. None when that's spoiled."""
        if isinstance(node, syntax.Name):
            if node.text not in self._sets:
                known = sorted(name for name in self._sets if self._sets[name])
                label = f"image sets: {listing(known)}" if known else "no image set is defined"
                cure = did_you_mean(node.text, known, f"a path has a '/': {node.text}/*")
                raise SpecError(Finding("E101", f"unknown image set '{node.text}'", node.span, label, cure))
            return self._sets[node.text]
        if isinstance(node, (syntax.Path, syntax.String)):
            return ImageSet(node.text, (node.text,), (), None, 0, node.span)
        if isinstance(node, syntax.List):
            return self._union(node)
        raise values.wrong(node, "pictures", "a path such as images/dogs/*, or the name of an image set")

    def _union(self, node: syntax.List) -> ImageSet | None:
        parts = [self.image_set(item) for item in node.items]
        if not parts:
            raise SpecError(Finding("E301", "no pictures are listed", node.span, "an empty list"))
        whole = [part for part in parts if part is not None]
        if len(whole) < len(parts):
            return None
        for part, item in zip(whole, node.items, strict=True):
            if part.limit is not None or part.exclude:
                message = "a set with 'except' or 'limit' can't be part of another"
                raise SpecError(Finding("E209", message, item.span, f"'{part.name}' has its own selection"))
        name = ", ".join(part.name for part in whole)
        patterns = tuple(pattern for part in whole for pattern in part.include)
        return ImageSet(f"[{name}]", patterns, (), None, 0, node.span)

    # The statements that define: their order does not matter, except that an image set stands before its use
    # in another one.

    def _definitions(self) -> None:
        models = [statement for statement in self._file.statements if isinstance(statement, syntax.Model)]
        for first in models[:1]:
            self._model = self._attempt(partial(self._read_model, first))
        for extra in models[1:]:
            line, _ = models[0].span.source.position(models[0].span.start)
            self._add("E108", "a file has one model", extra.span, f"line {line} names one already")
        for statement in self._file.statements:
            if isinstance(statement, syntax.Images):
                self._images(statement)
        for statement in self._file.statements:
            if isinstance(statement, syntax.Defaults):
                read = self._clauses(statement.clauses, PRESERVE)
                self._defaults.values.update(read.values)
                self._defaults.spans.update(read.spans)
                self._defaults.spoiled |= read.spoiled

    def _read_model(self, statement: syntax.Model) -> Model:
        call = statement.call
        prefix, _, rest = call.name.text.partition(".")
        source, name = (prefix, rest) if rest else ("torchvision", prefix)
        if source not in self._vocabulary.models:
            sources = sorted(self._vocabulary.models)
            label = f"models come from {listing(sources)}"
            raise SpecError(
                Finding(
                    "E109", f"unknown model source '{source}'", call.name.span, label, did_you_mean(source, sources)
                )
            )
        arguments: dict[str, Value | tuple[Value, ...]] = {}
        for argument in call.arguments:
            if not isinstance(argument, syntax.Keyword):
                raise SpecError(Finding("E202", "a parameter needs its name", argument.span, "NAME=value"))
            word = argument.name.text
            if word in arguments:
                raise SpecError(Finding("E206", f"'{word}' is given twice", argument.span))
            arguments[word] = _model_argument(word, argument.value)
        return Model(source, name, arguments, call.name.span)

    def _images(self, statement: syntax.Images) -> None:
        name = statement.name.text
        read = self._clauses(statement.clauses, IMAGES)
        if self._sets.get(name) is not None:
            self._add("E107", f"the image set '{name}' is defined twice", statement.name.span, "the second time")
        found = self._attempt(lambda: self.image_set(statement.value))
        unwanted = statement.excluded
        excluded = self._attempt(partial(self.image_set, unwanted)) if unwanted else None
        if found is None or read.spoiled or (unwanted and excluded is None):
            self._sets[name] = None
            return
        self._sets[name] = replace(
            found,
            name=name,
            exclude=(*found.exclude, *(excluded.include if excluded else ())),
            limit=read.values.get("limit", found.limit),
            seed=read.values.get("seed", found.seed),
            span=statement.value.span,
        )

    def _preserve(self, node: syntax.Preserve, name: syntax.Name | None, span: Span) -> None:
        before = self._errors
        own = self._clauses(node.clauses, PRESERVE)
        images = self._attempt(lambda: self.image_set(node.images))
        unit = self._attempt(lambda: values.whole(node.target.unit, 0))
        self._layer(node.target, unit)
        if name is not None and any(circuit.name == name.text for circuit in self._circuits):
            self._add("E107", f"the circuit '{name.text}' is defined twice", name.span, "the second time")
        spans = {**self._defaults.spans, **own.spans}
        given = {**self._defaults.values, **own.values}
        sizes = [word for word in ("sparsity", "kernels") if word in own.values] or [
            word for word in ("sparsity", "kernels") if word in given
        ]
        if len(sizes) > 1:
            self._add("E205", "a circuit has one size", spans[sizes[1]], f"{sizes[0]} is given too")
        spoiled = own.spoiled or self._defaults.spoiled or self._errors > before
        if not sizes and not spoiled:
            label = "how much to keep is missing"
            self._add("E204", "a circuit needs a size", span, label, "add sparsity<=0.1 or kernels<=250")
        if spoiled or not sizes or unit is None or images is None or given.get("test", images) is None:
            return
        if "test" in own.values and "holdout" in own.values:
            self._add("E210", "'test' and 'holdout' exclude each other", own.spans["holdout"], "test is given too")
        layer, test = node.target.layer, given.get("test")
        self._circuits.append(
            Preserve(
                name=name.text if name else None,
                layer=layer.text,
                layer_span=layer.span,
                unit=unit,
                unit_span=node.target.unit.span,
                images=images,
                test=test,
                holdout=0.0 if test else given.get("holdout", DEFAULT_HOLDOUT),
                size=given[sizes[0]],
                size_span=spans[sizes[0]],
                criterion=given.get("criterion") or self.criterion(syntax.Name(span, DEFAULT_CRITERION)),
                ablation=given.get("ablation") or self.ablation(syntax.Name(span, DEFAULT_ABLATION)),
                seed=given.get("seed", 0),
                span=span,
            )
        )

    def _layer(self, target: syntax.Target, unit: int | None) -> None:
        """Layer and channel, where the model was looked at before; else the engine says it."""
        layers = self._vocabulary.layers.get(self._model.key) if self._model else None
        if layers is None or self._model is None:
            return
        layer = target.layer
        if layer.text not in layers.widths:
            label = f"{self._model.name} has {listing(layers.short)}"
            cure = did_you_mean(layer.text, layers.widths)
            self._add("E102", f"unknown layer '{layer.text}'", layer.span, label, cure)
        elif unit is not None and unit >= layers.widths[layer.text]:
            message = f"{layer.text} has no channel {unit}"
            self._add("E111", message, target.unit.span, f"its channels are 0 to {layers.widths[layer.text] - 1}")

    def _clauses(self, clauses: Iterable[syntax.Clause], rules: Mapping[str, Rule]) -> _Clauses:
        read = _Clauses()
        for clause in clauses:
            before = self._errors
            self._clause(clause, rules, read)
            read.spoiled |= self._errors > before
        return read

    def _clause(self, clause: syntax.Clause, rules: Mapping[str, Rule], read: _Clauses) -> None:
        word = clause.name.text
        rule = rules.get(word)
        if rule is None:
            label = f"expected {listing(list(rules), 'or')}"
            self._add("E106", f"unknown clause '{word}'", clause.name.span, label, did_you_mean(word, rules))
        elif word in read.spans:
            self._add("E206", f"'{word}' is given twice", clause.span, "the second time")
        elif clause.relation != rule.relation:
            message = f"'{word}' is written with '{rule.relation}', not '{clause.relation}'"
            cure = f"write {word}{rule.relation}{clause.value.span.text}"
            self._add("E201", message, clause.span, f"as in {rule.example}", cure)
        else:
            value = self._attempt(lambda: rule.read(self, clause.value))
            read.values[word], read.spans[word] = value, clause.span
            if isinstance(value, Sparsity) and value.fraction > 0.5:
                kept = f"this keeps {value.fraction:.0%} of the kernels"
                cure = (
                    f"to remove {value.fraction:.0%}, write sparsity<={1 - value.fraction:g}"
                    if value.fraction < 1
                    else ""
                )
                self._add("W201", "sparsity is the fraction that is kept", clause.span, kept, cure)

    def _repeats(self) -> None:
        for number, circuit in enumerate(self._circuits):
            if circuit in self._circuits[:number]:
                first = self._circuits[self._circuits.index(circuit)]
                line, _ = first.span.source.position(first.span.start)
                self._add("E110", "the same circuit is asked for twice", circuit.span, f"line {line} asks for it")

    @property
    def _errors(self) -> int:
        return sum(finding.severity is Severity.ERROR for finding in self._findings)

    def _attempt(self, read: Callable[[], Any]) -> Any:
        """What `read` returns; what it raises becomes findings, and None is returned."""
        try:
            return read()
        except SpecError as error:
            self._findings.extend(error.findings)
            return None

    def _add(self, code: str, message: str, span: Span, label: str = "", cure: str = "") -> None:
        self._findings.append(Finding(code, message, span, label, cure))


def _words(text: str) -> tuple[str, str, str]:
    return text.partition(" ")


def _sparsity(node: syntax.Value) -> Sparsity:
    value = values.fraction(node, 0, 1)
    if value == 0:
        raise SpecError(Finding("E203", "a circuit of nothing", node.span, "more than 0"))
    return Sparsity(value)


def _model_argument(word: str, node: syntax.Value) -> Value | tuple[Value, ...]:
    if word in ("mean", "std"):
        items = node.items if isinstance(node, syntax.List) else ()
        if len(items) != 3:
            raise values.wrong(node, "a number for each colour", f"write {word}=[0.5, 0.5, 0.5]")
        return tuple(values.number(item) for item in items)
    if word in ("resize", "crop"):
        return values.whole(node, 1)
    if isinstance(node, syntax.List):
        return tuple(values.scalar(item) for item in node.items)
    return values.scalar(node)
