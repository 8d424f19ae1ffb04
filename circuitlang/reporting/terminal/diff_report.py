"""Two specs, plans or runs → what differs: in meaning and, of runs, in what was found. Read and drawn without torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.base.plain_files import is_there
from circuitlang.plan.diff import Change, Difference, Side, difference
from circuitlang.plan.model import Circuit as CircuitPlan
from circuitlang.reporting.text.extension_calls import without_defaults
from circuitlang.results.reader import parts, read
from circuitlang.results.types import Circuit, Result, Summary

# As in metrics.json: more digits than a measurement is good for.
_DIGITS = 6
_SHOWN = 12


@dataclass(frozen=True)
class DiffInput:
    """One of the two that are compared; of a run, the folders of its circuits by id."""

    side: Side
    folders: Mapping[str, Path] | None = None


@dataclass(frozen=True)
class Number:
    """A measurement of two runs; None where one has none."""

    name: str
    before: float | None
    after: float | None

    @property
    def difference(self) -> float | None:
        """After less before, rounded to what a measurement is good for; None if only one has it."""
        if self.before is None or self.after is None:
            return None
        if math.isnan(self.before) and math.isnan(self.after):
            return 0.0
        return round(self.after - self.before, _DIGITS)


@dataclass(frozen=True)
class Overlap:
    """The numbers of kernels that each of two circuits keeps, and that both keep."""

    before: int
    after: int
    common: int

    @property
    def iou(self) -> float:
        """Intersection over union; of two circuits that keep nothing, 1."""
        union = self.before + self.after - self.common
        return self.common / union if union else 1.0


@dataclass(frozen=True)
class ResultChange:
    """Two results of corresponding circuits; `overlap` is None where the networks differ, or one isn't finished."""

    before: str
    after: str
    numbers: tuple[Number, ...]
    overlap: Overlap | None
    provenance: tuple[Change, ...]

    @property
    def same(self) -> bool:
        kept = self.overlap is None or self.overlap.iou == 1
        return kept and not self.provenance and all(number.difference == 0 for number in self.numbers)


@dataclass(frozen=True)
class Comparison:
    """Everything that differs, and of two runs the results of each circuit that both ask for; `damaged` says which
    of these could not be read."""

    meaning: tuple[Difference, ...]
    changes: tuple[ResultChange, ...] = ()
    damaged: tuple[Finding, ...] = ()

    @property
    def same(self) -> bool:
        return not self.meaning and not self.damaged and all(change.same for change in self.changes)


def compare(before: DiffInput, after: DiffInput) -> Comparison:
    """Compare two specs, plans or runs; a result that is damaged does not hide the others."""
    meaning, pairs = difference(before.side, after.side)
    if before.folders is None or after.folders is None:
        return Comparison(meaning)
    changes = []
    damaged: dict[Finding, None] = {}
    for ours, theirs in pairs:
        ids = _ids(before.folders[ours.id], ours), _ids(after.folders[theirs.id], theirs)
        for one, other in zip_longest(*ids):
            results: list[Result | None] = []
            for folder, circuit in ((one, ours), (other, theirs)):
                try:
                    results.append(_result(folder, circuit))
                except InputError as error:
                    damaged.update(dict.fromkeys(error.findings))
            if len(results) < 2:
                continue
            names = [side.name for side in (one, other) if side]
            if results != [None, None]:
                changes.append(_result_change(names[0], names[-1], *results))
    return Comparison(meaning, tuple(changes), tuple(damaged))


def _ids(folder: Path, circuit: CircuitPlan) -> list[Path]:
    """Return the folders of a circuit; for a split those of its parts, by number."""
    return [folder] if circuit.into is None or is_there(folder / "circuit.json") else parts(folder.parent, folder.name)


def _result(folder: Path | None, circuit: CircuitPlan) -> Result | None:
    """Read the finished circuit, if there is one and it is of this plan. Raises InputError if it is damaged."""
    if folder is None or not is_there(folder / "circuit.json"):
        return None
    result = read(folder)
    same = msgspec.structs.replace(circuit, id=result.summary.plan.id)
    return result if _unwritten(result.summary.plan) == _unwritten(same) else None


def _unwritten(circuit: CircuitPlan) -> CircuitPlan:
    return msgspec.structs.replace(circuit, statement="", origin={})


def _result_change(before: str, after: str, ours: Result | None, theirs: Result | None) -> ResultChange:
    a, b = (result.summary.flat() if result else {} for result in (ours, theirs))
    numbers = tuple(Number(name, a.get(name), b.get(name)) for name in {**a, **b})
    if ours is None or theirs is None:
        return ResultChange(before, after, numbers, None, ())
    networks = [(circuit.summary.model.source, circuit.summary.model.name) for circuit in (ours, theirs)]
    overlap = _overlap(ours, theirs) if networks[0] == networks[1] else None
    return ResultChange(before, after, numbers, overlap, tuple(_provenance(ours.summary, theirs.summary)))


