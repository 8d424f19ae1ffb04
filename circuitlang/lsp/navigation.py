"""Navigation: definitions, references and renaming of names, symbols, and links to files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lsprotocol import types
from pygls.uris import from_fs_path

from circuitlang.base.diagnostics import CircuitError, Finding, InputError, reason
from circuitlang.base.source import Span
from circuitlang.compiler import syntax
from circuitlang.lsp.documents import Analysis, Documents
from circuitlang.lsp.last_results import last_results
from circuitlang.lsp.names import definitions
from circuitlang.lsp.occurrences import everywhere, occurrence_at, spec_uris
from circuitlang.lsp.positions import span_range
from circuitlang.lsp.tree import nodes_at, walk

_NAME = re.compile(r"[^\W\d]\w*")
_KINDS = {
    syntax.Model: types.SymbolKind.Module,
    syntax.Images: types.SymbolKind.Array,
    syntax.Direction: types.SymbolKind.Variable,
    syntax.Defaults: types.SymbolKind.Property,
    syntax.Include: types.SymbolKind.File,
    syntax.Compare: types.SymbolKind.Operator,
    syntax.Edit: types.SymbolKind.Event,
    syntax.Expect: types.SymbolKind.Boolean,
    syntax.Label: types.SymbolKind.String,
    syntax.Group: types.SymbolKind.String,
}
_PAGE = "report.html"


def definition(documents: Documents, uri: str, offset: int) -> types.Location | None:
    """Return the place where the name at a place is defined, or the file that an include statement names."""
    file = documents.analysis(uri).file
    name = occurrence_at(file, offset)
    if name is not None:
        span = name.definition.node.name.span
        return types.Location(_uri(documents, span, uri), span_range(span))
    for node in nodes_at(file, offset):
        if isinstance(node, syntax.Include) and node in file.included:
            start = types.Position(0, 0)
            return types.Location(documents.uri(file.source.folder / node.path.text), types.Range(start, start))
    return None


def references(
    documents: Documents, uri: str, offset: int, folders: tuple[Path, ...], declaration: bool = True
) -> list[types.Location]:
    """Return the places where the name at a place is used, in all specs of the folders."""
    name = occurrence_at(documents.analysis(uri).file, offset)
    if name is None:
        return []
    return [
        types.Location(place, span_range(use.span))
        for place, use in everywhere(name.key, documents, folders)
        if declaration or not use.is_definition
    ]


def renameable(analysis: Analysis, offset: int) -> types.Range | None:
    """Return the extent of the name at a place, if there is one that can be renamed."""
    name = occurrence_at(analysis.file, offset)
    return span_range(name.span) if name else None


def rename(
    documents: Documents, uri: str, offset: int, new: str, folders: tuple[Path, ...]
) -> types.WorkspaceEdit | None:
    """Return the edits that give the name at a place another one, in all specs of the folders.

    Raises InputError for a word that is no name, and for one with which a spec would have mistakes that it hasn't now.
    """
    name = occurrence_at(documents.analysis(uri).file, offset)
    if name is None:
        return None
    if not _NAME.fullmatch(new):
        raise InputError(Finding("E005", f"'{new}' is not a name", None, "a name has letters, digits and _"))
    spans: dict[str, list[Span]] = {}
    for place, use in everywhere(name.key, documents, folders):
        spans.setdefault(place, []).append(use.span)
    _verify(documents, spans, new)
    edits = {place: [types.TextEdit(span_range(span), new) for span in uses] for place, uses in spans.items()}
    return types.WorkspaceEdit(changes=edits)


def _verify(documents: Documents, spans: dict[str, list[Span]], new: str) -> None:
    """Raise InputError if the specs would have other mistakes with the new name."""
    renamed = Documents()
    for uri in dict.fromkeys((*documents.uris, *spans)):
        text = documents.source(uri).text
        for span in sorted(spans.get(uri, ()), key=lambda span: -span.start):
            text = f"{text[: span.start]}{new}{text[span.end :]}"
        renamed.open(uri, text)
    for uri in spans:
        before = len(documents.analysis(uri).findings)
        after = renamed.analysis(uri).findings
        if len(after) > before:
            raise InputError(Finding("E107", reason(CircuitError(after))))


def symbols(analysis: Analysis) -> list[types.DocumentSymbol]:
    """Return the statements of a text, by the names that they define or by what they say."""
    return [_symbol(statement) for statement in analysis.file.statements]


def _symbol(node: syntax.Statement) -> types.DocumentSymbol:
    kind = _KINDS.get(type(node), types.SymbolKind.Function)
    line, _, rest = node.span.text.partition("\n")
    place = span_range(node.span)
    if isinstance(node, (syntax.Images, syntax.Direction, syntax.Circuit)):
        _, _, asked = line.partition("=")
        return types.DocumentSymbol(node.name.text, kind, place, span_range(node.name.span), asked.strip())
    return types.DocumentSymbol(f"{line} …" if rest else line, kind, place, place)


def workspace_symbols(documents: Documents, query: str, folders: tuple[Path, ...]) -> list[types.WorkspaceSymbol]:
    """Return the names that are defined in the specs of the folders and contain the letters of a query."""
    named: list[types.WorkspaceSymbol] = []
    for uri in spec_uris(documents, folders):
        try:
            file = documents.analysis(uri).file
        except CircuitError:
            continue
        for known in definitions(file):
            if known.file is file and query.lower() in known.name.lower():
                kind = _KINDS.get(type(known.node), types.SymbolKind.Function)
                place = types.Location(uri, span_range(known.node.name.span))
                named.append(types.WorkspaceSymbol(location=place, name=known.name, kind=kind))
    return named


def links(analysis: Analysis, documents: Documents, folders: tuple[Path, ...] = ()) -> list[types.DocumentLink]:
    """Return links to included files, to images that a path names, and from circuits to the pages of their results."""
    return [types.DocumentLink(span_range(span), target=uri) for span, uri in _links(analysis, documents, folders)]


def _links(analysis: Analysis, documents: Documents, folders: tuple[Path, ...]) -> Iterator[tuple[Span, str]]:
    folder = analysis.source.folder
    for node in (node for statement in analysis.file.statements for node in walk(statement)):
        if isinstance(node, syntax.Include) and node in analysis.file.included:
            yield node.path.span, documents.uri(folder / node.path.text)
        elif isinstance(node, (syntax.Path, syntax.String)) and (place := _image_place(folder, node.text)):
            yield node.span, place
    names = {node.name.text: node.name.span for node in analysis.file.statements if isinstance(node, syntax.Circuit)}
    for result in last_results(analysis, folders).values():
        page = result.folder / _PAGE
        if result.summary.plan.name in names and page.is_file() and (uri := from_fs_path(str(page.absolute()))):
            yield names.pop(result.summary.plan.name), uri


def _image_place(folder: Path, pattern: str) -> str | None:
    """Return the URI of the file that a pattern names; of one with wildcards there is none."""
    if set("*?\0") & set(pattern) or "/" not in pattern:
        return None
    path = folder / pattern
    try:
        return from_fs_path(str(path.absolute())) if path.is_file() else None
    except OSError:
        return None


def _uri(documents: Documents, span: Span, uri: str) -> str:
    """Return the URI of the file of a span; `uri` is that of the buffer, which may be no file."""
    name = span.source.name
    return uri if documents.source(uri).name == name else documents.uri(Path(name))
