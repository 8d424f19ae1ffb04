"""The circuits of a packed run as an object, which makes the folder of each that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex, overload

from circuitlang.api.circuits import LoadedCircuit, load
from circuitlang.api.runs import Run
from circuitlang.base.diagnostics import Finding
from circuitlang.results.packed.circuits import PackedCircuits
from circuitlang.results.run_folders import circuit_named

if TYPE_CHECKING:
    import pandas


class PackedRun(Run):
    """Circuits of a packed run, in the order of its plan.

    A circuit is found by its number, its name or its target. Its folder is made when it is asked for, as a direct run
    would have made it. `names` and `to_frame` make none.

    Examples:
        >>> run = circuitlang.run("preserve conv2:[4, 9] on images/dogs/* keep<=10% criterion=snip", packed=True)
        >>> run["conv2:4"]
        <circuit conv2:4: 6 of 64 kernels, runs/inline/conv2_4-snip-0.1>
    """

    def __init__(self, folder: Path, notes: Sequence[Finding] = ()) -> None:
        super().__init__(folder, (), notes)

    @cached_property
    def _circuits(self) -> PackedCircuits:
        return PackedCircuits.read(self.folder)

    @overload
    def __getitem__(self, key: SupportsIndex) -> LoadedCircuit: ...
    @overload
    def __getitem__(self, key: slice) -> list[LoadedCircuit]: ...
    @overload
    def __getitem__(self, key: str) -> LoadedCircuit: ...
    def __getitem__(self, key: SupportsIndex | slice | str) -> LoadedCircuit | list[LoadedCircuit]:
        if isinstance(key, slice):
            return [load(self.folder / name) for name in self.names()[key]]
        return load(circuit_named(self.folder, key) if isinstance(key, str) else self.folder / self.names()[key])

    def __len__(self) -> int:
        return len(self._circuits.places)

    def __iter__(self) -> Iterator[LoadedCircuit]:
        return (self[name] for name in self.names())

    def names(self) -> list[str]:
        return list(self._circuits.places)

    def to_frame(self) -> pandas.DataFrame:
        """Return a data frame of pandas with a row for each circuit, as `circuits.parquet` has it, without its masks.

        Raises InputError if pandas is not installed.

        Examples:
            >>> run = circuitlang.run("preserve conv2:4 on images/dogs/* keep<=10% criterion=snip", packed=True)
            >>> int(run.to_frame().loc["conv2_4-snip-0.1", "kept"])
            6
        """
        from circuitlang.api.tables import packed_frame

        return packed_frame(self._circuits)

    def _repr_html_(self) -> str:
        return str(self.to_frame().to_html(max_rows=20))
