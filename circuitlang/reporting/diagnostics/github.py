from __future__ import annotations

from collections.abc import Sequence

from circuitlang.base.diagnostics import Finding
from circuitlang.base.printable import lines
from circuitlang.base.source import Span


def github(findings: Sequence[Finding]) -> str:
    """Workflow commands: GitHub shows each finding at its line of a pull request.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions#setting-an-error-message
    """
    return "".join(map(_one, findings))


def _one(finding: Finding) -> str:
    properties = {**(_place(finding.span) if finding.span else {}), "title": f"circuitlang {finding.code}"}
    listed = ",".join(f"{word}={_property(str(value))}" for word, value in properties.items())
    text = "\n".join(filter(None, (finding.message, finding.label, finding.help)))
    return f"::{finding.severity.value} {listed}::{_data(text)}\n"


def _place(span: Span) -> dict[str, str | int]:
    (line, column), (end, end_column) = span.source.position(span.start), span.source.position(span.end)
    place: dict[str, str | int] = {"file": span.source.name, "line": line, "endLine": end}
    # Columns are refused where they are of different lines.
    return {**place, "col": column, "endColumn": end_column} if line == end else place


def _data(text: str) -> str:
    shown = "\r".join(map(lines, text.split("\r")))
    return shown.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
