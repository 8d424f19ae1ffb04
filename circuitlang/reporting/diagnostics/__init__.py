"""Findings as text, for people and for programs: one file for each format, named as the command line names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from circuitlang.base.diagnostics import Finding
from circuitlang.reporting.diagnostics.concise import concise
from circuitlang.reporting.diagnostics.full import full
from circuitlang.reporting.diagnostics.github import github
from circuitlang.reporting.diagnostics.json import json
from circuitlang.reporting.diagnostics.sarif import sarif

__all__ = ["MACHINE", "render"]

render = full

# Renderers for programs: one document for all findings of a command, with its last newline.
MACHINE: Mapping[str, Callable[[Sequence[Finding]], str]] = {
    "concise": concise,
    "json": json,
    "github": github,
    "sarif": sarif,
}
