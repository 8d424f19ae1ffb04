"""Words → targets: channels, positions, directions and classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from circuitlang.base.diagnostics import Finding, SpecError, did_you_mean, listing
from circuitlang.compiler import syntax, values
from circuitlang.compiler.concepts import concept, incomplete, unplaced
from circuitlang.compiler.limits import MOST, too_many
from circuitlang.compiler.placed import PlacedTarget
from circuitlang.compiler.scope import Scope
from circuitlang.plan.layers import refused_target
from circuitlang.plan.targets import Channel, ClassOutput, ClassSum, ClassTerm, Direction, Joint, Position, Target, Term

# The targets of several channels of a layer, `LAYER:WORD(CHANNEL, ...)`, by their words.
_SEVERAL: Mapping[str, Callable[[str, list[int], Position], Target]] = {"joint": Joint}


def targets(feature: syntax.Feature, scope: Scope) -> list[PlacedTarget] | None:
    """Return the targets of a feature, one for each circuit it stands for; None if a name that it uses has errors.

    Raises SpecError.
    """
    (first, *more) = feature.terms
    if more or first.coefficient or first.negative:
        return [_combination(feature, scope)]
    match first.of:
        case syntax.Target() as target:
            return list(_channels(target, scope))
        case syntax.Located() as located:
            return _located(located, scope)
        case syntax.Concept() as learned:
            raise unplaced(learned)
        case syntax.Call() as call:
            return [_class(call)]
        case syntax.Name(text=name) as node:
            if name not in scope.directions and scope.may_be_defined_elsewhere(name):
                return None
            if name not in scope.directions:
                known = sorted(scope.directions)
                cure = did_you_mean(name, known, f"a channel is written LAYER:CHANNEL, as {name}:0")
                layer, _, unit = name.rpartition(".")
                if layer and unit.isdecimal():
                    cure = f"write {layer}:{unit}"
                if name in scope.circuits:
                    cure = f"'{name}' is a circuit: name its target, or define target NAME = LAYER:CHANNEL for both"
                    cure += f"; within={name} finds a part of it"
                label = f"targets: {listing(known)}" if known else "no target is defined"
                raise SpecError(Finding("E112", f"unknown target '{name}'", node.span, label, cure))
            target_of = scope.directions[name]
            return None if target_of is None else [target_of]


def units(node: syntax.Target, scope: Scope, *, named: bool = True) -> tuple[str, list[int]]:
    """Return the layer and the channels that a target stands for; `named`, the layer is one of the network's. Raises
    SpecError."""
    layer = _layer(node, scope) if named else node.layer.text
    return layer, list(_selected(node.unit, layer, scope))


def _channels(node: syntax.Target, scope: Scope) -> Iterator[PlacedTarget]:
    position = _position(node.position)
    for layer in _layers(node, scope):
        yield from _channels_of(node, layer, position, scope)


def _channels_of(node: syntax.Target, layer: str, position: Position, scope: Scope) -> Iterator[PlacedTarget]:
    unit = node.unit
    if isinstance(unit, syntax.Call) and (several := _SEVERAL.get(unit.name.text)):
        units = list(
            _units([argument for argument in unit.arguments if not isinstance(argument, syntax.Keyword)], layer, scope)
        )
        if len(units) < 2:
            word = unit.name.text
            cure = f"as {layer}:{word}(3, 7)"
            raise SpecError(Finding("E214", f"{word} takes two channels or more", unit.span, "", cure))
        yield PlacedTarget(several(layer, units, position), node.layer.span, unit.span)
        return
    for number in _selected(unit, layer, scope):
        yield PlacedTarget(Channel(layer, number, position), node.layer.span, unit.span)


def _selected(
    unit: syntax.Number | syntax.List | syntax.Call | syntax.Every, layer: str, scope: Scope
) -> Iterator[int]:
    match unit:
        case syntax.Number():
            return _units([unit], layer, scope)
        case syntax.List(items=items):
            return _units(list(items), layer, scope)
        case syntax.Call(name=syntax.Name(text="each"), arguments=arguments):
            return _units(
                [argument for argument in arguments if not isinstance(argument, syntax.Keyword)], layer, scope
            )
        case syntax.Every():
            if scope.layers is None:
                cure = "run `circuitlang check --deep` once, or list them as [0..63]"
                raise SpecError(Finding("E114", f"how many channels {layer} has isn't known yet", unit.span, "", cure))
            width = scope.layers.widths.get(layer, 0)
            if width > MOST:
                raise too_many(unit.span, f"{width:,} channels")
            return iter(range(width))
    cure = did_you_mean(unit.name.text, [*_SEVERAL, "each"], f"as {layer}:34 or {layer}:joint(3, 7)")
    raise SpecError(Finding("E202", "expected a channel", unit.span, "a number, a list or joint(...)", cure))


def _units(nodes: list[syntax.Value], layer: str, scope: Scope) -> Iterator[int]:
    seen: set[int] = set()
    count = 0
    width = scope.layers.widths.get(layer) if scope.layers else None
    for node in nodes:
        numbers = _range(node) if isinstance(node, syntax.Range) else [values.whole(node, 0)]
        if width is not None and numbers[-1] >= width:
            message, label = f"{layer} has no channel {max(width, numbers[0])}", f"its channels are 0 to {width - 1}"
            raise SpecError(Finding("E111", message, node.span, label))
        # Counted before they are listed.
        count += numbers[-1] - numbers[0] + 1
        if count > MOST:
            raise too_many(node.span, f"{count:,} channels")
        for number in numbers:
            if number in seen:
                raise SpecError(Finding("E213", f"channel {number} is listed twice", node.span))
            seen.add(number)
            yield number


def _range(node: syntax.Range) -> range:
    first, last = values.whole(node.first, 0), values.whole(node.last, 0)
    if first > last:
        cure = f"write {last}..{first}"
        raise SpecError(Finding("E203", "the range is empty", node.span, "its end comes before its beginning", cure))
    return range(first, last + 1)


def _layers(node: syntax.Target, scope: Scope) -> list[str]:
    """The layer of a target, or those that a pattern matches: layers with kernels, in the order of the network."""
    pattern = node.layer.text
    if "*" not in pattern:
        return [_layer(node, scope)]
    known = scope.layers if scope.layers and scope.layers.modules else None
    if known is None:
        cure = "run `circuitlang layers MODEL` once, with the model's name, or list them"
        raise SpecError(Finding("E114", f"which layers '{pattern}' matches isn't known yet", node.layer.span, "", cure))
    by_path = [module.path for module in known.modules if module.layer and fnmatchcase(module.path, pattern)]
    # `*` alone and `conv*` are of short names, which people read more easily; `layer3.*` has none.
    matches = [name for name in known.short if fnmatchcase(name, pattern)] or by_path
    if not matches:
        label = f"{scope.model_name} has {listing(known.short)}"
        cure = "`circuitlang layers MODEL` lists them, with their paths"
        raise SpecError(Finding("E102", f"no layer matches '{pattern}'", node.layer.span, label, cure))
    return matches


def _layer(node: syntax.Target, scope: Scope) -> str:
    """The layer's name, where the model was looked at before one that it has; else the engine says it."""
    return _layer_of(node.layer, scope, node.unit.span.text)


