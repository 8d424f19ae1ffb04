"""Syntax → syntax: the files that include statements name, read and put beside the statements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from circuitlang.compiler import syntax
from circuitlang.compiler.parse import parse
from circuitlang.errors import CircuitError, Finding
from circuitlang.source import Source


def include(file: syntax.File, open_source: Callable[[Path], Source], within: tuple[Path, ...] = ()) -> syntax.File:
    """The file with everything it includes, directly or not; what can't be read is a finding at the include."""
    included: dict[syntax.Include, syntax.File] = {}
    findings = list(file.findings)
    here = (*within, Path(file.source.name).resolve())
    for statement in file.statements:
        if not isinstance(statement, syntax.Include):
            continue
        path = file.source.folder / statement.path.text
        if path.resolve() in here:
            chain = " → ".join(each.name for each in (*here[here.index(path.resolve()) :], path))
            findings.append(Finding("E113", "files include each other", statement.path.span, chain))
            continue
        try:
            source = open_source(path)
        except CircuitError as error:
            findings.extend(replace(finding, span=statement.path.span) for finding in error.findings)
            continue
        included[statement] = include(parse(source), open_source, here)
    return msgspec.structs.replace(file, findings=tuple(findings), included=included)
