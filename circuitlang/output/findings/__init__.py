"""Findings as text, for people and for programs: one file for each format, named as the command line names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from circuitlang.errors import Finding
from circuitlang.output.findings.concise import concise
from circuitlang.output.findings.full import full
from circuitlang.output.findings.github import github
from circuitlang.output.findings.json import json
from circuitlang.output.findings.sarif import sarif

__all__ = ["MACHINE", "render"]

render = full

# What programs read: one document for all findings of a command, with its last newline.
MACHINE: Mapping[str, Callable[[Sequence[Finding]], str]] = {
    "concise": concise,
    "json": json,
    "github": github,
    "sarif": sarif,
}
