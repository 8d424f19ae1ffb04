"""Words → concepts: `concept(images/snouts/* against images/*/*, penalty=1) in conv5`."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from circuitlang.base.diagnostics import Finding, SpecError, did_you_mean, listing
from circuitlang.base.source import Span
from circuitlang.compiler import syntax, values
from circuitlang.compiler.image_sets import selection
from circuitlang.compiler.placed import PlacedImages, PlacedTarget
from circuitlang.compiler.scope import Scope
from circuitlang.plan.targets import PENALTY, Concept, Position

_EXAMPLE = "as concept(dogs against cats) in conv5"
_WORDS = ("penalty",)


def concept(node: syntax.Concept, place: Span, layer: str, at: Position, scope: Scope) -> PlacedTarget | None:
    """Return a concept in a layer, which was written at a place; None if a set of it has errors. Raises SpecError.

    The names of its image sets are those of the spec, until `registered` gives it those of the plan.
    """
    if node.name.text != "concept":
        cure = did_you_mean(node.name.text, ["concept"], _EXAMPLE)
        raise SpecError(Finding("E134", f"'{node.name.text}' is no direction", node.name.span, "", cure))
    penalty = _penalty(node)
    images, against = selection(node.sets.images, scope), selection(node.sets.against, scope)
    if images is None or against is None:
        return None
    if images.images == against.images:
        message, label = "a concept has two different image sets", "these are the same images"
        raise SpecError(Finding("E135", message, node.sets.span, label, "name others behind 'against'"))
    target = Concept(layer, images.name, against.name, penalty, at)
    return PlacedTarget(target, place, node.span, (images, against))


def registered(placed: PlacedTarget, keep: Callable[[PlacedImages], str]) -> PlacedTarget:
    """Return a target with the names that its image sets have in the plan; `keep` keeps a set and returns its name."""
    if not isinstance(placed.target, Concept):
        return placed
    images, against = map(keep, placed.sets)
    return placed._replace(target=replace(placed.target, images=images, against=against))


def incomplete(call: syntax.Call) -> SpecError:
    """Return the error about a concept that says nothing behind `against`."""
    label = "which images it is told from is missing"
    return SpecError(Finding("E134", "a concept is of images against others", call.span, label, _EXAMPLE))


def unplaced(node: syntax.Concept) -> SpecError:
    """Return the error about a concept without a layer."""
    cure = f"write {node.span.text} in LAYER"
    return SpecError(Finding("E134", "a concept is one of a layer", node.span, "", cure))


def _penalty(node: syntax.Concept) -> float:
    penalty, seen = PENALTY, False
    for keyword in node.words:
        word = keyword.name.text
        if word not in _WORDS:
            cure = did_you_mean(word, _WORDS, f"there is {listing(_WORDS)}")
            raise SpecError(Finding("E134", f"a concept has no '{word}'", keyword.name.span, "", cure))
        if seen:
            raise SpecError(Finding("E134", "a concept has one penalty", keyword.span, "the second"))
        penalty, seen = values.number(keyword.value), True
        if penalty <= 0:
            cure = "without a penalty a probe that tells all images apart has no end: give a number above 0"
            raise SpecError(Finding("E134", "the penalty is above 0", keyword.value.span, "", cure))
    return penalty
