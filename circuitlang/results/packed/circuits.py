"""Circuits of a packed run: `circuits.parquet`, and the shards that runs have written since it was.

A run writes shards beside it, each whole or not at all, and merges them when it ends. Of a circuit that several files
have, the last counts: a merge that was interrupted loses nothing and repeats nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from circuitlang.base.atomic_files import write_atomically
from circuitlang.base.diagnostics import Finding, InputError, did_you_mean
from circuitlang.base.plain_files import inside
from circuitlang.plan.labels import Labels
from circuitlang.results.ownership import PACKED
from circuitlang.results.packed.files import ENDING, SHARDS, files
from circuitlang.results.packed.parquet import (
    GROUP,
    DamagedError,
    PackedFile,
    arrow,
    circuit_of,
    conformed,
    table,
    unified,
    writer,
)
from circuitlang.results.packed.rows import PackedCircuit, label, read_summary
from circuitlang.results.types import Summary
from circuitlang.results.writer import packed_place, run_files

if TYPE_CHECKING:
    import pyarrow

_AGAIN = "run its spec again: what is damaged is made anew"
# Another process may merge files while they are read.
_TRIES = 5
# Row groups in memory while files are merged.
_KEPT = 4


@dataclass(frozen=True)
class Place:
    """The place of a circuit: a file, a row group of it, and a row of that."""

    path: Path
    group: int
    row: int
    identity: str


@dataclass
class PackedCircuits:
    """The circuits of a packed run by id.

    Attributes:
        folder: Folder of the run.
        places: Place of each circuit.
        damaged: Files, or parts of them, that can't be read, and why; their circuits are missing.
    """

    folder: Path
    places: dict[str, Place] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path, whole: bool = False) -> PackedCircuits:
        """Find the circuits of a run; `whole` reads every row, so that damage anywhere is noticed."""
        for _ in range(_TRIES):
            circuits, there = cls(folder), files(folder)
            for path in there:
                try:
                    with PackedFile(path) as file:
                        circuits._add(file, whole)
                except DamagedError as error:
                    circuits.damaged.append(f"{path.relative_to(folder)}: {error}")
            if not circuits.damaged or files(folder) == there:
                break
        return circuits

    def _add(self, file: PackedFile, whole: bool) -> None:
        for group in range(file.groups):
            try:
                part = file.read(group, None if whole else ["id", "identity"])
                names, identities = part.column("id").to_pylist(), part.column("identity").to_pylist()
            except DamagedError as error:
                self.damaged.append(f"{file.path.relative_to(self.folder)}, row group {group}: {error}")
                continue
            for number, (name, identity) in enumerate(zip(names, identities, strict=True)):
                if name is not None and identity is not None:
                    self.places[name] = Place(file.path, group, number, identity)

    def circuit(self, name: str) -> PackedCircuit:
        """Return a circuit. Raises InputError."""
        place = self._place(name)
        try:
            return circuit_of(self._rows(place, ["summary", "masks", "crops"]), place.row)
        except DamagedError as error:
            raise self._unreadable(place, error) from None

    def summary(self, name: str) -> Summary:
        """Return a circuit without its masks. Raises InputError."""
        place = self._place(name)
        try:
            return read_summary(self._rows(place, ["summary"]).column("summary")[place.row].as_py())
        except (DamagedError, ValueError, TypeError, RecursionError) as error:
            raise self._unreadable(place, error) from None

    def targets(self) -> dict[str, str]:
        """Return the target of each circuit by id, as the spec has it. Raises InputError."""
        rows = self.table(["id", "target"])
        return dict(zip(rows.column("id").to_pylist(), map(str, rows.column("target").to_pylist()), strict=True))

    def table(self, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """Return the circuits as a table, all columns or some. Raises InputError."""
        self._check()
        parts, wanted = [], None if columns is None else ["id", *(name for name in columns if name != "id")]
        for path in dict.fromkeys(place.path for place in self.places.values()):
            try:
                with PackedFile(path) as file:
                    for group in range(file.groups):
                        rows = [
                            place.row for place in self.places.values() if (place.path, place.group) == (path, group)
                        ]
                        if rows:
                            parts.append(file.read(group, wanted).take(sorted(rows)))
            except DamagedError as error:
                raise InputError(Finding("E312", f"{path} can't be read", None, str(error), _AGAIN)) from None
        pa = arrow()
        return (
            pa.concat_tables(parts, promote_options="default")
            if parts
            else pa.table({name: [] for name in wanted or ["id"]})
        )

    def circuits(self, names: Collection[str]) -> Iterator[PackedCircuit]:
        """Yield circuits in the order in which they lie in their files. Raises InputError."""
        places = {name: self._place(name) for name in names}
        for name in sorted(places, key=lambda name: (places[name].path, places[name].group, places[name].row)):
            yield self.circuit(name)

    def _check(self) -> None:
        """Raise InputError if nothing can be read, and say why."""
        if self.damaged and not self.places:
            findings = [Finding("E312", f"{self.folder} is damaged", None, reason, _AGAIN) for reason in self.damaged]
            raise InputError(findings)

    def _place(self, name: str) -> Place:
        self._check()
        if name not in self.places:
            cure = did_you_mean(name, list(self.places), f"`circuitlang show {self.folder}` lists its circuits")
            raise InputError(Finding("E312", f"{self.folder} has no circuit {name}", None, "", cure))
        return self.places[name]

    def _rows(self, place: Place, columns: Sequence[str]) -> pyarrow.Table:
        return _row_group(place.path, place.path.stat().st_mtime_ns, place.group, tuple(columns))

    def _unreadable(self, place: Place, error: Exception) -> InputError:
        return InputError(Finding("E312", f"{place.path} can't be read", None, str(error)[:200], _AGAIN))


@lru_cache(maxsize=_KEPT)
def _row_group(path: Path, _changed: int, group: int, columns: tuple[str, ...] | None) -> pyarrow.Table:
    with PackedFile(path) as file:
        return file.read(group, columns)


def write_shard(circuits: Sequence[PackedCircuit], folder: Path) -> Path:
    """Write circuits into a shard of their own, in one step. Raises OSError."""
    content = arrow().BufferOutputStream()
    rows = table(circuits)
    with writer(content, rows.schema) as output:
        output.write_table(rows, row_group_size=GROUP)
    last = max((int(path.stem.partition("-")[0]) for path in inside(folder / SHARDS, "[0-9]*-*.parquet")), default=0)
    # Processes of several machines may have the same number.
    path = folder / SHARDS / f"{last + 1:08}-{secrets.token_hex(4)}{ENDING}"
    write_atomically(path, content.getvalue().to_pybytes(), mode=0o644, durable=True)
    return path


def merge(folder: Path, order: Sequence[str], labels: Labels | None) -> list[str]:
    """Merge the shards of a run into `circuits.parquet`, with these labels; return the damage that was left out.

    Circuits come in the order of their ids, and others after them. Raises OutputError.
    """
    with run_files(folder):
        shards = [path for path in files(folder) if path.parent.name == SHARDS]
        there = PackedCircuits.read(folder, whole=True)
        if not shards and not there.damaged:
            return []
        names = [*(name for name in order if name in there.places)]
        names += sorted(there.places.keys() - set(names))
        with packed_place(folder / PACKED) as place:
            _write(place, there, names, labels)
        for path in shards:
            path.unlink(missing_ok=True)
        with suppress(OSError):
            (folder / SHARDS).rmdir()
        return there.damaged


def _write(path: Path, there: PackedCircuits, names: Sequence[str], labels: Labels | None) -> None:
    """Write circuits in row groups of equal size; only a few are in memory at once."""
    schemas = []
    for file in dict.fromkeys(there.places[name].path for name in names):
        with PackedFile(file) as opened:
            schemas.append(opened.schema)
    schema = unified(schemas) if schemas else table([]).schema
    with writer(path, schema) as output:
        for start in range(0, len(names), GROUP):
            parts = []
            for name in names[start : start + GROUP]:
                place = there.places[name]
                rows = _row_group(place.path, place.path.stat().st_mtime_ns, place.group, None).slice(place.row, 1)
                parts.append(conformed(rows, schema))
            group = arrow().concat_tables(parts).combine_chunks()
            output.write_table(_relabelled(group, labels), row_group_size=GROUP)


def _relabelled(group: pyarrow.Table, labels: Labels | None) -> pyarrow.Table:
    """Return a row group with the labels of a plan, which may have changed since its circuits were found."""
    pa = arrow()
    texts: list[str | None] = [None] * group.num_rows
    if labels is not None:
        summaries = map(read_summary, group.column("summary").to_pylist())
        texts = [label(msgspec.structs.replace(summary, labels=labels)) for summary in summaries]
    number = group.schema.get_field_index("label")
    return group.set_column(number, group.schema.field(number), pa.array(texts, pa.string()))
