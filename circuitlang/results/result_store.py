"""The circuits of a run where they are kept: a folder for each, or rows of `circuits.parquet`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from circuitlang.base.deferred import np
from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.plan.labels import Labels
from circuitlang.results import writer
from circuitlang.results.manifest import damage
from circuitlang.results.outputs import FORMATS
from circuitlang.results.packed.files import is_packed_run
from circuitlang.results.reader import read, read_summary, visualised
from circuitlang.results.rendering import due
from circuitlang.results.types import ChannelSources, Circuit, Result, Summary
from circuitlang.results.visualised_channels import BUDGET

if TYPE_CHECKING:
    from circuitlang.results.packed.circuits import PackedCircuits


def _no_circuit() -> Circuit:
    """A packed run has no kernels at hand: those are made with the network."""
    none = np.zeros(0, np.int64)
    return Circuit((), (), ChannelSources(none, none, none))


class ResultStore(Protocol):
    """The circuits of a run."""

    @property
    def folder(self) -> Path:
        """Folder of the run."""

    def has_traces(self, name: str) -> bool:
        """Return whether there is anything of a circuit, whole or not."""

    def summary(self, name: str) -> Summary:
        """Return a circuit without its arrays; its files are not checked. Raises InputError."""

    def result(self, name: str) -> Result:
        """Return an undamaged circuit. Raises InputError."""

    def visualised(self, name: str) -> int:
        """Return the number of channels that are visualised on a circuit's page."""

    def damage(self, name: str) -> tuple[str, ...]:
        """Describe the damage to a circuit that was finished; empty if there is none."""

    def write(self, result: Result, formats: Collection[str], again: Collection[str] | None = None) -> Result:
        """Keep a circuit, and return it with its absent formats; see `writer.write`. Raises OutputError."""

    def relabel(self, result: Result) -> None:
        """Put the labels of a finished circuit into its files. Raises OutputError."""


class FolderStore:
    """A folder for each circuit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has_traces(self, name: str) -> bool:
        return (self.folder / name).is_dir()

    def summary(self, name: str) -> Summary:
        return read_summary(self.folder / name)

    def result(self, name: str) -> Result:
        place = self.folder / name
        if damage(place):
            raise InputError(Finding("E312", f"{place} is damaged"))
        # The arrays are as they were written, and few ask for them.
        return read(place, later=True)

    def visualised(self, name: str) -> int:
        return visualised(self.folder / name)

    def damage(self, name: str) -> tuple[str, ...]:
        place = self.folder / name
        return tuple(damage(place)) if place.is_dir() and any(place.iterdir()) else ()

    def write(self, result: Result, formats: Collection[str], again: Collection[str] | None = None) -> Result:
        return writer.write(result, self.folder / result.summary.plan.id, formats, again)

    def relabel(self, result: Result) -> None:
        writer.relabel(result, self.folder / result.summary.plan.id)


class PackedStore:
    """Rows of `circuits.parquet`; `PackedWriter` writes them where a run ends in one process.

    Circuits have the `labels` of the plan, with which they are read.
    """

    def __init__(self, folder: Path, labels: Labels | None = None) -> None:
        self.folder, self._labels = folder, labels

    @cached_property
    def _circuits(self) -> PackedCircuits:
        from circuitlang.results.packed.circuits import PackedCircuits

        return PackedCircuits.read(self.folder, whole=True)

    def has_traces(self, name: str) -> bool:
        return name in self._circuits.places

    def summary(self, name: str) -> Summary:
        return msgspec.structs.replace(self._circuits.summary(name), labels=self._labels)

    def result(self, name: str) -> Result:
        return Result(self.summary(name), _no_circuit)

    def visualised(self, name: str) -> int:  # noqa: ARG002
        """Return what is asked by default: there are no pages."""
        return BUDGET

    def damage(self, name: str) -> tuple[str, ...]:  # noqa: ARG002
        """Describe the damage to the files, once: it is not known which circuits it took."""
        damage = tuple(self._circuits.damaged)
        self._circuits.damaged.clear()
        return damage

    def write(self, result: Result, formats: Collection[str], again: Collection[str] | None = None) -> Result:  # noqa: ARG002
        unrendered = sorted(set(FORMATS.declarations) - {*formats, "circuit"})
        return replace(result, summary=msgspec.structs.replace(result.summary, unrendered=unrendered))

    def relabel(self, result: Result) -> None:
        """Do nothing: the labels of rows are put into them when they are merged."""


def open_store(folder: Path, packed: bool, labels: Labels | None = None) -> ResultStore:
    """Return the store of a run: packed if that is asked for, or if the run is packed already."""
    return PackedStore(folder, labels) if packed or is_packed_run(folder) else FolderStore(folder)


def is_unpacked(folder: Path, summary: Summary, labels: Labels | None, formats: Collection[str]) -> bool:
    """Return whether a folder has the files of a packed circuit in some output formats, undamaged and with these
    labels."""
    try:
        there = FolderStore(folder.parent).result(folder.name).summary
    except InputError:
        return False
    whole = not due(formats, there.missing, there.unrendered)
    return whole and there.provenance.identity == summary.provenance.identity and there.labels == labels