def _layer_of(layer: syntax.Name | syntax.String, scope: Scope, unit: str = "0") -> str:
    if scope.layers and layer.text not in scope.layers.widths:
        if reason := scope.layers.refusal(layer.text):
            finding = refused_target(layer.text, reason)
            raise SpecError(replace(finding, span=layer.span))
        label = f"{scope.model_name} has {listing(scope.layers.short)}"
        cure = did_you_mean(layer.text, scope.layers.widths, "`circuitlang layers MODEL` lists them")
        if layer.text == "class":
            cure = f"write class({unit})"
        raise SpecError(Finding("E102", f"unknown layer '{layer.text}'", layer.span, label, cure))
    return layer.text


def _position(node: syntax.Position | None) -> Position:
    if node is None:
        return None
    if node.place is not None:
        row, column = node.place
        return values.whole(row, 0), values.whole(column, 0)
    match node.name:
        case syntax.Name(text="center"):
            return "center"
        case syntax.Name(text="max"):
            return "max"
    assert node.name is not None
    cure = did_you_mean(node.name.text, ["center", "max"], "as @center, @max or @(3, 4)")
    raise SpecError(Finding("E212", f"unknown position '{node.name.text}'", node.span, "", cure))


def _located(node: syntax.Located, scope: Scope) -> list[PlacedTarget] | None:
    """Return the directions of a layer that a file holds, or that of a concept; None if a set of it has errors."""
    layer, position = _layer_of(node.layer, scope), _position(node.position)
    if isinstance(node.call, syntax.Concept):
        learned = concept(node.call, node.layer.span, layer, position, scope)
        return None if learned is None else [learned]
    if node.call.name.text == "concept":
        raise incomplete(node.call)
    # Files are read, which most specs have no need of.
    from circuitlang.compiler.vectors import vectors

    width = scope.layers.widths.get(layer) if scope.layers else None
    placed = []
    for vector in vectors(node.call, layer, position):
        if width is not None and vector.channels != width:
            message, label = f"the vector has {vector.channels:,} numbers", f"{layer} has {width:,} channels"
            raise SpecError(Finding("E133", message, node.call.span, label))
        placed.append(PlacedTarget(vector, node.layer.span, node.call.span))
    return placed


