"""Record → JSON, for scripts and dashboards."""

from __future__ import annotations

import json
import math
from typing import Any

from circuitlang.reporting.ci.record import Record
from circuitlang.reporting.diagnostics.json import plain
from circuitlang.reporting.text import edit_sentences
from circuitlang.results.assertions import Assertion
from circuitlang.results.edit import EditResult
from circuitlang.results.verdict import verdict


def run_summary(record: Record) -> bytes:
    """Everything that became of a run, under keys that stay: new ones may come, and then `version` stays 1.

    Numbers have the keys of metrics.json. A circuit is `computed`, `finished before`, `failed` or `not computed`; an
    edit, where there are any, is `measured` or `not measured`.
    """
    content = {
        "version": 1,
        "name": record.name,
        "passed": record.passed,
        "circuits": [_circuit(record, name) for name in record.circuits],
        **({"edits": [_edit(*pair) for pair in record.edits.items()]} if record.edits else {}),
        "promises": [_promise(*pair) for pair in zip(record.promises, record.places, strict=True)],
        "findings": [{**plain(finding), "circuit": finding.circuit or None} for finding in record.failures],
    }
    # Characters that are no text, such as a lone surrogate in a file's name, are escaped.
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def _circuit(record: Record, name: str) -> dict[str, Any]:
    if name not in record.done:
        state = "failed" if record.failed(name) else "not computed"
        unknown = dict.fromkeys(("seconds", "verdict", "target", "criterion"))
        return {"id": name, "state": state, **unknown, "numbers": {}}
    done = record.done[name]
    plan = done.summary.plan
    return {
        "id": name,
        "state": "finished before" if done.cached else "computed",
        "seconds": None if done.cached else round(done.seconds, 3),
        "verdict": verdict(done.summary),
        "target": str(plan.target),
        "criterion": str(plan.criterion),
        "numbers": {key: _number(value) for key, value in done.summary.flat().items()},
    }


def _edit(name: str, result: EditResult | None) -> dict[str, Any]:
    if result is None:
        return {"name": name, "state": "not measured", "edited": None, "numbers": {}}
    numbers = {key: _number(value) for key, value in result.flat().items()}
    return {"name": name, "state": "measured", "edited": edit_sentences.title(result), "numbers": numbers}


def _promise(promise: Assertion, place: str) -> dict[str, Any]:
    return {
        "kind": promise.kind,
        "circuit": promise.circuit,
        "measure": promise.measure,
        "relation": promise.relation,
        "expected": promise.value,
        "measured": None if promise.measured is None else _number(promise.measured),
        "holds": promise.holds if promise.computed else None,
        "place": place or None,
    }


def _number(value: float) -> float | None:
    """Six decimals, or five digits of what is smaller; null for what no JSON has."""
    return (round(value, 6) or float(f"{value:.5g}")) if math.isfinite(value) else None
