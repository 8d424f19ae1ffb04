"""Fixes: the edits of findings, applied where they leave fewer mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from circuitlang.base.diagnostics import Finding, Fix
from circuitlang.base.source import Source

# Fixes of one file, after which its other mistakes stay.
_MOST = 200


def fix_source(source: Source, check: Callable[[Source], Sequence[Finding]]) -> tuple[Source, int]:
    """Return a source with the fixes that make it better, and their number. `check` returns its findings."""
    findings, count = check(source), 0
    while count < _MOST and (better := _first(source, findings, check)) is not None:
        source, findings = better
        count += 1
    return source, count


def improves(
    source: Source, findings: Sequence[Finding], fix: Fix, check: Callable[[Source], Sequence[Finding]]
) -> bool:
    """Return whether a source has fewer findings with a fix than it has now."""
    return len(check(apply(source, fix))) < len(findings)


def apply(source: Source, fix: Fix) -> Source:
    """Return a source with a fix."""
    text = f"{source.text[: fix.span.start]}{fix.text}{source.text[fix.span.end :]}"
    return replace(source, text=text)


def _first(
    source: Source, findings: Sequence[Finding], check: Callable[[Source], Sequence[Finding]]
) -> tuple[Source, Sequence[Finding]] | None:
    """Return the source with the first fix that leaves fewer findings, and these."""
    for finding in findings:
        fix = finding.fix
        if fix is not None and fix.span.source.name == source.name:
            fixed = apply(source, fix)
            left = check(fixed)
            if len(left) < len(findings):
                return fixed, left
    return None
