from __future__ import annotations

from collections.abc import Sequence
from json import dumps
from typing import Any

from circuitlang.base.diagnostics import Finding
from circuitlang.base.source import Span


def json(findings: Sequence[Finding]) -> str:
    """A list with an object for each finding.

    Lines and columns count from 1, columns in characters; the end is the first character that is not meant any more.
    What has no place has null for `file`, `start` and `end`.
    """
    return dumps([plain(finding) for finding in findings], indent=2) + "\n"


def plain(finding: Finding) -> dict[str, Any]:
    """Return a finding as plain values."""
    span = finding.span
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "message": finding.message,
        "file": span.source.name if span else None,
        "start": _position(span, span.start) if span else None,
        "end": _position(span, span.end) if span else None,
        "label": finding.label,
        "help": finding.help,
    }


def _position(span: Span, offset: int) -> dict[str, int]:
    line, column = span.source.position(offset)
    return {"line": line, "column": column}
