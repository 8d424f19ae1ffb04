"""A comparison of circuits as an object."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from circuitlang.api.frames import framed
from circuitlang.base.diagnostics import CircuitError, Finding, InputError
from circuitlang.base.source import resolved
from circuitlang.compiler.sources import open_source
from circuitlang.results.comparison import Comparison
from circuitlang.results.types import Result

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from circuitlang.engine.runtime.comparisons import Finished
    from circuitlang.results.outputs import ComparisonResult


# Circuits of a packed run whose folders are made to compare them all.
_MOST = 32


@dataclass(frozen=True, repr=False)
class LoadedComparison:
    """A comparison of circuits. A notebook shows its report.

    Examples:
        >>> circuitlang.compare(*run)
        <comparison: conv5_34-annealed-0.05 and sketch share 135 of 338 kernels: IoU 0.399, ...>
    """

    comparison: Comparison
    circuits: tuple[Result, ...]
    folders: tuple[Path, ...] = ()

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of the kept kernels, [circuits, circuits]; NaN for two circuits without kernels.

        Examples:
            >>> comparison.iou.round(1).tolist()
            [[1.0, 0.4], [0.4, 1.0]]
        """
        iou = np.full((len(self.circuits),) * 2, np.nan)
        for number, member in enumerate(self.comparison.members):
            iou[number, number] = 1.0 if member.kept else np.nan
        for pair in self.comparison.pairs:
            if pair.overlap.total.iou is not None:
                iou[pair.first, pair.second] = iou[pair.second, pair.first] = pair.overlap.total.iou
        return iou

    @cached_property
    def pearson(self) -> NDArray[np.float64]:
        """Pearson correlation of the circuits' activation maps, [circuits, circuits]; NaN where it is unknown.

        Examples:
            >>> comparison.pearson.round(2).tolist()
            [[1.0, 0.99], [0.99, 1.0]]
        """
        pearson = np.full((len(self.circuits),) * 2, np.nan)
        np.fill_diagonal(pearson, 1.0)
        for pair in self.comparison.pairs:
            if pair.agreement is not None:
                value = pair.agreement.metrics["pearson"]
                pearson[pair.first, pair.second] = pearson[pair.second, pair.first] = value
        return pearson

    def to_frame(self) -> pandas.DataFrame:
        """Return a data frame of pandas with a row for each pair of circuits.

        Raises InputError if pandas is not installed.

        Examples:
            >>> comparison.to_frame().round(2).values.tolist()
            [['conv5_34-annealed-0.05', 'sketch', 0.4, 0.99]]
        """
        from circuitlang.api.tables import comparison_frame

        return comparison_frame(self.comparison, self._names)

    def plot(self, axes: Axes | None = None) -> Axes:
        """Plot the intersection over union of all pairs, and return the axes of matplotlib.

        Examples:
            >>> [text.get_text() for text in comparison.plot().get_xticklabels()]
            ['conv5_34-annealed-0.05', 'sketch']
        """
        from circuitlang.api.plots import matrix_axes

        return matrix_axes(self.iou, self._names, axes)

    @property
    def _names(self) -> list[str]:
        return [result.summary.plan.id for result in self.circuits]

    def write(self, folder: str | Path) -> None:
        """Write the report, the numbers and the diagrams to a folder. Raises OutputError.

        Examples:
            >>> comparison.write("both")
        """
        from circuitlang.results.writer import write_comparison

        write_comparison(self._result, Path(folder))

    @cached_property
    def _result(self) -> ComparisonResult:
        from circuitlang.results.outputs import ComparisonResult

        return ComparisonResult(self.comparison, self.circuits, folders=self.folders)

    def _repr_html_(self) -> str:
        from circuitlang.results.outputs import COMPARISON_FORMATS

        page = COMPARISON_FORMATS.load("page")(self._result)["report.html"]
        return framed(page.decode(), Path("comparison"))

    def __repr__(self) -> str:
        from circuitlang.reporting.terminal.comparison_report import claims

        return f"<comparison: {' '.join(claims(self.comparison))}>"


def compare(paths: Sequence[Path], damaged: list[Finding] | None = None) -> LoadedComparison:
    """Compare finished circuits, given by their folders or, for all circuits of a run, by the folder of the run.

    With a list `damaged`, circuits that can't be read are left out if two others remain, and findings about them are
    added to the list. Raises InputError, without the list also about these.
    """
    from circuitlang.results.comparison_folders import stored_comparison
    from circuitlang.results.reader import circuits, read, read_summary

    # A path without circuits is kept, to be rejected.
    folders = [folder for path in paths for folder in _packed(path) or circuits(path) or [path]]
    if len(folders) < 2:
        read_summary(folders[0])
        cure = "name another folder, or that of a run of several"
        raise InputError(Finding("E118", "one circuit has nothing to be compared with", None, "", cure))
    findings: list[Finding] = []
    readable = [folder for folder in folders if _is_readable(folder, findings)]
    if findings and (damaged is None or len(readable) < 2):
        raise InputError(findings)
    if damaged is not None:
        damaged += findings
    if stored := stored_comparison(readable):
        return LoadedComparison(stored, tuple(map(read, readable)), tuple(readable))
    # It imports torch.
    from circuitlang.engine.runtime.comparisons import compare_folders

    comparison, results = compare_folders([_with_plan(folder) for folder in readable])
    return LoadedComparison(comparison, tuple(results), tuple(readable))


def _packed(path: Path) -> list[Path]:
    """Return the folders of circuits of a packed run, which are made first; none for another path. Raises
    CircuitError."""
    from circuitlang.results.packed.circuits import PackedCircuits
    from circuitlang.results.packed.files import is_packed_run
    from circuitlang.results.run_folders import is_packed_circuit

    if is_packed_run(path):
        names = list(PackedCircuits.read(path).places)
        if len(names) > _MOST:
            message = f"{path} has {len(names):,} circuits, too many to compare"
            raise InputError(Finding("E118", message, None, "", f"name at most {_MOST} of them, as {path / names[0]}"))
    elif is_packed_circuit(path):
        path, names = path.parent, [path.name]
    else:
        return []
    from circuitlang.pipeline import unpack

    return unpack(path, names)


def _is_readable(folder: Path, findings: list[Finding]) -> bool:
    """Return whether a circuit can be read, and add the reasons to the findings if it can't."""
    from circuitlang.results.reader import read

    try:
        read(folder)
    except InputError as error:
        findings += error.findings
        return False
    return True


def _with_plan(folder: Path) -> Finished:
    """Return a circuit's folder with the plan of its run, if that lies above it."""
    from circuitlang.engine.runtime.comparisons import Finished
    from circuitlang.pipeline import compile_source

    with suppress(CircuitError):
        run = compile_source(open_source(resolved(folder).parent / "plan.yaml"))
        return Finished(folder, run.plan, run.folder)
    return Finished(folder)
