"""Quick fixes: the edits of findings that leave fewer mistakes."""

from __future__ import annotations

from lsprotocol import types

from circuitlang.base.diagnostics import Finding, Fix
from circuitlang.base.source import Span
from circuitlang.compiler import syntax
from circuitlang.compiler.fixes import fix_source, improves
from circuitlang.lsp.diagnostics import diagnostic
from circuitlang.lsp.documents import Analysis, Documents
from circuitlang.lsp.names import layers, model
from circuitlang.lsp.positions import offset, position, span_range

# A command of the server.
LOOK = "circuitlang.lookAtModel"


def code_actions(documents: Documents, uri: str, stretch: types.Range) -> list[types.CodeAction]:
    """Return the fixes of the mistakes in a stretch of a buffer, and one of all mistakes of the buffer."""
    analysis = documents.analysis(uri)
    start, end = offset(analysis.source, stretch.start), offset(analysis.source, stretch.end)
    actions = [
        _action(analysis, finding, fix, uri)
        for finding in analysis.findings
        if (fix := finding.fix) is not None
        and _touches(finding.span, analysis, start, end)
        and fix.span.source.name == analysis.source.name
        and improves(analysis.source, analysis.findings, fix, documents.findings)
    ]
    if any(finding.fix for finding in analysis.findings):
        actions += _fix_all(analysis, documents, uri)
    return actions + _looks(analysis, start, end)


def _looks(analysis: Analysis, start: int, end: int) -> list[types.CodeAction]:
    """Offer to load the model of a statement whose layers are not known."""
    statements = (node for node in analysis.file.statements if isinstance(node, syntax.Model))
    statement = next((node for node in statements if _touches(node.span, analysis, start, end)), None)
    named = model(analysis.file)
    if statement is None or named is None or layers(analysis.file) is not None:
        return []
    title, written = f"Look at {named.name} once, so that its layers are known", statement.call.span.text
    command = types.Command(title, LOOK, arguments=[analysis.source.name, written])
    return [types.CodeAction(title, command=command)]


def _touches(span: Span | None, analysis: Analysis, start: int, end: int) -> bool:
    return span is not None and span.source is analysis.source and span.start <= end and start <= span.end


def _action(analysis: Analysis, finding: Finding, fix: Fix, uri: str) -> types.CodeAction:
    edit = types.TextEdit(span_range(fix.span), fix.text)
    return types.CodeAction(
        title=f"Write {fix.text}" if fix.text.strip() else f"Insert a space: {finding.help}",
        kind=types.CodeActionKind.QuickFix,
        diagnostics=[diagnostic(finding, analysis)],
        is_preferred=True,
        edit=types.WorkspaceEdit(changes={uri: [edit]}),
    )


def _fix_all(analysis: Analysis, documents: Documents, uri: str) -> list[types.CodeAction]:
    source, count = fix_source(analysis.source, documents.findings)
    if not count:
        return []
    start, end = types.Position(0, 0), position(analysis.source, len(analysis.source.text))
    edit = types.TextEdit(types.Range(start, end), source.text)
    title = f"Correct {count} mistake{'' if count == 1 else 's'}"
    kind = types.CodeActionKind.SourceFixAll
    return [types.CodeAction(title, kind, edit=types.WorkspaceEdit(changes={uri: [edit]}))]
