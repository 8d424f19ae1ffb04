"""Formatting and folding of a buffer."""

from __future__ import annotations

import re

from lsprotocol import types

from circuitlang.base.diagnostics import CircuitError
from circuitlang.base.source import Source
from circuitlang.compiler.formatter import format_source
from circuitlang.lsp.documents import Analysis
from circuitlang.lsp.positions import position

_COMMENTS = re.compile(r"^[ \t]*#[^\n]*(?:\n[ \t]*#[^\n]*)+", re.MULTILINE)


def format_edits(source: Source) -> list[types.TextEdit] | None:
    """Return the edit that formats a text: its lines from the first that differs to the last; None with mistakes."""
    try:
        formatted = format_source(source)
    except CircuitError:
        return None
    old, new = source.text.splitlines(keepends=True), formatted.splitlines(keepends=True)
    first = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    old, new = old[first:], new[first:]
    same = 0
    while same < min(len(old), len(new)) and old[-1 - same] == new[-1 - same]:
        same += 1
    if not old and not new:
        return []
    end = len(source.text) - len("".join(old[len(old) - same :]))
    start = end - len("".join(old[: len(old) - same]))
    place = types.Range(position(source, start), position(source, end))
    return [types.TextEdit(place, "".join(new[: len(new) - same]))]


def folding_ranges(analysis: Analysis) -> list[types.FoldingRange]:
    """Return the statements and blocks of comments of several lines."""
    source = analysis.source
    spans = [(statement.span.start, statement.span.end, None) for statement in analysis.file.statements]
    comments = [
        (match.start(), match.end(), types.FoldingRangeKind.Comment) for match in _COMMENTS.finditer(source.text)
    ]
    lines = (
        (source.position(start)[0] - 1, source.position(end)[0] - 1, kind) for start, end, kind in (*spans, *comments)
    )
    return sorted(
        (types.FoldingRange(start, end, kind=kind) for start, end, kind in lines if end > start),
        key=lambda fold: fold.start_line,
    )
