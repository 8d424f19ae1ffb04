"""Findings for people: the words they are about, underlined, with the cure."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from circuitlang.base.diagnostics import Finding, Severity
from circuitlang.base.printable import one_line
from circuitlang.base.source import Span
from circuitlang.reporting.diagnostics.excerpt import excerpt


def full(findings: Iterable[Finding]) -> Text:
    """Every finding in full, one after another, and how many there were."""
    listed = list(findings)
    text = Text()
    for finding in listed:
        text.append_text(_one(finding)).append("\n")
    counts = [
        f"{number} {severity.value}{'s' if number > 1 else ''}"
        for severity in Severity
        if (number := sum(finding.severity is severity for finding in listed))
    ]
    return text.append(", ".join(counts), "bold")


def _one(finding: Finding) -> Text:
    colour = "red" if finding.severity is Severity.ERROR else "yellow"
    text = Text()
    text.append(f"{finding.severity.value}[{finding.code}]", f"bold {colour}")
    text.append(f": {one_line(finding.message)}\n", "bold")
    gutter, label = "  ", finding.label
    if finding.span is not None:
        rows = excerpt(finding.span)
        gutter = " " * (max((len(str(row.number)) for row in rows if row), default=1) + 1)
        text.append(f"{gutter}--> ", "blue").append(f"{one_line(finding.span.place)}\n")
        if rows:
            text.append_text(_quoted(finding.span, one_line(label), gutter, colour))
            label = ""
    for word, line in (("", label), ("help: ", finding.help)):
        if line:
            text.append(f"{gutter} = ", "blue").append(word, "bold").append(f"{one_line(line)}\n")
    return text


def _quoted(span: Span, label: str, gutter: str, colour: str) -> Text:
    """Return the lines of a span with carets below, and the label behind the last caret."""
    rows = excerpt(span)
    text = Text().append(f"{gutter} |\n", "blue")
    for row in rows:
        if row is None:
            text.append(f"{gutter} :\n", "blue")
            continue
        text.append(f" {row.number:>{len(gutter) - 1}} |", "blue").append(f" {row.text}".rstrip() + "\n")
        if row.carets:
            suffix = f" {label}" if label and row is rows[-1] else ""
            text.append(f"{gutter} | ", "blue").append(" " * row.indent).append("^" * row.carets + suffix, colour)
            text.append("\n")
    return text
