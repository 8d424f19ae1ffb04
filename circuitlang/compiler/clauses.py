"""The clauses of a statement: their relations, and how their values are read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from msgspec import UNSET, UnsetType

from circuitlang.base.diagnostics import Finding, Fix, SpecError, did_you_mean, listing
from circuitlang.base.source import Span
from circuitlang.compiler import syntax, values
from circuitlang.compiler.clause_cures import clause_cure, value_cure
from circuitlang.compiler.image_sets import image_set
from circuitlang.compiler.placed import PlacedImages
from circuitlang.compiler.scope import Scope
from circuitlang.plan.clauses import (
    EDIT,
    IMAGES,
    PRESERVE,
    STABILITY,
    Bound,
    Calibrate,
    Choice,
    Circuit,
    Clause,
    EndToEnd,
    Kernels,
    Sparsity,
)
from circuitlang.plugins.registry import Declaration, Parameter

# Another word for the same clause or metric.
ALIASES = {clause.alias: clause.name for clause in PRESERVE.values() if clause.alias} | {"correlation": "pearson"}
# The parameters of `calibrate=kernels`; the first method is what a mere `kernels` means.
_METHODS = "layerwise", "end_to_end"
_CALIBRATE = Parameter("method", "str", _METHODS[0]), Parameter("passes", "Count", EndToEnd().passes)


@dataclass
class Clauses:
    """The clauses of one statement that could be read, by name."""

    values: dict[str, Any] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)
    value_spans: dict[str, Span] = field(default_factory=dict)
    bounds: list[Bound] = field(default_factory=list)
    has_errors: bool = False


def read_value(rule: Clause, node: syntax.Value, scope: Scope) -> Any:
    """Read the value of a clause. Raises SpecError."""
    low, high = rule.limits
    match rule.kind:
        case "sparsity":
            value = values.fraction(node, 0, 1)
            if value == 0:
                raise SpecError(Finding("E203", "an empty circuit", node.span, "more than 0"))
            return Sparsity(value)
        case "kernels":
            return Kernels(values.whole(node, 1))
        case "fraction":
            return values.fraction(node, low, 1 if high is None else high)
        case "number":
            return values.number(node)
        case "whole":
            return values.whole(node, int(low), None if high is None else int(high))
        case "word":
            return _word(node, rule.name, rule.words)
        case "calibrate":
            return _calibrate(node, rule.words)
        case "criterion":
            return values.choice(node, "criterion", "E103", scope.vocabulary.criteria)
        case "ablation":
            return values.choice(node, "ablation", "E104", scope.vocabulary.ablations)
        case "images":
            return image_set(node, scope)
        case "several_images":
            return _several_images(node, scope)
        case "tests":
            return _tests(node, scope.vocabulary.tests)
        case "words":
            return _words(node, rule.name, rule.words)
        case "circuit":
            return _circuit(node, scope)


def _several_images(node: syntax.Value, scope: Scope) -> list[PlacedImages] | None:
    """Read an image set or a list of them, each once; None if a set has errors."""
    items = node.items if isinstance(node, syntax.List) else (node,)
    chosen: dict[str, PlacedImages] = {}
    for item in items:
        placed = image_set(item, scope)
        if placed is None:
            return None
        if placed.name in chosen:
            raise SpecError(Finding("E206", f"'{placed.name}' is given twice", item.span, "the second time"))
        chosen[placed.name] = placed
    return list(chosen.values())


def _tests(node: syntax.Value, known: Mapping[str, Declaration]) -> list[Choice]:
    """Read `none`, `all`, a test or a list of tests, in the order of their names and each once."""
    if values.nothing(node):
        return []
    if isinstance(node, syntax.Name) and node.text == "all":
        return [Choice(name, values.defaults(known[name])) for name in sorted(known)]
    items = node.items if isinstance(node, syntax.List) else (node,)
    chosen: dict[str, Choice] = {}
    for item in items:
        if isinstance(item, syntax.Name) and item.text in ("all", "none"):
            finding = Finding("E130", f"'{item.text}' stands alone", item.span, "", f"write tests={item.text}")
            raise SpecError(finding)
        choice = values.choice(item, "test", "E130", known)
        if choice.name in chosen:
            raise SpecError(Finding("E206", f"'{choice.name}' is given twice", item.span, "the second time"))
        chosen[choice.name] = choice
    return [chosen[name] for name in sorted(chosen)]


def _circuit(node: syntax.Value, scope: Scope) -> Circuit | None:
    """Return the circuit of a name that is defined above; None if its definition has errors."""
    if not isinstance(node, syntax.Name):
        raise values.wrong(node, "the name of a circuit", "as within=face")
    known = sorted(name for name, circuits in scope.named.items() if circuits)
    if node.text in scope.circuits - scope.named.keys():
        message, cure = f"'{node.text}' is not there yet", "put the statement below that of the circuit it is within"
        raise SpecError(Finding("E141", message, node.span, "it is defined here or below", cure))
    if node.text not in scope.named:
        label = f"circuits with a name: {listing(known)}" if known else "no circuit has a name"
        cure = did_you_mean(node.text, known, f"name one: circuit {node.text} = preserve ...")
        raise SpecError(Finding("E115", f"unknown circuit '{node.text}'", node.span, label, cure))
    circuits = scope.named[node.text]
    if len(circuits) > 1:
        label, cure = f"'{node.text}' stands for {len(circuits)}", "give the one that is meant a name of its own"
        raise SpecError(Finding("E140", "a circuit is within one circuit", node.span, label, cure))
    return circuits[0] if circuits else None


def with_stability(tests: list[Choice], known: Mapping[str, Declaration]) -> list[Choice]:
    """Return tests with the one that measures how stable kernels are, as it is asked for or with its defaults."""
    chosen = {STABILITY: Choice(STABILITY, values.defaults(known[STABILITY]))} | {one.name: one for one in tests}
    return [chosen[name] for name in sorted(chosen)]


def _words(node: syntax.Value, name: str, options: tuple[str, ...]) -> list[str] | UnsetType:
    """Read `none`, `all`, a word or a list of words, in the order of the options and each once."""
    if values.nothing(node):
        return UNSET
    if isinstance(node, syntax.Name) and node.text == "all":
        return list(options)
    items = node.items if isinstance(node, syntax.List) else (node,)
    chosen: list[str] = []
    for item in items:
        word = _word(item, name, options)
        if word in chosen:
            raise SpecError(Finding("E206", f"'{word}' is given twice", item.span, "the second time"))
        chosen.append(word)
    return [word for word in options if word in chosen]


def _word(node: syntax.Value, name: str, options: tuple[str, ...]) -> str:
    if not isinstance(node, syntax.Name) or node.text not in options:
        cure = value_cure(name, node.span.text)
        edit = Fix(node.span, cure.partition("=")[2]) if cure else None
        cure = cure or did_you_mean(node.span.text, options, f"as {name}={options[-1]}")
        message = f"unknown value '{node.span.text}'"
        raise SpecError(Finding("E212", message, node.span, listing(options, "or"), cure, edit=edit))
    return node.text


def _calibrate(node: syntax.Value, options: tuple[str, ...]) -> Calibrate | EndToEnd:
    """Read a word, or `kernels` with how its gains are fitted."""
    if isinstance(node, syntax.Name) and node.text in _METHODS:
        cure = f"write kernels(method={node.text})"
        raise SpecError(Finding("E212", f"unknown value '{node.text}'", node.span, listing(options, "or"), cure))
    if not isinstance(node, syntax.Call):
        return cast(Calibrate, _word(node, "calibrate", options))
    name = cast(Calibrate, _word(node.name, "calibrate", options))
    known = {option: Declaration(option, "", "", _CALIBRATE if option == "kernels" else ()) for option in options}
    choice = values.choice(node, "value", "E212", known)
    written = {argument.name.text: argument for argument in node.arguments if isinstance(argument, syntax.Keyword)}
    if "method" in written:
        _word(written["method"].value, "method", _METHODS)
    if name == "kernels" and choice.parameters["method"] == "end_to_end":
        return EndToEnd(int(choice.parameters["passes"]))
    if "passes" in written:
        message, cure = "a layerwise fit takes no 'passes'", "add method=end_to_end, or leave passes out"
        raise SpecError(Finding("E105", message, written["passes"].span, "", cure))
    return name


def word(clause: syntax.Clause) -> str:
    """The name of a clause, whichever word for it was written."""
    return ALIASES.get(clause.name.text, clause.name.text)


def read_clauses(clauses: Iterable[syntax.Clause], rules: Mapping[str, Clause], scope: Scope) -> Clauses:
    """Every clause that can be read; mistakes are findings of the scope."""
    read = Clauses()
    for clause in clauses:
        before = scope.findings.count
        scope.findings.attempt(partial(_clause, clause, rules, scope, read))
        read.has_errors |= scope.findings.count > before
    return read


def _clause(clause: syntax.Clause, rules: Mapping[str, Clause], scope: Scope, read: Clauses) -> None:
    name = word(clause)
    if name in read.spans:
        cure = f"for a circuit each, write {clause.name.text}{clause.relation}each(FIRST, SECOND)"
        raise SpecError(Finding("E206", f"'{name}' is given twice", clause.span, "the second time", cure))
    read.spans[name] = clause.span
    rule = rules.get(name)
    if rule is None and rules is PRESERVE and (bound := _bound(clause, scope)):
        read.bounds.append(bound)
        return
    if rule is None:
        known = [*rules, *(sorted(scope.vocabulary.metrics) if rules is PRESERVE else ())]
        taught = [rule.alias or rule.name for rule in rules.values()]
        label = f"expected {listing(taught, 'or', limit=20)}" + (", or a metric" if rules is PRESERVE else "")
        other = "" if _elsewhere(clause, rules) else clause_cure(clause, rules)
        edit = (
            Fix(clause.span, other.removeprefix("write ")) if re.match(r"write [a-z]+(?:=|<=|>=)\S+$", other) else None
        )
        cure = _elsewhere(clause, rules) or other or did_you_mean(name, [*known, *ALIASES])
        message = f"unknown clause '{clause.name.text}'"
        raise SpecError(Finding("E106", message, clause.name.span, label, cure, edit=edit))
    relation(clause.relation, (rule.relation,), clause, rule.example)
    if isinstance(clause.value, syntax.List) and not rule.of_images and rule.kind not in ("tests", "words"):
        items = [item.span.text for item in clause.value.items]
        cure = f"for a circuit each, write {clause.name.text}{clause.relation}each({', '.join(items)})"
        if len(items) == 1:
            cure = f"write {clause.name.text}{clause.relation}{items[0]}"
        raise values.wrong(clause.value, "one value", cure)
    if isinstance(clause.value, syntax.Range):
        first, last = clause.value.first.text, clause.value.last.text
        cure = f"write {clause.name.text}{clause.relation}{last}, or each({first}, {last}) for a circuit each"
        raise values.wrong(clause.value, "one value", cure)
    value = read_value(rule, clause.value, scope)
    read.values[name] = value
    read.value_spans[name] = clause.value.span
    # Users who write `keep` know what it means.
    if isinstance(value, Sparsity) and value.at_most > 0.5 and clause.name.text == "sparsity":
        kept = f"this keeps {value.at_most:.0%} of the kernels"
        cure = f"to remove {value.at_most:.0%}, write keep<={1 - value.at_most:g}" if value.at_most < 1 else ""
        scope.findings.add("W201", "sparsity is the fraction that is kept", clause.span, kept, cure)


def _elsewhere(clause: syntax.Clause, rules: Mapping[str, Clause]) -> str:
    """Return the kind of statement that a misplaced clause belongs to."""
    if rules is PRESERVE and word(clause) in IMAGES:
        return f"name the images, and write it there: images NAME = PATTERN {clause.span.text}"
    if rules is not EDIT and word(clause) in EDIT:
        return f"it is a clause of an edit: edit NAME = LAYER:CHANNEL {clause.span.text} on IMAGES measure TARGET"
    elsewhere = rules is not PRESERVE and word(clause) in PRESERVE
    return f"write {clause.span.text} where a circuit is asked for" if elsewhere else ""


def _bound(clause: syntax.Clause, scope: Scope) -> Bound | None:
    """A clause that names a metric, of held-out images or, as `train.METRIC`, of the others."""
    sample, _, metric = clause.name.text.rpartition(".")
    metric = ALIASES.get(metric, metric)
    declaration = scope.vocabulary.metrics.get(metric)
    if declaration is None or sample not in ("", "train", "test"):
        return None
    side = better(declaration.options)
    relation(clause.relation, (side,), clause, f"{clause.name.text}{side}0.9")
    return Bound(metric, "train" if sample == "train" else "test", side, values.number(clause.value))


def better(options: tuple[object, ...]) -> Any:
    """The relation in which a metric is bounded: scores from below, errors from above."""
    return "<=" if "lower" in options else ">="


def relation(written: str, right: tuple[str, ...], clause: syntax.Clause | syntax.Expect, example: str) -> None:
    """Raises SpecError where a relation isn't the right one."""
    if written not in right:
        name = clause.name.text if isinstance(clause, syntax.Clause) else clause.measure.span.text
        message = f"'{name}' is written with {listing([f'{symbol!r}' for symbol in right], 'or')}, not '{written}'"
        written = f"{name}{right[0]}{clause.value.span.text}"
        start = clause.span.start if isinstance(clause, syntax.Clause) else clause.measure.span.start
        edit = Fix(Span(clause.span.source, start, clause.span.end), written)
        raise SpecError(Finding("E201", message, clause.span, f"as in {example}", f"write {written}", edit=edit))