def _class(call: syntax.Call) -> PlacedTarget:
    if call.name.text == "vector":
        cure = f"write {call.span.text} in LAYER"
        raise SpecError(Finding("E133", "a vector is one of a layer", call.span, "", cure))
    if call.name.text == "concept":
        raise incomplete(call)
    if call.name.text != "class":
        cure = did_you_mean(call.name.text, ["class"], "as class(207)")
        if len(call.arguments) == 1 and isinstance(call.arguments[0], syntax.Number):
            cure = cure if cure.startswith("did") else f"write {call.name.text}:{call.arguments[0].text}"
        raise SpecError(Finding("E112", f"unknown target '{call.name.text}(...)'", call.name.span, "", cure))
    match call.arguments:
        case (syntax.Number() as label,):
            return PlacedTarget(ClassOutput(values.whole(label, 0)), call.name.span, label.span)
        case (syntax.String() as label,):
            return PlacedTarget(ClassOutput(label.text), call.name.span, label.span)
    cure = 'as class(207) or class("golden retriever")'
    raise SpecError(Finding("E202", "expected one class", call.span, "its number, or its name in quotes", cure))


def _class_sum(feature: syntax.Feature) -> PlacedTarget:
    """A sum of the outputs for classes."""
    terms: dict[int | str, float] = {}
    for term in feature.terms:
        if not isinstance(term.of, syntax.Call):
            message = "a combination that begins with a class is one of classes"
            raise SpecError(Finding("E215", message, term.of.span, "", 'as class("beagle") - class("tabby")'))
        target = _class(term.of).target
        assert isinstance(target, ClassOutput)
        if target.label in terms:
            raise SpecError(Finding("E213", f"{target} is listed twice", term.span))
        terms[target.label] = _times(term, "class")
    span = feature.span
    return PlacedTarget(ClassSum([ClassTerm(label, times) for label, times in terms.items()]), span, span)


def _times(term: syntax.Term, noun: str) -> float:
    """Return the coefficient of a term. Raises SpecError if it is 0."""
    factor = 1.0 if term.coefficient is None else values.number(term.coefficient)
    if factor == 0:
        raise SpecError(Finding("E203", f"a {noun} times nothing", term.span, "a coefficient other than 0"))
    return -factor if term.negative else factor


def _combination(feature: syntax.Feature, scope: Scope) -> PlacedTarget:
    """A sum of channels of one layer, at one position."""
    if isinstance(feature.terms[0].of, syntax.Call):
        return _class_sum(feature)
    terms: dict[int, float] = {}
    of: list[tuple[str, Position]] = []
    for term in feature.terms:
        single = isinstance(term.of, syntax.Target) and "*" not in term.of.layer.text
        if not single or not isinstance(term.of, syntax.Target) or not isinstance(term.of.unit, syntax.Number):
            message = "a combination is one of single channels"
            raise SpecError(Finding("E215", message, term.of.span, "", "as 0.7*conv5:34 - 0.3*conv5:12"))
        layer, position = _layer(term.of, scope), _position(term.of.position)
        (unit,) = _units([term.of.unit], layer, scope)
        of.append((layer, position))
        if of[0] != (layer, position):
            message = "a combination lies within one layer, at one position"
            first = feature.terms[0].of.span.text
            raise SpecError(Finding("E215", message, term.of.span, f"this is not where {first} is"))
        if unit in terms:
            raise SpecError(Finding("E213", f"channel {unit} is listed twice", term.span))
        terms[unit] = _times(term, "channel")
    first_target = feature.terms[0].of
    assert isinstance(first_target, syntax.Target)
    layer, position = of[0]
    target = Direction(layer, [Term(unit, times) for unit, times in terms.items()], position)
    return PlacedTarget(target, first_target.layer.span, feature.span)
