"""The comparisons of a plan in the folder of its run: those that are stored, and those that are due."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from circuitlang.base.diagnostics import CircuitError, Finding, InputError, reason
from circuitlang.engine.runtime.known_inputs import KnownInputs, prepared_inputs
from circuitlang.results.comparison import FILE, Comparison
from circuitlang.results.comparison_folders import folder_names, identity, read_comparison
from circuitlang.results.manifest import damage
from circuitlang.results.outcomes import ComparisonStatus
from circuitlang.results.outputs import asked_formats
from circuitlang.results.rendering import due, missing_formats
from circuitlang.results.types import Summary

if TYPE_CHECKING:
    from circuitlang.engine.runtime.jobs import PreparedRun


def compare_run(
    prepared: PreparedRun | KnownInputs, finished: Mapping[str, Summary], splits: Collection[str], folder: Path
) -> Iterator[ComparisonStatus]:
    """The comparisons of a plan in the folder of its run; what is there already, of the same circuits, is not computed
    again. `finished` are the circuits that are there and `splits` the splits, by id; for a split stand its parts."""
    plan = prepared.plan
    names = folder_names(plan.comparisons, [circuit.id for circuit in plan.circuits])
    there = {name: summary for name, summary in finished.items() if summary.part is None or summary.asked_as in splits}
    for asked, name in zip(plan.comparisons, names, strict=True):
        members = {circuit: [id_ for id_, summary in there.items() if summary.asked_as == circuit] for circuit in asked}
        missing, place = tuple(circuit for circuit, ids in members.items() if not ids), folder / name
        if missing:
            yield ComparisonStatus(tuple(asked), place, missing=missing)
            continue
        circuits = ids = tuple(id_ for circuit in asked for id_ in members[circuit])
        before = _before(place, ids, [finished[id_] for id_ in ids], asked_formats(prepared.options.render))
        if before is not None:
            yield ComparisonStatus(circuits, place, before)
            continue
        try:
            comparison = _compared(prepared, [finished[id_] for id_ in ids], folder, place)
            yield ComparisonStatus(circuits, place, comparison, failure=_lacking(comparison, place.name))
        except CircuitError as error:
            yield ComparisonStatus(circuits, place, failure=error)
        except Exception as error:  # whatever it is, the circuits are there
            label, cure = reason(error), "run again: every circuit is kept, and only this is made"
            finding = Finding("E393", f"{place.name} could not be made", None, label, cure)
            yield ComparisonStatus(circuits, place, failure=CircuitError(finding))


def _compared(
    prepared: PreparedRun | KnownInputs, circuits: Sequence[Summary], folder: Path, place: Path
) -> Comparison:
    from circuitlang.engine.runtime.comparisons import compare_circuits

    whole = prepared_inputs(prepared) if isinstance(prepared, KnownInputs) else prepared
    return compare_circuits(whole, circuits, folder, place)


def _lacking(comparison: Comparison, name: str) -> CircuitError | None:
    """Return an error about the output formats that failed, if any did."""
    findings = missing_formats(name, comparison.missing, "every circuit is kept, and only this is made")
    return CircuitError(findings) if findings else None


def _before(
    place: Path, ids: Sequence[str], summaries: Sequence[Summary], formats: Collection[str]
) -> Comparison | None:
    """Return the stored comparison, if it is of the same circuits and lacks none of these output formats."""
    if not (place / FILE).is_file():
        return None
    try:
        comparison = read_comparison(place)
    except InputError:
        # It is of another version, or damaged, and is written again.
        return None
    absent = due(formats, comparison.missing, comparison.unrendered)
    same = comparison.identity == identity(ids, summaries) and not absent and not damage(place)
    return comparison if same else None
