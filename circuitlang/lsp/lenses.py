"""Code lenses above circuits, and inlay hints for what a statement leaves to defaults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lsprotocol import types
from pygls.uris import from_fs_path

from circuitlang.base.diagnostics import SpecError
from circuitlang.compiler import syntax
from circuitlang.lsp.documents import Analysis
from circuitlang.lsp.last_results import LastResult, last_results
from circuitlang.lsp.positions import position, span_range
from circuitlang.plan.clauses import PRESERVE
from circuitlang.plan.model import Circuit

# Commands of the server.
RUN, PLAN, OPEN = "circuitlang.run", "circuitlang.plan", "circuitlang.open"
_DIAGRAM = "diagram.html"
# Defaults that are shown.
_SHOWN = ("criterion", "ablation")


def lenses(analysis: Analysis, folders: tuple[Path, ...] = ()) -> list[types.CodeLens]:
    """Return for each statement that asks for circuits `run`, `plan` and the last result of the first of them."""
    results = last_results(analysis, folders)
    shown: list[types.CodeLens] = []
    for statement, circuits in _asked(analysis):
        place, ids = span_range(statement.span), [circuit.id for circuit in circuits]
        name = analysis.source.name
        commands = [types.Command("run", RUN, arguments=[name, *ids])]
        commands.append(types.Command("plan", PLAN, arguments=[name]))
        last = next((results[name] for name in ids if name in results), None)
        commands += [_last(last)] if last else []
        shown += [types.CodeLens(types.Range(place.start, place.start), command) for command in commands]
    return shown


def _last(result: LastResult) -> types.Command:
    uri = from_fs_path(str((result.folder / _DIAGRAM).absolute())) or ""
    return types.Command(f"last: {result}", OPEN, arguments=[uri])


def hints(analysis: Analysis, start: int, end: int) -> list[types.InlayHint]:
    """Return the hints behind statements in a stretch: what is there by default, and how many circuits a sweep has."""
    shown = []
    for statement, circuits in _asked(analysis):
        if start <= statement.span.end <= end and not statement.span.text.endswith("}"):
            texts = [
                f"{name}={getattr(circuits[0], name).name}"
                for name in _SHOWN
                if circuits[0].origin.get(PRESERVE[name].key) == "default"
            ]
            texts += [f"{len(circuits):,} circuits"] if len(circuits) > 1 else []
            place = position(analysis.source, statement.span.end)
            if texts:
                shown.append(types.InlayHint(place, " ".join(texts), padding_left=True))
    return shown


def _asked(analysis: Analysis) -> Iterator[tuple[syntax.Statement, list[Circuit]]]:
    """Yield the statements that ask for circuits with these; none if the text has mistakes."""
    compiled = analysis.compiled
    if isinstance(compiled, SpecError):
        return
    circuits: dict[int, list[Circuit]] = {}
    for circuit in compiled.plan.circuits:
        circuits.setdefault(compiled.origins["circuits", circuit.id].start, []).append(circuit)
    for statement in analysis.file.statements:
        if statement.span.start in circuits:
            yield statement, circuits[statement.span.start]
