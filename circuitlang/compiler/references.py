"""Words → circuits: what `compare` and `expect` speak of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

from circuitlang.base.diagnostics import Finding, SpecError, did_you_mean, listing
from circuitlang.base.source import Span
from circuitlang.compiler import syntax
from circuitlang.compiler.clauses import ALIASES, better, relation
from circuitlang.compiler.concepts import registered
from circuitlang.compiler.expand import spell
from circuitlang.compiler.placed import PlacedImages
from circuitlang.compiler.scope import Scope
from circuitlang.compiler.targets import targets
from circuitlang.compiler.values import number
from circuitlang.plan.clauses import PRESERVE
from circuitlang.plan.model import Choice, Circuit, Edit, Expectation
from circuitlang.plan.targets import ClassOutput, Concept

# Numbers in a report besides fidelity.
COUNTS = (
    "relevant", "asked", "kept", "effective", "necessity", "parameters", "extracted_difference", "score_difference",
)  # fmt: skip
# And of a sample of images: how many they are.
IMAGES = "images"
# On what a metric is measured, and of what: the circuit, in-sample, held-out, and on what it is contrasted with; the
# network without it; circuits as large by other criteria.
SAMPLES = ("train", "test", "contrast", "without", "random", "magnitude")
# Numbers with intervals, whose ends are a metric's `low` and `high`.
PICTURES = ("train", "test", "contrast")
ENDS = ("low", "high")
# The numbers of a test, and the word that their keys in metrics.json begin with.
OUTCOMES = ("p", "statistic", "share", "bootstrap")
TESTS = "tests"
# And those of a class that is the target.
CLASS = "class"
CLASSIFIED = ("agreement", "network", "circuit")
# The numbers of the probe of a concept.
PROBED = ("probe_accuracy", "probe_p")
# The word that keys of the other image sets begin with.
ALSO = "also"
# And those of the ablations that a circuit is measured under.
ROBUST = "robust"

# Measures of an edit: mean responses of a target without it and with it, and their relative change; and of all classes
# the share of images whose top class stays.
MEANS, CHANGE, CLASS_MEASURES = ("before", "after"), "change", ("same_top",)

# The edits by name; None for those with errors.
Edits = Mapping[str, Edit | None]
# The circuits with a name, those of a sweep together.
Circuits = Mapping[str, Sequence[Circuit]]


def comparison(node: syntax.Compare, circuits: Circuits) -> list[str] | None:
    """Return the ids of the circuits of a compare statement; None if one has errors. Raises SpecError."""
    findings: list[Finding] = []
    members: list[Sequence[Circuit]] = []
    for member in node.members:
        try:
            members.append(named_members(member.name.text, member.name.span, member.values, circuits))
        except SpecError as error:
            findings.extend(error.findings)
    if findings:
        raise SpecError(findings)
    compared = [circuit for chosen in members for circuit in chosen]
    if all(members) and len(compared) < 2 and all(circuit.into is None for circuit in compared):
        raise SpecError(Finding("E118", "one circuit has nothing to be compared with", node.span, "", "name another"))
    return [circuit.id for circuit in compared] if all(members) else None


def expectation(
    node: syntax.Expect, circuits: Circuits, edits: Edits, scope: Scope, keep: Callable[[PlacedImages], str]
) -> Expectation | None:
    """Resolve an expect statement; None where what it names has errors. `keep` keeps an image set, and returns its name
    in the plan. Raises SpecError."""
    measure = node.measure
    name, metric = _name_and_metric(measure, {*circuits, *edits})
    if name in edits and name not in circuits:
        return edit_expectation(node, name, metric, edits[name], scope, keep)
    if measure.feature is not None:
        message, label = f"'{name}' is no edit", "a target in brackets is one that an edit measures"
        raise SpecError(Finding("E115", message, measure.span, label, did_you_mean(name, edits)))
    chosen = named_members(name, measure.name.span, measure.values, circuits, edits)
    also = {other for circuit in chosen for other in circuit.also}
    key, bare = _key(metric, scope, also)
    if not key:
        concepts = any(isinstance(circuit.target, Concept) for circuit in chosen)
        known = [*COUNTS, IMAGES, *scope.vocabulary.metrics, *(PROBED if concepts else ())]
        tested = sorted({f"{choice.name}.p" for circuit in chosen for choice in circuit.tests})
        label = f"measured are {listing([*sorted(known), *tested], limit=20)}"
        label = label if metric else "which number of it is missing"
        cure = did_you_mean(bare, [*known, *ALIASES], f"as {name}.pearson")
        if bare in known:
            # A metric as it is called: the mistake is in what stands before it.
            cure = did_you_mean(metric, [f"{sample}.{bare}" for sample in (*SAMPLES, *sorted(also))], cure)
        if metric in scope.vocabulary.tests:
            cure = f"write {name}.{metric}.p"
        raise SpecError(Finding("E116", f"unknown measurement '{metric}'", measure.span, label, cure))
    if key.startswith("contrast.") and not all(circuit.contrast for circuit in chosen):
        label, cure = f"'{name}' isn't contrasted with anything", f"add contrast=IMAGES where {name} is preserved"
        raise SpecError(Finding("E116", f"unknown measurement '{metric}'", measure.span, label, cure))
    other = key.removeprefix(f"{ALSO}.").rpartition(f".{bare}")[0] if key.startswith(f"{ALSO}.") else ""
    if other and not all(other in circuit.also for circuit in chosen):
        label, cure = f"'{name}' isn't measured on {other}", f"add also={other} where {name} is preserved"
        raise SpecError(Finding("E116", f"unknown measurement '{metric}'", measure.span, label, cure))
    way = key.removeprefix(f"{ROBUST}.").partition(".")[0] if key.startswith(f"{ROBUST}.") else ""
    if way and not all(way in (circuit.robust or ()) for circuit in chosen):
        label, cure = f"'{name}' isn't measured under {way}", f"add robust={way} where {name} is preserved"
        raise SpecError(Finding("E116", f"unknown measurement '{metric}'", measure.span, label, cure))
    if key.startswith(f"{TESTS}.") and not all(bare in map(_name, circuit.tests) for circuit in chosen):
        label, cure = f"'{name}' isn't tested for {bare}", f"add tests={bare} where {name} is preserved"
        raise SpecError(Finding("E116", f"unknown measurement '{metric}'", measure.span, label, cure))
    if key.startswith(f"{CLASS}.") and not all(isinstance(circuit.target, ClassOutput) for circuit in chosen):
        label, cure = f"the target of '{name}' is not a class", "preserve class(NUMBER)"
        raise SpecError(Finding("E116", f"unknown measurement '{metric}'", measure.span, label, cure))
    if key in PROBED and not all(isinstance(circuit.target, Concept) for circuit in chosen):
        label, cure = f"the target of '{name}' is not a concept", "preserve concept(IMAGES against IMAGES) in LAYER"
        raise SpecError(Finding("E116", f"unknown measurement '{metric}'", measure.span, label, cure))
    declaration = scope.vocabulary.metrics.get(bare) or scope.vocabulary.tests.get(bare)
    usual = better(declaration.options) if declaration else "<="
    relation(node.relation, (usual, ">=" if usual == "<=" else "<="), node, f"{name}.{metric}{usual}0.9")
    if not chosen:
        return None
    return Expectation([circuit.id for circuit in chosen], key, _side(node), number(node.value))


def edit_expectation(
    node: syntax.Expect,
    name: str,
    metric: str,
    edit: Edit | None,
    scope: Scope,
    keep: Callable[[PlacedImages], str],
) -> Expectation | None:
    """Resolve an expect statement about an edit; None where that has errors. Raises SpecError."""
    measure = node.measure
    if measure.values:
        message, cure = f"'{name}' has no members", f"write {name}.METRIC, or the target: {name}[conv5:34].METRIC"
        raise SpecError(Finding("E117", message, measure.span, "it is an edit", cure))
    placed = targets(measure.feature, scope) if measure.feature is not None else None
    if edit is None or (measure.feature is not None and placed is None):
        return None
    metric = ".".join(ALIASES.get(part, part) for part in metric.split("."))
    known = {str(target) for target in edit.measure}
    about = [str(registered(one, keep).target) for one in placed or ()]
    if measure.feature is not None and (len(about) != 1 or about[0] not in known):
        label = f"'{name}' measures {listing(sorted(known) or ['classes alone'])}"
        text = measure.feature.span.text
        cure = f"add {text} to what it measures"
        raise SpecError(Finding("E116", f"'{name}' doesn't measure '{text}'", measure.feature.span, label, cure))
    own = edit_measures(scope.vocabulary.metrics)
    if not about and metric in (IMAGES, *(CLASS_MEASURES if edit.classes else ())):
        key = metric
    elif metric in own and (about or len(known) == 1):
        key = f"{about[0] if about else next(iter(known))}.{metric}"
    else:
        label = f"measured of a target are {listing([*MEANS, CHANGE, *sorted(scope.vocabulary.metrics)])}"
        cure = did_you_mean(metric, [*own, *CLASS_MEASURES])
        if metric in own:
            label, cure = (
                f"'{name}' measures {len(known)} targets",
                f"say which: {name}[{sorted(known)[0]}].{metric}" if known else "measure a target",
            )
        elif metric in CLASS_MEASURES:
            label, cure = f"'{name}' doesn't measure classes", "add classes to what it measures"
        raise SpecError(Finding("E116", f"unknown measurement '{metric}'", measure.span, label, cure))
    relation(node.relation, ("<=", ">="), node, f"{name}[conv5:34].change<=-0.5")
    return Expectation([], key, _side(node), number(node.value), name)


def edit_measures(metrics: Collection[str]) -> list[str]:
    """Return what is measured of a target in an edited network, with the ends of intervals."""
    bounded = [CHANGE, *metrics]
    return [*MEANS, *bounded, *(f"{measure}.{end}" for measure in bounded for end in ENDS)]


def _side(node: syntax.Expect) -> Literal["<=", ">="]:
    return "<=" if node.relation == "<=" else ">="


def _key(metric: str, scope: Scope, also: Collection[str]) -> tuple[str, str]:
    """The key of metrics.json that is meant, empty where there is none, and the name in it of what is measured.

    `also` are the image sets that any of the circuits is measured on besides.
    """
    sample, _, rest = metric.rpartition(".")
    end = ""
    if rest in ENDS and sample:
        sample, _, rest, end = *sample.rpartition("."), f".{rest}"
    bare = ALIASES.get(rest, rest)
    if bare in (*COUNTS, *PROBED) and not sample and not end:
        return bare, bare
    if rest in OUTCOMES and sample in scope.vocabulary.tests and not end:
        return f"{TESTS}.{sample}.{rest}", sample
    if sample == CLASS and rest in CLASSIFIED and not end:
        return f"{CLASS}.{rest}", rest
    images = bare == IMAGES or bool(end)
    if sample not in SAMPLES and (sample in also or sample.startswith(f"{ALSO}.")):
        sample = f"{ALSO}.{sample.removeprefix(f'{ALSO}.')}"
    known = sample in ("", *(PICTURES if images else SAMPLES)) or sample.startswith(f"{ALSO}.")
    known = known or sample in (f"{ROBUST}.{way}" for way in PRESERVE[ROBUST].words)
    known = known and not (bare == IMAGES and end)
    there = bare == IMAGES or bare in scope.vocabulary.metrics
    return (f"{sample or 'test'}.{bare}{end}" if known and there else ""), bare


def _name(choice: Choice) -> str:
    return choice.name


def _name_and_metric(measure: syntax.Measure, circuits: Collection[str]) -> tuple[str, str]:
    """`face.train.pearson` as `face` and `train.pearson`: the longest part that is a name of a circuit or an edit."""
    if measure.suffix:
        return measure.name.text, measure.suffix.removeprefix(".")
    parts = measure.name.text.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in circuits:
            return ".".join(parts[:length]), ".".join(parts[length:])
    return parts[0], ".".join(parts[1:])


def named_members(
    name: str, span: Span, values: tuple[syntax.Keyword, ...], circuits: Circuits, edits: Collection[str] = ()
) -> Sequence[Circuit]:
    """Return the circuits of a name that have all of these values; none if its definition has errors."""
    if name not in circuits:
        known = sorted(circuits)
        label = f"circuits with a name: {listing(known)}" if known else "no circuit has a name"
        cure = did_you_mean(name, [*known, *edits], f"name one: circuit {name} = preserve ...")
        raise SpecError(Finding("E115", f"unknown circuit '{name}'", span, label, cure))
    chosen = circuits[name]
    for keyword in values:
        word, wanted = ALIASES.get(keyword.name.text, keyword.name.text), spell(keyword.value)
        there = sorted({circuit.values.get(word, "") for circuit in circuits[name]} - {""})
        if not circuits[name]:
            return ()
        if not there:
            words = sorted({value for circuit in circuits[name] for value in circuit.values})
            label = f"its members differ in {listing(words)}" if words else "it has no members"
            cure = did_you_mean(word, words)
            raise SpecError(Finding("E117", f"'{name}' has no members by '{word}'", keyword.name.span, label, cure))
        chosen = [circuit for circuit in chosen if circuit.values.get(word) == wanted]
        if wanted not in there or not chosen:
            message = f"'{name}' has no member with {word}={wanted}"
            raise SpecError(Finding("E117", message, keyword.span, f"there are {listing(there)}"))
    return chosen
