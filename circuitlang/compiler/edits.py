"""Words → edits: the part of the network, what is done to it, and the features that are measured."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from circuitlang.base.diagnostics import Finding, SpecError, did_you_mean, listing
from circuitlang.base.source import Span
from circuitlang.compiler import syntax
from circuitlang.compiler.clauses import read_clauses
from circuitlang.compiler.concepts import registered
from circuitlang.compiler.image_sets import selection
from circuitlang.compiler.limits import MOST, too_many
from circuitlang.compiler.naming import LONGEST
from circuitlang.compiler.placed import PlacedImages, PlacedTarget
from circuitlang.compiler.references import Circuits, named_members
from circuitlang.compiler.scope import Scope
from circuitlang.compiler.targets import targets, units
from circuitlang.plan.clauses import EDIT, PRESERVE
from circuitlang.plan.edits import IMAGE, Edit, Edited, OfChannels, OfCircuit, OfKernel
from circuitlang.plan.labels import Labels
from circuitlang.plan.model import Key

# The word for the table of classes among what is measured.
CLASSES = "classes"
Spans = dict[Key, Span]
# The usual words for clauses.
_SHORT = {clause.name: clause.alias for clause in PRESERVE.values() if clause.alias}


class EditReader:
    """Reader of edit statements.

    Args:
        circuits: The circuits with a name.
        labels: The groups that may be edited.
        keep: Keeps an image set, and returns its name in the plan.
        scope: The names of the file, and its findings.
    """

    def __init__(
        self, circuits: Circuits, labels: Labels | None, keep: Callable[[PlacedImages], str], scope: Scope
    ) -> None:
        self._circuits, self._labels, self._keep, self._scope = circuits, labels or Labels(), keep, scope

    def read(self, node: syntax.Edit) -> tuple[Edit, Spans] | None:
        """Return an edit, and where its parts were written; None where it, or what it names, has errors."""
        findings = self._scope.findings
        before = findings.count
        images = findings.attempt(lambda: selection(node.images, self._scope))
        spans: Spans = {(): node.span}
        of = findings.attempt(lambda: self._of(node.of, spans))
        clauses = read_clauses(node.clauses, EDIT, self._scope)
        if not clauses.has_errors:
            findings.attempt(lambda: _one_of(node, clauses.values))
        measured, table = self._measured(node, spans)
        patch = clauses.values.get("patch")
        if findings.count > before or images is None or of is None or measured is None:
            return None
        if "patch" in clauses.values and patch is None:
            return None
        text = node.span.text
        edit = Edit(
            name=node.name.text,
            of=of,
            scale=clauses.values.get("scale"),
            patch=self._keep(patch) if patch is not None else None,
            images=self._keep(images),
            measure=measured,
            classes=table,
            statement=text if len(text) <= LONGEST else f"{text[:LONGEST]}…",
        )
        return edit, spans

    def _of(self, node: syntax.Node, spans: Spans) -> Edited | None:
        """Return the part that is edited; None if a circuit that it names has errors. Raises SpecError."""
        match node:
            case syntax.String():
                return self._group(node, spans)
            case syntax.Target():
                return self._channels(node, spans)
            case syntax.Kernel():
                return self._kernel(node, spans)
        assert isinstance(node, syntax.Member)
        spans["of",] = node.span
        return self._circuit(node)

    def _circuit(self, node: syntax.Member) -> OfCircuit | None:
        name = node.name.text
        if name in self._scope.directions and name not in self._circuits:
            label, cure = "it is a target", "write its channel, as LAYER:CHANNEL"
            raise SpecError(Finding("E217", f"'{name}' can't be edited", node.span, label, cure))
        chosen = named_members(name, node.name.span, node.values, self._circuits)
        if len(chosen) > 1:
            values = next(circuit.values for circuit in chosen)
            differs = ", ".join(f"{_SHORT.get(word, word)}={value}" for word, value in values.items())
            label, cure = f"'{name}' stands for {len(chosen)}", f"write which, as {name}[{differs}]"
            raise SpecError(Finding("E217", "an edit is of one circuit", node.span, label, cure))
        if not chosen:
            return None
        if chosen[0].into is not None:
            label, cure = f"'{name}' is a split", "preserve the target on the images of a part, and name that circuit"
            raise SpecError(Finding("E217", "an edit is of one circuit", node.span, label, cure))
        return OfCircuit(chosen[0].id)

    def _group(self, node: syntax.String, spans: Spans) -> OfChannels:
        known = {group.name: group for group in self._labels.groups}
        spans["of",] = spans["of", "layer"] = spans["of", "unit"] = node.span
        if node.text not in known:
            label = f"groups: {listing(sorted(known))}" if known else "no group is defined"
            cure = did_you_mean(node.text, known, f'define it: group "{node.text}" = LAYER:[CHANNEL, CHANNEL]')
            raise SpecError(Finding("E131", f"unknown group '{node.text}'", node.span, label, cure))
        group = known[node.text]
        return OfChannels(group.layer, group.units, group.name)

    def _channels(self, node: syntax.Target, spans: Spans) -> OfChannels:
        spans.update({("of",): node.span, ("of", "layer"): node.layer.span, ("of", "unit"): node.unit.span})
        layer, numbers = self._units(node, "channels are edited wherever they respond")
        return OfChannels(layer, numbers)

    def _kernel(self, node: syntax.Kernel, spans: Spans) -> OfKernel:
        spans["of",] = spans["of", "layer"] = spans["of", "unit"] = node.span
        ends: list[tuple[str, int]] = []
        for end in (node.target, node.source):
            if isinstance(end.unit, syntax.Number):
                layer, numbers = self._units(end, "a kernel is edited at every position", end is node.source)
                ends.append((layer, numbers[0]))
                continue
            message, cure = "a kernel has one channel at either end", "as conv3:5 <- conv2:7"
            raise SpecError(Finding("E202", message, end.unit.span, "", cure))
        return OfKernel(*ends[0], *ends[1])

    def _units(self, node: syntax.Target, everywhere: str, source: bool = False) -> tuple[str, list[int]]:
        """Return the layer and the channels of a target; the source of a kernel may be the image."""
        if node.position is not None:
            cure = f"write {node.layer.span.text}:{node.unit.span.text}"
            raise SpecError(Finding("E202", everywhere, node.span, "", cure))
        if "*" in node.layer.text:
            raise SpecError(Finding("E202", "an edit is of one layer", node.layer.span, "", "as conv4:[3, 8]"))
        known = self._scope.layers.widths if self._scope.layers else {}
        if source and node.layer.text == IMAGE and IMAGE not in known:
            # The engine knows the number of channels of an image.
            return units(node, self._scope, named=False)
        return units(node, self._scope)

    def _measured(self, node: syntax.Edit, spans: Spans) -> tuple[list[Any] | None, bool]:
        """Return the targets that are measured, None if one has errors, and whether the table of classes is."""
        measured: dict[str, PlacedTarget] = {}
        table, whole = False, True
        for feature in node.measured:
            if _is_classes(feature, self._scope):
                table = True
                continue
            placed = self._scope.findings.attempt(partial(targets, feature, self._scope))
            whole = whole and placed is not None
            for target in (registered(one, self._keep) for one in placed or ()):
                if str(target.target) in measured:
                    message = f"'{target.target}' is measured twice"
                    self._scope.findings.add("E206", message, feature.span, "the second time")
                measured[str(target.target)] = target
            if len(measured) > MOST:
                self._scope.findings.extend(too_many(feature.span, f"{len(measured):,} targets").findings)
                return None, table
        for number, (_, layer, unit, _) in enumerate(measured.values()):
            spans["measure", str(number), "layer"], spans["measure", str(number), "unit"] = layer, unit
        return [one.target for one in measured.values()] if whole else None, table


def _is_classes(feature: syntax.Feature, scope: Scope) -> bool:
    (first, *more) = feature.terms
    plain = not more and first.coefficient is None and not first.negative
    return plain and isinstance(first.of, syntax.Name) and first.of.text == CLASSES and CLASSES not in scope.directions


def _one_of(node: syntax.Edit, values: dict[str, Any]) -> None:
    """Raise SpecError unless an edit says one of what can be done."""
    if len(values) == 1:
        return
    message = "'scale' and 'patch' exclude each other" if values else "an edit says what is done"
    label = "both are there" if values else "scale or patch is missing"
    cure = "leave one of them out" if values else "add scale=0, which removes it, or patch=IMAGES"
    raise SpecError(Finding("E216", message, node.span, label, cure))
