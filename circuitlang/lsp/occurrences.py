"""Occurrences of names: where each is defined and used, in a file and in others that include it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pygls.uris import from_fs_path

from circuitlang.base.diagnostics import CircuitError
from circuitlang.base.source import Span, resolved
from circuitlang.compiler import syntax
from circuitlang.lsp.documents import Documents, to_path
from circuitlang.lsp.names import Definition, Kind, definitions, measured_of
from circuitlang.lsp.tree import walk
from circuitlang.plan.clauses import EDIT, PRESERVE

# Entries of folders that are looked at in search of specs.
_ENTRIES = 20_000

# Clauses whose values are circuits, and image sets.
_OF_CIRCUITS = {name for name, clause in PRESERVE.items() if clause.kind == "circuit"}
_OF_IMAGES = {name for table in (PRESERVE, EDIT) for name, clause in table.items() if clause.of_images}

Key = tuple[Kind, Path, int]


class Occurrence(NamedTuple):
    """A name in a text, without its namespace, and the definition that it stands for."""

    definition: Definition
    span: Span

    @property
    def key(self) -> Key:
        """The file and the place of the definition."""
        node = self.definition.node
        return self.definition.kind, resolved(Path(node.span.source.name)), node.span.start

    @property
    def is_definition(self) -> bool:
        """Position in the definition itself."""
        return self.span == self.definition.node.name.span


def occurrences(file: syntax.File) -> Iterator[Occurrence]:
    """Yield the names in a file whose definitions are known, in no order."""
    known: dict[tuple[Kind, str], Definition] = {}
    for entry in definitions(file):
        known.setdefault((entry.kind, entry.name), entry)
        if entry.file is file:
            yield Occurrence(entry, entry.node.name.span)
    for kind, name, span in _uses(file):
        definition = known.get((kind, name))
        if definition is not None:
            last = name.rpartition(".")[2] if kind not in ("circuit", "edit") else name
            yield Occurrence(definition, Span(span.source, span.start + len(name) - len(last), span.start + len(name)))


def _uses(file: syntax.File) -> Iterator[tuple[Kind, str, Span]]:
    for node in (node for statement in file.statements for node in walk(statement)):
        match node:
            case syntax.Selection(value=value, excluded=excluded):
                yield from (("images", name.text, name.span) for name in _names(value))
                yield from (("images", name.text, name.span) for name in (_names(excluded) if excluded else ()))
            case syntax.Clause(name=name, value=value) if name.text in _OF_IMAGES:
                yield from (("images", name.text, name.span) for name in _names(value))
            case syntax.Clause(name=name, value=value) if name.text in _OF_CIRCUITS:
                yield from (("circuit", name.text, name.span) for name in _names(value))
            case syntax.Term(of=syntax.Name(text=text, span=span)):
                yield "target", text, span
            case syntax.Member(name=name):
                yield "circuit", name.text, name.span
            case syntax.Measure(name=name):
                kind, part = measured_of(file, name.text)
                yield kind, part, Span(name.span.source, name.span.start, name.span.start + len(part))


def _names(value: syntax.Value) -> Iterator[syntax.Name]:
    """Yield the names that stand for image sets in a value, also those of a list or of `each`."""
    match value:
        case syntax.Name():
            yield value
        case syntax.List(items=items):
            for item in items:
                yield from _names(item)
        case syntax.Call(arguments=arguments):
            for argument in arguments:
                if not isinstance(argument, syntax.Keyword):
                    yield from _names(argument)


def occurrence_at(file: syntax.File, offset: int) -> Occurrence | None:
    """Return the name at a place of a file."""
    return next((name for name in occurrences(file) if name.span.start <= offset <= name.span.end), None)


def everywhere(key: Key, documents: Documents, folders: tuple[Path, ...]) -> Iterator[tuple[str, Occurrence]]:
    """Yield the occurrences of a definition in buffers and in the specs of folders, with the URI of each file."""
    beside = (key[1].parent,) if key[1].is_file() else ()
    for uri in spec_uris(documents, (*beside, *folders)):
        with suppress(CircuitError):
            file = documents.analysis(uri).file
            yield from ((uri, name) for name in occurrences(file) if name.key == key)


def spec_uris(documents: Documents, folders: tuple[Path, ...]) -> list[str]:
    """Return the URIs of buffers, and of the specs in folders, each file once."""
    uris = {_place(uri): uri for uri in documents.uris}
    for folder in folders:
        for path in _specs(folder):
            uri = from_fs_path(str(path.absolute()))
            if uri:
                uris.setdefault(_place(uri), uri)
    return list(uris.values())


def _place(uri: str) -> Path | str:
    path = to_path(uri)
    return uri if path is None else resolved(path)


def _specs(folder: Path) -> Iterator[Path]:
    """Yield the visible specs below a folder, as long as it isn't too large to look through."""
    count = 0
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in files if name.endswith(".circuit") and not name.startswith("."))
        count += len(folders) + len(files)
        if count > _ENTRIES:
            return
