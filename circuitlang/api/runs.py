"""The circuits of a run as an object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex, overload

from circuitlang.api.circuits import LoadedCircuit
from circuitlang.api.edits import LoadedEdit
from circuitlang.api.frames import framed
from circuitlang.base.diagnostics import Finding, InputError, did_you_mean, listing

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes


class Run(list[LoadedCircuit]):
    """List of the circuits of a run, in the order of its plan, with the run's folder.

    A circuit is found by its number, by its name, or by its target if no other has the same. `notes` are the warnings
    about the spec and the files that it names, `edits` the edits of the network by name. A notebook shows the page of
    the run.

    Examples:
        >>> run = circuitlang.run("dogs.circuit")
        >>> [circuit.summary.kept for circuit in run], run.notes
        ([338, 135], ())
    """

    def __init__(
        self,
        folder: Path,
        circuits: Iterable[LoadedCircuit],
        notes: Sequence[Finding] = (),
        edits: Mapping[str, LoadedEdit] | None = None,
    ) -> None:
        super().__init__(circuits)
        self.folder = folder
        self.notes = tuple(notes)
        self.edits: Mapping[str, LoadedEdit] = edits or {}

    @overload
    def __getitem__(self, key: SupportsIndex) -> LoadedCircuit: ...
    @overload
    def __getitem__(self, key: slice) -> list[LoadedCircuit]: ...
    @overload
    def __getitem__(self, key: str) -> LoadedCircuit: ...
    def __getitem__(self, key: SupportsIndex | slice | str) -> LoadedCircuit | list[LoadedCircuit]:
        if not isinstance(key, str):
            return super().__getitem__(key)
        for circuit in self:
            if circuit.summary.plan.id == key:
                return circuit
        named = [circuit for circuit in self if str(circuit.summary.plan.target) == key]
        if len(named) == 1:
            return named[0]
        names = self.names()
        label = f"there are {listing(names)}" if names else "the run has no circuits"
        raise InputError(Finding("E115", f"unknown circuit '{key}'", None, label, did_you_mean(key, names)))

    def names(self) -> list[str]:
        """Return the names of the circuits, by which `run[name]` gives one of them.

        Examples:
            >>> run.names()
            ['conv5_34-annealed-0.05', 'sketch']
            >>> run["sketch"].summary.kept
            135
        """
        return [circuit.summary.plan.id for circuit in self]

    def to_frame(self) -> pandas.DataFrame:
        """Return a data frame of pandas with a row for each circuit: its plan, and all numbers of `metrics.json`.

        Raises InputError if pandas is not installed.

        Examples:
            >>> run.to_frame().loc["sketch", "kept"]
            np.int64(135)
        """
        from circuitlang.api.tables import run_frame

        return run_frame(circuit.result for circuit in self)

    def plot(self, metric: str = "test.pearson", axes: Axes | None = None) -> Axes:
        """Plot a metric over the share of kept kernels, and return the axes of matplotlib.

        Each target and criterion is a line.

        Examples:
            >>> run.plot("test.r2").get_ylabel()
            'test.r2'
        """
        from circuitlang.api.plots import run_axes

        return run_axes([circuit.result for circuit in self], axes, metric)

    def atlas(self, folder: str | Path | None = None, allow_code: bool = False) -> Path:
        """Write a static site with a page for each channel into a folder, by default `atlas` in that of the run.

        Returns its first page. `allow_code` permits to run the file of a `model python(...)`, of a packed run. Raises
        CircuitError.

        Examples:
            >>> run.atlas("site").name
            'index.html'
        """
        from circuitlang.api.atlas import write_atlas
        from circuitlang.base.diagnostics import CircuitError

        written = write_atlas(self.folder, None if folder is None else Path(folder), allow_code)
        if written.findings:
            raise CircuitError(written.findings)
        return written.page

    def __repr__(self) -> str:
        counts = [(len(self), "circuit"), (len(self.edits), "edit")]
        said = " and ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count)
        names = listing([*self.names(), *self.edits], limit=6)
        return f"<run of {said}: {names}, {self.folder}>" if said else "<run, no circuits>"

    def _repr_html_(self) -> str:
        if len(self) == 1 and not self.edits:
            return self[0]._repr_html_()
        from circuitlang.base.plain_files import read_plain

        page = self.folder / "index.html"
        with suppress(OSError):
            return framed(read_plain(page).decode(errors="replace"), page)
        return "".join(circuit._repr_html_() for circuit in self)
