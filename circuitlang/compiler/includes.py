"""Syntax → syntax: the files that include statements name, read and put beside the statements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from circuitlang.base.diagnostics import CircuitError, Finding, SpecError
from circuitlang.base.source import LARGEST, Source, resolved
from circuitlang.compiler import syntax
from circuitlang.compiler.limits import DEEPEST_INCLUDED, MOST_INCLUDED
from circuitlang.compiler.parser import parse


def include(file: syntax.File, open_source: Callable[[Path], Source]) -> syntax.File:
    """The file with everything it includes, directly or not; what can't be read is a finding at the include."""
    return _Include(open_source).all_of(file, ())


class _Include:
    def __init__(self, open_source: Callable[[Path], Source]) -> None:
        self._open = open_source
        self._count = 0
        self._letters = 0

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
            chain = " → ".join(link.name for link in (*here[here.index(resolved(path)) :], path))
            raise SpecError(Finding("E113", "files include each other", span, chain))
        if len(here) > DEEPEST_INCLUDED or self._count > MOST_INCLUDED:
            what = (
                f"deeper than {DEEPEST_INCLUDED}"
                if len(here) > DEEPEST_INCLUDED
                else f"more than {MOST_INCLUDED:,} files"
            )
            raise SpecError(Finding("E113", "too much is included", span, what))
        source = self._open(path)
        self._letters += len(source.text)
        if self._letters > LARGEST:
            raise SpecError(Finding("E113", "too much is included", span, f"more than {LARGEST / 1e6:,.0f} MB"))
        return source
