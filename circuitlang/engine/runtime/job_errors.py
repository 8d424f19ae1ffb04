"""Errors of single circuits: every exception becomes findings about the circuit and its place in the spec."""

from __future__ import annotations

import traceback
from dataclasses import replace
from pathlib import Path

from circuitlang.base.diagnostics import CircuitError, Finding, OutputError
from circuitlang.base.source import Span


def job_error(name: str, error: Exception, span: Span | None) -> CircuitError:
    """Return the error about a circuit that an exception prevented; `span` is its place in the spec."""
    if isinstance(error, OutputError):
        return error
    if isinstance(error, CircuitError):
        placed = (
            finding if finding.span else replace(finding, message=f"{name}: {finding.message}", span=span)
            for finding in error.findings
        )
        return type(error)(replace(finding, circuit=name) for finding in placed)
    return CircuitError(_unforeseen(name, error, span))


def _unforeseen(name: str, error: Exception, span: Span | None) -> Finding:
    where = traceback.extract_tb(error.__traceback__)[-1]
    reason = str(error).strip().split("\n")[0]
    message = f"{name} can't be computed: {type(error).__name__}" + (f": {reason}" if reason else "")
    memory = isinstance(error, MemoryError) or "memory" in reason.lower()
    cure = "try a smaller --batch-size, or fewer --jobs" if memory else "report the spec and the network as a bug"
    label = f"at {Path(where.filename).name}:{where.lineno}, in {where.name}"
    return Finding("E392", message, span, label, cure, name)


def process_error(name: str, code: int, span: Span | None, reason: str = "") -> CircuitError:
    """Return the error about a circuit whose process ended with an exit code, or by a signal if that is negative.

    A `reason` takes the place of the code.
    """
    label, cure = f"it exited with {code}", "in a script, run below `if __name__ == '__main__':`"
    if code < 0 or reason:
        label, cure = f"by signal {-code}", "where memory ran out, try a smaller --batch-size, or fewer --jobs"
    label = reason or label
    message = f"{name} can't be computed: its process was ended"
    return CircuitError(Finding("E392", message, span, label, cure, name))
