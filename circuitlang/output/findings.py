"""Findings as text: the words they are about, underlined, with the cure."""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len
from rich.text import Text

from circuitlang.errors import Finding, Severity

_TAB = 4


def render(findings: Iterable[Finding]) -> Text:
    """Every finding in full, one after another, and how many there were."""
    found = list(findings)
    text = Text()
    for finding in found:
        text.append_text(_full(finding))
        text.append("\n")
    counts = [
        f"{number} {severity.value}{'s' if number > 1 else ''}"
        for severity in Severity
        if (number := sum(finding.severity is severity for finding in found))
    ]
    return text.append(", ".join(counts), "bold")


def _full(finding: Finding) -> Text:
    colour = "red" if finding.severity is Severity.ERROR else "yellow"
    text = Text()
    text.append(f"{finding.severity.value}[{finding.code}]", f"bold {colour}")
    text.append(f": {finding.message}\n", "bold")
    gutter = "  "
    if finding.span is not None:
        line, column = finding.span.source.position(finding.span.start)
        gutter = " " * (len(str(line)) + 1)
        text.append(f"{gutter}--> ", "blue").append(f"{finding.span.place}\n")
        written = finding.span.source.line(line)
        before, under = written[: column - 1], written[column - 1 : column - 1 + len(finding.span.text.split("\n")[0])]
        text.append(f"{gutter} |\n {line} | ", "blue").append(f"{_expand(written)}\n")
        text.append(f"{gutter} | ", "blue").append(" " * cell_len(_expand(before)))
        text.append("^" * max(cell_len(_expand(under)), 1), colour)
        text.append(f" {finding.label}" if finding.label else "", colour).append("\n")
    elif finding.label:
        text.append(f"{gutter} = ", "blue").append(f"{finding.label}\n")
    if finding.help:
        text.append(f"{gutter} = ", "blue").append("help: ", "bold").append(f"{finding.help}\n")
    return text


def _expand(line: str) -> str:
    return line.replace("\t", " " * _TAB)
