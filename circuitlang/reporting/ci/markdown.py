"""Record → Markdown, for the summary of a workflow."""

from __future__ import annotations

from collections.abc import Iterator

from circuitlang.base.diagnostics import Finding
from circuitlang.reporting.ci.record import Done, Record
from circuitlang.reporting.text import edit_sentences
from circuitlang.reporting.text.markdown_text import escaped
from circuitlang.results.assertions import Assertion
from circuitlang.results.edit import EditResult
from circuitlang.results.verdict import verdict

_METRICS = ("pearson", "error")


def markdown(record: Record) -> bytes:
    """Write a heading, a table of the circuits with their verdicts, and lists of edits, of failed assertions and of
    errors."""
    outcome = "passed" if record.passed else "failed"
    blocks = [f"### {escaped(record.name)}: {outcome}"]
    if record.circuits:
        blocks.append("\n".join(_table(record)))
    if record.edits:
        blocks.append("\n".join(["**Edits**", "", *(_edit(*pair) for pair in record.edits.items())]))
    pairs = zip(record.promises, record.places, strict=True)
    if failed := [_assertion(promise, place) for promise, place in pairs if promise.computed and not promise.holds]:
        blocks.append("\n".join(["**Failed assertions**", "", *failed]))
    if record.failures:
        blocks.append("\n".join(["**Errors**", "", *map(_failure, record.failures)]))
    return ("\n\n".join(blocks) + "\n").encode("utf-8", "backslashreplace")


def _table(record: Record) -> Iterator[str]:
    yield "| circuit | verdict | kernels | share | pearson | error |"
    yield "|---|---|---:|---:|---:|---:|"
    for name in record.circuits:
        cells = _numbers(record.done[name]) if name in record.done else ["not computed", "", "", "", ""]
        yield f"| {' | '.join([escaped(name), *cells])} |"


def _numbers(done: Done) -> list[str]:
    summary, numbers = done.summary, done.summary.flat()
    sample = "test" if "test.pearson" in numbers else "train"
    share = summary.kept / summary.relevant if summary.relevant else 0.0
    measured = [f"{numbers[key]:.3f}" if (key := f"{sample}.{metric}") in numbers else "" for metric in _METRICS]
    return [verdict(summary), f"{summary.kept:,}", f"{share:.1%}", *measured]


def _edit(name: str, result: EditResult | None) -> str:
    says = " ".join(edit_sentences.claims(result)) if result is not None else "not measured"
    return f"- {escaped(f'{name}: {says}')}"


def _assertion(promise: Assertion, place: str) -> str:
    return f"- {escaped(f'{promise.circuit}: {promise.says}')}" + (f" ({escaped(place)})" if place else "")


def _failure(finding: Finding) -> str:
    about = [finding.circuit, finding.span.place if finding.span else ""]
    place = ", ".join(part for part in about if part)
    return f"- {finding.code} {escaped(finding.message)}" + (f" ({escaped(place)})" if place else "")
