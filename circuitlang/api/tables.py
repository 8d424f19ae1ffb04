"""Results as data frames of pandas, which is imported only here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.results.comparison import Comparison
from circuitlang.results.edit import EditResult
from circuitlang.results.packed.circuits import PackedCircuits
from circuitlang.results.types import Result

if TYPE_CHECKING:
    import pandas


def run_frame(results: Iterable[Result]) -> pandas.DataFrame:
    """Return a row for each circuit: its name, its plan, and all numbers by their keys in `metrics.json`."""
    rows = [
        {
            "circuit": result.summary.plan.id,
            "target": str(result.summary.plan.target),
            "images": result.summary.plan.images,
            "criterion": str(result.summary.plan.criterion),
            "share": result.summary.kept / max(result.summary.relevant, 1),
            **result.summary.flat(),
        }
        for result in results
    ]
    return _pandas().DataFrame(rows).set_index("circuit")


def packed_frame(circuits: PackedCircuits) -> pandas.DataFrame:
    """Return a row for each circuit of a packed run: its name, its plan, and all numbers by their columns."""
    _pandas()
    rows = circuits.table()
    names = [name for name in rows.schema.names if name not in ("masks", "summary", "identity", "crops")]
    return rows.select(names).to_pandas().set_index("id")


def edit_frame(result: EditResult) -> pandas.DataFrame:
    """Return a row for each target of an edit, with the numbers of `edit.json` by the words that expectations use."""
    numbers = result.flat()
    rows = [
        {
            "target": response.target,
            **{
                key.removeprefix(f"{response.target}."): value
                for key, value in numbers.items()
                if key.startswith(f"{response.target}.")
            },
        }
        for response in result.responses
    ]
    return _pandas().DataFrame(rows).set_index("target")


def circuit_frame(result: Result) -> pandas.DataFrame:
    """Return a row for each kept kernel: its layer, channels and score, and the sum of its weights."""
    frames = [
        _pandas().DataFrame(
            {
                "layer": layer.path,
                "source": kernels.source,
                "target": kernels.target,
                "score": kernels.score,
                "weight": kernels.weight.sum((1, 2)),
                "effective": kernels.effective,
            }
        )
        for layer, kernels in zip(result.summary.layers, result.circuit.kernels, strict=True)
    ]
    return _pandas().concat(frames, ignore_index=True)


def comparison_frame(comparison: Comparison, names: Sequence[str]) -> pandas.DataFrame:
    """Return a row for each pair of circuits: their kept kernels in common, and how their responses agree."""
    rows = [
        {
            "first": names[pair.first],
            "second": names[pair.second],
            "iou": pair.overlap.total.iou,
            "pearson": pair.agreement.metrics["pearson"] if pair.agreement else None,
        }
        for pair in comparison.pairs
    ]
    return _pandas().DataFrame(rows)


def _pandas() -> ModuleType:
    """Return the package. Raises InputError if it is not installed."""
    if find_spec("pandas") is None:
        raise InputError(Finding("E361", "pandas is not installed", None, "", "pip install 'circuitlang[pandas]'"))
    return import_module("pandas")
