"""The state of a check: the names of the file, the vocabulary, and the mistakes so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from circuitlang.base.diagnostics import Finding, Severity, SpecError
from circuitlang.base.source import Span
from circuitlang.compiler import syntax
from circuitlang.compiler.placed import PlacedImages, PlacedTarget
from circuitlang.compiler.vocabulary import Vocabulary
from circuitlang.plan.layers import Layers
from circuitlang.plan.model import Circuit

T = TypeVar("T")


@dataclass
class Findings:
    """Mistakes, each said once however often it is met."""

    unique: dict[tuple[str, str, Span | None], Finding] = field(default_factory=dict)
    # The number of errors among them.
    count: int = 0

    def add(self, code: str, message: str, span: Span, label: str = "", cure: str = "") -> None:
        self.extend([Finding(code, message, span, label, cure)])

    def extend(self, findings: list[Finding] | tuple[Finding, ...]) -> None:
        for finding in findings:
            key = finding.code, finding.message, finding.span
            if key not in self.unique:
                self.unique[key] = finding
                self.count += finding.severity is Severity.ERROR

    def attempt(self, read: Callable[[], T]) -> T | None:
        """Return what `read` returns, or None where it raises: its findings are added to the mistakes."""
        try:
            return read()
        except SpecError as error:
            self.extend(error.findings)
            return None

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.unique.values() if finding.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.unique.values() if finding.severity is Severity.WARNING)


@dataclass
class Scope:
    """The names of one file. A name whose definition has errors is known, and None.

    `folder` is that of the spec: patterns of included files are made relative to it.
    """

    vocabulary: Vocabulary
    findings: Findings
    folder: Path
    sets: dict[str, PlacedImages | None] = field(default_factory=dict)
    directions: dict[str, PlacedTarget | None] = field(default_factory=dict)
    circuits: set[str] = field(default_factory=set)
    # The circuits that are defined so far, those of a sweep together; none of a name whose definition has errors.
    named: Mapping[str, Sequence[Circuit]] = field(default_factory=dict)
    defaults: dict[str, syntax.Clause] = field(default_factory=dict)
    spoiled_defaults: bool = False
    # Layers and widths of the model in force; None if it was never looked at, or has errors.
    layers: Layers | None = None
    model_name: str = ""
    # Namespaces of includes that couldn't be read; "" is that of one without a name.
    missing: set[str] = field(default_factory=set)

    def may_be_defined_elsewhere(self, name: str) -> bool:
        """Return whether an unknown name may be one that an unreadable file would have defined."""
        return any(name.startswith(prefix) for prefix in self.missing)
