"""Results of earlier runs of a spec, read from their folders."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from circuitlang.base.diagnostics import CircuitError, SpecError
from circuitlang.base.source import Source
from circuitlang.lsp.documents import Analysis
from circuitlang.pipeline import run_name
from circuitlang.plan.model import Circuit
from circuitlang.results.reader import read_summary
from circuitlang.results.types import Summary
from circuitlang.results.verdict import METRIC, verdict

# The default of `--out`.
_RUNS = "runs"


class LastResult(NamedTuple):
    """The result of a circuit, its folder, and whether the spec asks for something else by now."""

    summary: Summary
    folder: Path
    outdated: bool

    def __str__(self) -> str:
        summary = self.summary
        value = summary.judged.metrics.get(METRIC)
        r = "" if value is None else f", r {value:.2f}".replace("0.", ".", 1)
        noun = summary.noun if summary.kept == 1 else f"{summary.noun}s"
        earlier = " (of an earlier form of the spec)" if self.outdated else ""
        return f"{verdict(summary)}{r}, {summary.kept:,} {noun}{earlier}"


def last_results(analysis: Analysis, folders: tuple[Path, ...] = ()) -> dict[str, LastResult]:
    """Return the results of the circuits of a spec, by id, from `runs` beside the spec or in one of some folders.

    A circuit that has no result, or one that can't be read, is left out, and so are all if the spec has mistakes.
    """
    compiled = analysis.compiled
    if isinstance(compiled, SpecError):
        return {}
    return {
        circuit.id: result
        for circuit in compiled.plan.circuits
        if circuit.into is None and (result := _last(analysis.source, circuit, folders)) is not None
    }


def _last(source: Source, circuit: Circuit, folders: tuple[Path, ...]) -> LastResult | None:
    for folder in (source.folder, *folders):
        place = folder / _RUNS / run_name(source) / circuit.id
        with suppress(CircuitError, OSError):
            summary = read_summary(place)
            return LastResult(summary, place, _asked(summary.plan) != _asked(circuit))
    return None


def _asked(circuit: Circuit) -> Circuit:
    return replace(circuit, statement="", origin={}, name="", values={})
