"""Names that a file defines or includes, and the model that its targets are of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from circuitlang.base.diagnostics import SpecError
from circuitlang.compiler import syntax
from circuitlang.compiler.models import read_model
from circuitlang.pipeline import vocabulary
from circuitlang.plan.layers import Layers
from circuitlang.plan.model import Model

Kind = Literal["images", "target", "circuit", "edit"]
_KINDS: dict[type[syntax.Node], Kind] = {
    syntax.Images: "images",
    syntax.Direction: "target",
    syntax.Circuit: "circuit",
    syntax.Edit: "edit",
}


class Definition(NamedTuple):
    """The definition of a name, as a file writes it: with the namespace of what it includes."""

    kind: Kind
    name: str
    node: syntax.Images | syntax.Direction | syntax.Circuit | syntax.Edit
    file: syntax.File


def definitions(file: syntax.File) -> Iterator[Definition]:
    """Yield the definitions of a file, and of included files those of image sets and targets."""
    for statement in file.statements:
        if isinstance(statement, (syntax.Images, syntax.Direction, syntax.Circuit, syntax.Edit)):
            yield Definition(_KINDS[type(statement)], statement.name.text, statement, file)
        elif isinstance(statement, syntax.Include) and statement in file.included:
            prefix = f"{statement.namespace.text}." if statement.namespace else ""
            for inner in definitions(file.included[statement]):
                if inner.kind not in ("circuit", "edit"):
                    yield inner._replace(name=prefix + inner.name)


def definition(file: syntax.File, kind: Kind, name: str) -> Definition | None:
    """Return the definition of a name of a kind, if there is one."""
    return next((known for known in definitions(file) if (known.kind, known.name) == (kind, name)), None)


def measured_of(file: syntax.File, measure: str) -> tuple[Kind, str]:
    """Return the circuit or edit in `face.train.pearson`: the longest part that is one's name; empty if none is."""
    parts = measure.split(".")
    edits = {statement.name.text for statement in file.statements if isinstance(statement, syntax.Edit)}
    names = edits | {statement.name.text for statement in file.statements if isinstance(statement, syntax.Circuit)}
    beginnings = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    name = next((name for name in beginnings if name in names), "")
    return ("edit" if name in edits else "circuit"), name


def model(file: syntax.File) -> Model | None:
    """Return the model that a file or what it includes names, or else the bundled one; None if it has mistakes."""
    statement = next(_models(file), None)
    known = vocabulary()
    if statement is None:
        return None if "model" in file.broken else known.model
    try:
        return read_model(statement, known)
    except SpecError:
        return None


def layers(file: syntax.File) -> Layers | None:
    """Return the layers of a file's model, if it was loaded before."""
    named = model(file)
    return None if named is None else vocabulary().layers.get(named.key)


def _models(file: syntax.File) -> Iterator[syntax.Model]:
    yield from (statement for statement in file.statements if isinstance(statement, syntax.Model))
    for included in file.included.values():
        yield from _models(included)
