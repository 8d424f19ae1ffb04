from __future__ import annotations

from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Any
from urllib.parse import quote

from circuitlang.base.diagnostics import Finding
from circuitlang.base.error_codes import page
from circuitlang.base.source import Source, Span

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(findings: Sequence[Finding]) -> str:
    """A SARIF 2.1.0 log, for code scanning; its rules are the pages of the codes that were found.

    https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
    """
    # Every command that prints findings imports this file, and few write a log.
    from importlib.metadata import version

    codes = sorted({finding.code for finding in findings})
    severities = {finding.code: finding.severity.value for finding in findings}
    driver = {
        "name": "circuitlang",
        "version": version("circuitlang"),
        "rules": [_rule(code, severities[code]) for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "utf16CodeUnits",
        "results": [_result(finding, codes.index(finding.code)) for finding in findings],
    }
    return dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(code: str, level: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"id": code, "defaultConfiguration": {"level": level}}
    about = page(code)
    if about is not None:
        rule["shortDescription"] = {"text": about.title}
        rule["fullDescription"] = {"text": about.summary}
        rule["help"] = {"text": about.text, "markdown": about.text}
    return rule


def _result(finding: Finding, rule: int) -> dict[str, Any]:
    text = ". ".join(filter(None, (finding.message, finding.label, finding.help)))
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": finding.severity.value,
        "message": {"text": text},
    }
    if finding.span is not None:
        place = {"artifactLocation": {"uri": _uri(finding.span.source.name)}, "region": _region(finding.span)}
        result["locations"] = [{"physicalLocation": place}]
    return result


def _uri(name: str) -> str:
    path = Path(name)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def _region(span: Span) -> dict[str, int]:
    line, column = _position(span.source, span.start)
    end, end_column = _position(span.source, span.end)
    return {"startLine": line, "startColumn": column, "endLine": end, "endColumn": end_column}


def _position(source: Source, offset: int) -> tuple[int, int]:
    """Line and column, the column in the 16-bit units that most editors count in."""
    line, column = source.position(offset)
    before = source.line(line)[: column - 1]
    return line, len(before.encode("utf-16-le", "surrogatepass")) // 2 + 1