def _overlap(ours: Result, theirs: Result) -> Overlap:
    a, b = _kept(ours.summary, ours.circuit), _kept(theirs.summary, theirs.circuit)
    return Overlap(len(a), len(b), len(a & b))


def _kept(summary: Summary, circuit: Circuit) -> set[tuple[str, int, int]]:
    return {
        (layer.path, target, source)
        for layer, kernels in zip(summary.layers, circuit.kernels, strict=True)
        for target, source in zip(kernels.target.tolist(), kernels.source.tolist(), strict=True)
    }


def _provenance(ours: Summary, theirs: Summary) -> Iterator[Change]:
    a, b = (
        {
            "weights": circuit.weights,
            "train images": circuit.train_images,
            "test images": circuit.test_images,
            "precision of scores": circuit.precision,
            **{f"version of {name}": version for name, version in sorted(circuit.versions.items())},
            "unreadable": ", ".join(circuit.unreadable),
        }
        for circuit in (ours.provenance, theirs.provenance)
    )
    for name in {**a, **b}:
        if a.get(name, "") != b.get(name, ""):
            yield Change(name, a.get(name, ""), b.get(name, ""))


def plain(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as data for `--json`, with derived values: kinds, differences, intersection over union."""
    return {
        "same": comparison.same,
        "meaning": [{"kind": difference.kind, **asdict(difference)} for difference in comparison.meaning],
        "found": [
            {
                "before": change.before,
                "after": change.after,
                "same": change.same,
                "numbers": [{**asdict(number), "difference": number.difference} for number in change.numbers],
                "kernels": {**asdict(change.overlap), "iou": change.overlap.iou} if change.overlap else None,
                "provenance": [asdict(origin) for origin in change.provenance],
            }
            for change in comparison.changes
        ],
        "damaged": [finding.message for finding in comparison.damaged],
    }


def render(comparison: Comparison) -> RenderableType:
    """Render the comparison for a terminal: differences of the specs, then of the results."""
    if comparison.same:
        return Text("no difference in meaning")
    parts = [*map(_asked, comparison.meaning), *(_measured(change) for change in comparison.changes if not change.same)]
    return Group(*parts)


def _asked(difference: Difference) -> RenderableType:
    name = difference.before or difference.after
    if difference.before and difference.after and difference.before != difference.after:
        name = f"{difference.before} → {difference.after}"
    text = Text.assemble((difference.part, "dim"), " ", (name, "bold"))
    if difference.kind != "changed":
        style = {"added": "green", "removed": "red"}.get(difference.kind, "yellow")
        text.append(f": {difference.kind}", style)
        text.append(_places(difference.before_place, difference.after_place), "dim")
    for change in difference.changes:
        text.append("\n").append_text(_change(change))
    return text


def _change(change: Change) -> Text:
    before, after = (without_defaults(value) or "nothing" for value in (change.before, change.after))
    values = f"  {change.name}: ", (before, "red"), " → ", (after, "green")
    return Text.assemble(*values, (_places(change.before_place, change.after_place), "dim"))


def _places(before: str, after: str) -> str:
    known = [place for place in (before, after) if place]
    if len(known) == 2 and known[0] == known[1]:
        known.pop()
    return f"  ({' → '.join(known)})" if known else ""


def _measured(change: ResultChange) -> RenderableType:
    name = change.before if change.before == change.after else f"{change.before} → {change.after}"
    parts: list[RenderableType] = [Text.assemble(("result", "dim"), " ", (name, "bold"))]
    if change.overlap is not None:
        both = f"{change.overlap.common:,} of {change.overlap.before:,} and {change.overlap.after:,}"
        parts.append(Text(f"  kernels in common: {both}, intersection over union {change.overlap.iou:.3f}"))
    parts += [
        _change(Change(origin.name, origin.before[:_SHOWN], origin.after[:_SHOWN])) for origin in change.provenance
    ]
    if not (numbers := change.numbers) or all(number.difference == 0 for number in numbers):
        return Group(*parts)
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for number, title in enumerate(("  number", "before", "after", "difference")):
        table.add_column(title, justify="right" if number else "left")
    for entry in numbers:
        table.add_row(f"  {entry.name}", _number(entry.before), _number(entry.after), _signed(entry))
    return Group(*parts, table)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _signed(number: Number) -> Text:
    if number.difference is None:
        return Text("-", "dim")
    if number.difference == 0:
        return Text("0", "dim")
    whole = all(isinstance(value, int) for value in (number.before, number.after))
    if whole:
        return Text(f"{number.difference:+,}")
    # Numbers too small for four decimals are shown by their first two digits.
    return Text(f"{number.difference:+.2g}" if abs(number.difference) < 5e-4 else f"{number.difference:+.4f}")
