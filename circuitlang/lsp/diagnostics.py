"""Findings of the compiler as diagnostics of a buffer."""

from __future__ import annotations

from pathlib import Path

from lsprotocol import types
from pygls.uris import from_fs_path

from circuitlang.base import error_codes
from circuitlang.base.diagnostics import Finding, Severity
from circuitlang.base.source import Span, resolved
from circuitlang.compiler import syntax
from circuitlang.lsp.documents import Analysis
from circuitlang.lsp.positions import span_range

SOURCE = "circuitlang"
_SEVERITIES = {Severity.ERROR: types.DiagnosticSeverity.Error, Severity.WARNING: types.DiagnosticSeverity.Warning}


def diagnostics(analysis: Analysis) -> list[types.Diagnostic]:
    """Return the diagnostics of a text. Mistakes of an included file stand at the statement that includes it."""
    return [diagnostic(finding, analysis) for finding in analysis.findings]


def diagnostic(finding: Finding, analysis: Analysis) -> types.Diagnostic:
    """Return the diagnostic of a finding about a text or about a file that it includes."""
    span = finding.span or Span(analysis.source, 0, 0)
    related: list[types.DiagnosticRelatedInformation] = []
    message = f"{finding.message}: {finding.label}" if finding.label else finding.message
    if span.source is not analysis.source:
        place = types.Location(_uri(span), span_range(_visible(span)))
        related.append(types.DiagnosticRelatedInformation(place, message))
        message = f"{Path(span.source.name).name}: {message}"
        span = _including(analysis.file, span) or Span(analysis.source, 0, 0)
    place = types.Location(_uri(span), span_range(_visible(span)))
    if finding.help:
        related.append(types.DiagnosticRelatedInformation(place, f"help: {finding.help}"))
    return types.Diagnostic(
        range=place.range,
        message=message,
        severity=_SEVERITIES[finding.severity],
        code=finding.code,
        code_description=_page(finding.code),
        source=SOURCE,
        related_information=related or None,
    )


def _page(code: str) -> types.CodeDescription | None:
    """Return the link to the page of a code, which comes with the package."""
    uri = from_fs_path(str(error_codes.path(code)))
    return types.CodeDescription(uri) if uri else None


def _uri(span: Span) -> str:
    name = span.source.name
    return name if "://" in name or name.startswith("untitled:") else from_fs_path(str(Path(name).absolute())) or name


def _visible(span: Span) -> Span:
    """Return a span with a letter in it: an editor can't underline the place after the last letter."""
    return span if span.end > span.start else Span(span.source, max(span.start - 1, 0), span.end)


def _including(file: syntax.File, span: Span) -> Span | None:
    """Return the place of the include statement of a file that leads to a span."""
    for statement, included in file.included.items():
        same = resolved(Path(included.source.name)) == resolved(Path(span.source.name))
        if same or _including(included, span) is not None:
            return statement.path.span
    return None
