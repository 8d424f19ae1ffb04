"""Words → labels and groups of channels, from the statements of a file, its file of labels and included files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import PurePath

from circuitlang.base.diagnostics import Finding, SpecError
from circuitlang.base.printable import is_hidden
from circuitlang.base.source import Span
from circuitlang.compiler import syntax
from circuitlang.compiler.placed import line
from circuitlang.compiler.scope import Scope
from circuitlang.compiler.targets import units
from circuitlang.plan.labels import Group, Label, Labels

# Letters of a label, which stands beside a channel in a drawing.
_LONGEST = 60


def read_labels(file: syntax.File, scope: Scope) -> Labels | None:
    """Return the labels and groups that a file has; None if there are none. Mistakes are added to the scope's."""
    reader = _Reader(scope)
    for statement in _statements(file):
        scope.findings.attempt(partial(reader.read, statement))
    labels = sorted(reader.labels, key=lambda label: (label.layer, label.unit))
    groups = sorted(reader.groups, key=lambda group: group.name)
    return Labels(labels, groups) if labels or groups else None


def _statements(file: syntax.File) -> Iterator[syntax.Label | syntax.Group]:
    yield from (node for node in file.statements if isinstance(node, (syntax.Label, syntax.Group)))
    for inner in (*([file.beside] if file.beside else []), *file.included.values()):
        yield from _statements(inner)


class _Reader:
    def __init__(self, scope: Scope) -> None:
        self.labels: list[Label] = []
        self.groups: list[Group] = []
        self._scope = scope
        # The places of what is there already: of labels and groups of channels, and of names of groups.
        self._seen: dict[tuple[str, str, int], Span] = {}
        self._paths = {module.layer: module.path for module in scope.layers.modules} if scope.layers else {}

    def read(self, node: syntax.Label | syntax.Group) -> None:
        """Read a statement. Raises SpecError."""
        text, file = self._text(node), PurePath(node.span.source.name).name
        layer, numbers = self._units(node)
        if isinstance(node, syntax.Label):
            self._once("label", f"{layer}:{numbers[0]} has a label already", layer, numbers[0], node.target.span)
            self.labels.append(Label(layer, numbers[0], text, file))
            return
        self._once("name", f"the group '{text}' is defined twice", text, 0, node.text.span)
        for number in numbers:
            self._once("group", f"{layer}:{number} is in a group already", layer, number, node.target.span)
        self.groups.append(Group(text, layer, numbers, file))

    def _units(self, node: syntax.Label | syntax.Group) -> tuple[str, list[int]]:
        """Return the layer and the channels of a statement, a single one of a label."""
        target = node.target
        if target.position is not None:
            cure = f"write {target.layer.span.text}:{target.unit.span.text}"
            raise SpecError(Finding("E202", "a label is of a channel, wherever it responds", target.span, "", cure))
        single = isinstance(node, syntax.Label)
        if isinstance(target.unit, syntax.Number) is not single or isinstance(target.unit, syntax.Call):
            message = "a label is of one channel" if single else "a group has two channels or more"
            example = f"{target.layer.span.text}:3" if single else f"{target.layer.span.text}:[3, 8]"
            raise SpecError(Finding("E202", message, target.unit.span, "", f"as {example}"))
        layer, numbers = units(target, self._scope)
        if len(numbers) < 2 and not single:
            cure = "name a single channel by a label"
            raise SpecError(Finding("E202", "a group has two channels or more", target.unit.span, "", cure))
        return layer, numbers

    def _text(self, node: syntax.Label | syntax.Group) -> str:
        text = node.text.text.strip()
        if not text or any(map(is_hidden, text)) or len(text) > _LONGEST:
            label = "it is empty" if not text else f"it has more than {_LONGEST} letters"
            label = label if len(text) > _LONGEST or not text else "it has characters that can't be seen"
            raise SpecError(Finding("E203", "this can't be a label", node.text.span, label))
        return text

    def _once(self, kind: str, message: str, name: str, number: int, span: Span) -> None:
        """Raise SpecError for a second statement about the same, whichever name of its layer it uses."""
        first = self._seen.setdefault((kind, self._paths.get(name, name), number), span)
        if first is not span:
            cure = "take one of the two away"
            raise SpecError(Finding("E127", message, span, f"{line(first)} says so", cure))
