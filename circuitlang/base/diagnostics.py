"""Findings: errors and warnings with a code, a place and a cure, and the exceptions that carry them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from circuitlang.base.source import Span

_MEANT = "did you mean '{}'?"


class Severity(Enum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Fix:
    """An edit that may remove a mistake: the text to write in place of a stretch."""

    span: Span
    text: str


@dataclass(frozen=True)
class Finding:
    """One mistake: its code, what is wrong, where, what was expected there, and the cure.

    `circuit` is the id of that one of a run which it is about. `edit` is the cure as an edit, if it is one.
    """

    code: str
    message: str
    span: Span | None = None
    label: str = ""
    help: str = ""
    circuit: str = ""
    edit: Fix | None = None

    @property
    def fix(self) -> Fix | None:
        """The cure as an edit: `edit`, or the word that was meant in place of the one that the message quotes."""
        meant = re.fullmatch(_MEANT.format("(.+)").replace("?", r"\?"), self.help)
        quoted = re.search("'([^']+)'", self.message)
        if self.edit is not None or self.span is None or meant is None or quoted is None:
            return self.edit
        before, word, after = self.span.text.partition(quoted[1])
        if not word or quoted[1] in after:
            return None
        start = self.span.start + len(before)
        return Fix(Span(self.span.source, start, start + len(word)), meant[1])

    @property
    def severity(self) -> Severity:
        return Severity.WARNING if self.code.startswith("W") else Severity.ERROR

    def sort_key(self) -> tuple[str, int, str]:
        return (self.span.source.name, self.span.start, self.code) if self.span else ("", -1, self.code)


class CircuitError(Exception):
    """The root of every error a user can act on; carries findings, never fewer than one.

    A notebook shows the findings with their places and cures, by `notebook_lines`, which the package sets.
    """

    notebook_lines: ClassVar[Callable[[Sequence[Finding]], list[str]] | None] = None

    def __init__(self, findings: Finding | Iterable[Finding]) -> None:
        all_findings = (findings,) if isinstance(findings, Finding) else tuple(findings)
        self.findings: tuple[Finding, ...] = tuple(sorted(all_findings, key=Finding.sort_key))
        super().__init__("; ".join(f"{finding.code}: {finding.message}" for finding in self.findings))

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows in place of a traceback."""
        lines = type(self).notebook_lines
        return lines(self.findings) if lines is not None else [f"{type(self).__name__}: {self}"]

    def __reduce__(self) -> tuple[type[CircuitError], tuple[tuple[Finding, ...]]]:
        # Made again from its findings in another process, not from its message.
        return type(self), (self.findings,)


class SpecError(CircuitError):
    """The text must be changed: syntax, names, values."""


class InputError(CircuitError):
    """Something the text refers to must be changed: a file, an image, a weights file, a model."""


class OutputError(CircuitError):
    """The place where results should go must be changed: full, read-only, in the way."""


def reason(error: Exception) -> str:
    """Describe an error in one line: a finding by its message and label, others by their type and first line."""
    if isinstance(error, CircuitError):
        finding = error.findings[0]
        return f"{finding.message}: {finding.label}" if finding.label else finding.message
    first = next(filter(None, map(str.strip, str(error).split("\n"))), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """A help sentence that guesses which known word was meant, or `otherwise`."""
    import difflib

    # Nobody means a known word by one that is several times as long, and comparing takes time by length.
    if len(word) > 100:
        return otherwise
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return _MEANT.format(names[close[0]]) if close else otherwise


def listing(words: Sequence[str], joint: str = "and", limit: int = 12) -> str:
    """Words as English: `a, b and c`; past `limit` the rest is counted."""
    if len(words) > limit:
        return f"{', '.join(words[:limit])} {joint} {len(words) - limit} more"
    return f" {joint} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
