"""Output formats and exports: what can be made of a result.

An output format is a file with one registered function, result → files by name; a run writes all of them unless it is
asked for fewer. There are formats of circuits (`reporting/formats/`), of splits (`reporting/split_formats/`), of
comparisons (`reporting/comparison_formats/`) and of edits (`reporting/edit_formats/`). An export is a file in
`exporters/` with one registered function, finished circuit → content of a file with that ending; it is written on
request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from circuitlang.base.diagnostics import Finding, InputError, listing
from circuitlang.plugins.registry import Registry
from circuitlang.results.comparison import Comparison
from circuitlang.results.edit import EditResult
from circuitlang.results.split import SplitResult
from circuitlang.results.types import Result

if TYPE_CHECKING:
    from circuitlang.results.finished_circuit import FinishedCircuit

    Export = Callable[[FinishedCircuit], bytes]
    E = TypeVar("E", bound=Export)


@dataclass(frozen=True)
class ComparisonResult:
    """A comparison, the circuits that were compared and, where known, their folders; `beside` has the names of these
    where they lie beside its own."""

    comparison: Comparison
    circuits: Sequence[Result]
    beside: Sequence[str] = ()
    folders: Sequence[Path] = ()


Files = Mapping[str, bytes]
Format = Callable[[Result], Files]
SplitFormat = Callable[[SplitResult], Files]
ComparisonFormat = Callable[[ComparisonResult], Files]
EditFormat = Callable[[EditResult], Files]
F = TypeVar("F", bound=Format)
SF = TypeVar("SF", bound=SplitFormat)
CF = TypeVar("CF", bound=ComparisonFormat)
EF = TypeVar("EF", bound=EditFormat)

EXPORTS: Registry[Export] = Registry("export", "circuitlang.exporters", "circuitlang.exports")
FORMATS: Registry[Format] = Registry("output format", "circuitlang.reporting.formats", "circuitlang.formats")
SPLIT_FORMATS: Registry[SplitFormat] = Registry(
    "output format of splits", "circuitlang.reporting.split_formats", "circuitlang.split_formats"
)
COMPARISON_FORMATS: Registry[ComparisonFormat] = Registry(
    "output format of comparisons", "circuitlang.reporting.comparison_formats", "circuitlang.comparison_formats"
)
EDIT_FORMATS: Registry[EditFormat] = Registry(
    "output format of edits", "circuitlang.reporting.edit_formats", "circuitlang.edit_formats"
)

# The output formats that a run writes: numbers and kernels alone; also the module, the diagram and texts; or every one.
Rendering = Literal["none", "diagram", "all"]
MODULE = "module"
NUMBERS = frozenset({"circuit", "metrics", "split", "comparison", "edit"})
DRAWINGS = NUMBERS | {MODULE, "diagram", "report", "embedding"}


def asked_formats(render: str) -> frozenset[str]:
    """Return the names of the output formats of circuits, splits, comparisons and edits that a rendering has.

    Raises:
        InputError: E365, if there is no such rendering.
    """
    registries = FORMATS, SPLIT_FORMATS, COMPARISON_FORMATS, EDIT_FORMATS
    every = frozenset(name for registry in registries for name in registry.declarations)
    renderings: dict[str, frozenset[str]] = {"none": NUMBERS, "diagram": DRAWINGS, "all": every}
    if render not in renderings:
        cure = f"there are {listing([*renderings])}"
        raise InputError(Finding("E365", f"there is no rendering '{render}'", None, "", cure))
    return renderings[render]


def output_format(function: F) -> F:
    """Register an output format of circuits."""
    FORMATS.add(function.__name__, function.__module__, function)
    return function


def split_format(function: SF) -> SF:
    """Register an output format of splits."""
    SPLIT_FORMATS.add(function.__name__, function.__module__, function)
    return function


def comparison_format(function: CF) -> CF:
    """Register an output format of comparisons."""
    COMPARISON_FORMATS.add(function.__name__, function.__module__, function)
    return function


def edit_format(function: EF) -> EF:
    """Register an output format of edits."""
    EDIT_FORMATS.add(function.__name__, function.__module__, function)
    return function


def export(function: E) -> E:
    """Register an export."""
    EXPORTS.add(function.__name__, function.__module__, function)
    return function
