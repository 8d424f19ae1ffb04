"""Syntax → syntax: the files that include statements name, read and put beside the statements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from circuitlang.base.diagnostics import CircuitError, Finding, SpecError
from circuitlang.base.source import LARGEST, Source, resolved
from circuitlang.compiler import syntax
from circuitlang.compiler.hub_addresses import refuse_address
from circuitlang.compiler.limits import DEEPEST_INCLUDED, MOST_INCLUDED
from circuitlang.compiler.parser import parse
from circuitlang.compiler.sources import LABELS, is_file

# The statements of a file of labels.
_LABELS = (syntax.Label, syntax.Group)


def include(file: syntax.File, open_source: Callable[[Path], Source]) -> syntax.File:
    """The file with its labels and everything it includes, directly or not; what can't be read is a finding there."""
    return _Include(open_source).all_of(file, ())


def _stray(node: syntax.Statement) -> Finding:
    return Finding("E128", "a file of labels has labels and groups alone", node.span, "this belongs in the spec")


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
        beside = self._labels(file)
        if beside is not None:
            findings += beside.findings
            findings += (_stray(node) for node in beside.statements if not isinstance(node, _LABELS))
        return msgspec.structs.replace(file, findings=tuple(findings), included=included, beside=beside)

    def _labels(self, file: syntax.File) -> syntax.File | None:
        """Read the file of labels of a spec: `face.labels` beside `face.circuit`."""
        spec = Path(file.source.name)
        if spec.suffix != ".circuit" or not is_file(path := spec.with_suffix(LABELS)):
            return None
        try:
            return parse(self._open(path))
        except CircuitError as error:
            return syntax.File(file.source, (), tuple(error.findings))

    def _source(self, statement: syntax.Include, file: syntax.File, here: tuple[Path, ...]) -> Source:
        path, span = file.source.folder / statement.path.text, statement.path.span
        refuse_address(statement.path.text, statement.path, "what is included")
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
