"""Syntax → syntax: the files that include statements name, read and put beside the statements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from circuitlang.compiler import syntax
from circuitlang.compiler.parse import parse
from circuitlang.errors import CircuitError, Finding, SpecError
from circuitlang.source import Source, resolved

# More files than these are a slip of the pen: each includes the next twice.
MOST = 1000
DEEPEST = 50


def include(file: syntax.File, open_source: Callable[[Path], Source]) -> syntax.File:
    """The file with everything it includes, directly or not; what can't be read is a finding at the include."""
    return _Include(open_source).all_of(file, ())


class _Include:
    def __init__(self, open_source: Callable[[Path], Source]) -> None:
        self._open = open_source
        self._count = 0

    def all_of(self, file: syntax.File, within: tuple[Path, ...]) -> syntax.File:
        """The file with what it includes; `within` are the files that led to it."""
        included: dict[syntax.Include, syntax.File] = {}
        findings = list(file.findings)
        here = (*within, resolved(Path(file.source.name)))
        for statement in file.statements:
            if isinstance(statement, syntax.Include):
                try:
                    included[statement] = self.all_of(parse(self._source(statement, file, here)), here)
                except CircuitError as error:
                    findings.extend(replace(finding, span=statement.path.span) for finding in error.findings)
        return msgspec.structs.replace(file, findings=tuple(findings), included=included)

    def _source(self, statement: syntax.Include, file: syntax.File, here: tuple[Path, ...]) -> Source:
        path, span = file.source.folder / statement.path.text, statement.path.span
        self._count += 1
        if resolved(path) in here:
            chain = " → ".join(each.name for each in (*here[here.index(resolved(path)) :], path))
            raise SpecError(Finding("E113", "files include each other", span, chain))
        if len(here) > DEEPEST or self._count > MOST:
            what = f"deeper than {DEEPEST}" if len(here) > DEEPEST else f"more than {MOST:,} files"
            raise SpecError(Finding("E113", "too much is included", span, what))
        return self._open(path)
