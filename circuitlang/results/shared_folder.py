"""Folders of results as they are shared: which of their files, what they hold, and whether they are as they were
written."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from circuitlang.base.diagnostics import Finding, InputError, listing
from circuitlang.base.plain_files import is_there
from circuitlang.plan.model import Plan
from circuitlang.results.comparison import FILE
from circuitlang.results.comparison_folders import read_comparison
from circuitlang.results.manifest import damage
from circuitlang.results.ownership import is_atlas
from circuitlang.results.packed.circuits import PackedCircuits
from circuitlang.results.packed.files import SHARDS, is_packed_run
from circuitlang.results.reader import circuits, plan_of, read, read_split, splits
from circuitlang.results.types import Summary

Kind = Literal["circuit", "run", "packed run", "atlas", "split", "comparison"]
# The page of a repository, which is made when a folder is pushed.
CARD = "README.md"
# Names that a folder can't have on some system, whatever their ending.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
_LONGEST = 255


@dataclass(frozen=True)
class SharedFolder:
    """A folder of finished results, read and found to be as it was written.

    `summaries` are those of its circuits, in the order of its plan; an atlas has none.
    """

    folder: Path
    kind: Kind
    plan: Plan | None
    summaries: tuple[Summary, ...]

    @property
    def name(self) -> str:
        """The name of the folder, or of its only circuit."""
        return self.summaries[0].plan.id if self.kind == "circuit" else self.folder.resolve().name

    def __str__(self) -> str:
        count = len(self.summaries)
        circuits = f" with {count:,} circuit{'' if count == 1 else 's'}"
        return f"{'an' if self.kind == 'atlas' else 'a'} {self.kind}{circuits if 'run' in self.kind else ''}"


def shared_folder(folder: Path) -> SharedFolder:
    """Read a folder and verify all of its results, as `load` does for one.

    Raises InputError, also if a file is missing or was changed since it was written.
    """
    kind = _kind(folder)
    if kind is None:
        cure = "share the folder of a circuit, of a run or of an atlas"
        label = "its plan.yaml can't be read by this circuitlang" if is_there(folder / "plan.yaml") else ""
        raise InputError(Finding("E384", f"{folder} holds no finished result", None, label, cure))
    plan = plan_of(folder)
    if kind == "packed run":
        summaries = _packed(folder)
    else:
        places = circuits(folder)
        findings = [_damaged(place, problem) for place in (*places, *_others(folder)) for problem in damage(place)]
        if findings:
            raise InputError(findings)
        summaries = [read(place).summary for place in places]
    order = {circuit.id: number for number, circuit in enumerate(plan.circuits)} if plan else {}
    summaries.sort(key=lambda summary: order.get(summary.plan.id, len(order)))
    return SharedFolder(folder, kind, plan, tuple(summaries))


def _kind(folder: Path) -> Kind | None:
    for name, kind in _FILES.items():
        if is_there(folder / name):
            return kind
    if is_packed_run(folder):
        return "packed run"
    if plan_of(folder) is not None and (circuits(folder) or splits(folder)):
        return "run"
    return "atlas" if is_atlas(folder) else None


_FILES: Mapping[str, Kind] = {"circuit.json": "circuit", "split.json": "split", FILE: "comparison"}


def _others(folder: Path) -> Iterator[Path]:
    """Yield the folders of splits and comparisons, which are read. Raises InputError."""
    for place in splits(folder):
        read_split(place)
        yield place
    for path in (folder / FILE, *sorted(folder.glob(f"*/{FILE}"))):
        if is_there(path) and not path.parent.name.startswith("."):
            read_comparison(path.parent)
            yield path.parent


def _packed(folder: Path) -> list[Summary]:
    there = PackedCircuits.read(folder, whole=True)
    if there.damaged:
        raise InputError([_damaged(folder, problem) for problem in there.damaged])
    return [circuit.summary for circuit in there.circuits(there.places.keys())]


def _damaged(folder: Path, problem: str) -> Finding:
    return Finding("E312", f"{folder} is damaged", None, problem, "run its spec again: what is damaged is made anew")


def shared_files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder that are shared, by their paths in it with `/`.

    Hidden files are left out, but for the shards of a packed run; so are links, and the page of a repository.
    """
    files = {}
    for place, folders, names in os.walk(folder):
        inner = Path(place).relative_to(folder)
        folders[:] = sorted(name for name in folders if not name.startswith(".") or (inner / name) == Path(SHARDS))
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith(".") and not path.is_symlink() and path.is_file() and path != folder / CARD:
                files[(inner / name).as_posix()] = path
    return files


def refuse_names(names: Collection[str], whose: str) -> None:
    """Raises InputError where a file of a repository would not lie in the folder that it is written to, on this or on
    another system."""
    bad = sorted(name for name in names if not _is_inside(name))
    if bad:
        label = listing([repr(name) for name in bad], limit=3)
        raise InputError(Finding("E384", f"{whose} has files that would lie outside the folder", None, label))
    twice = len(names) - len({name.casefold() for name in names})
    if twice:
        raise InputError(Finding("E384", f"{whose} has files that differ in capitals alone", None, f"{twice} of them"))
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    if both := sorted(folders & set(names)):
        raise InputError(Finding("E384", f"{whose} has a file that is a folder too", None, repr(both[0])))


def _is_inside(name: str) -> bool:
    return bool(name) and all(map(_is_plain, name.split("/")))


def _is_plain(part: str) -> bool:
    """Return whether a part of a path is the name of a file on every system."""
    stem = part.partition(".")[0].rstrip(" ").casefold()
    odd = any(sign in '\\:*?"<>|' or not sign.isprintable() for sign in part)
    ends = part.endswith((".", " "))
    return 0 < len(part.encode()) <= _LONGEST and not odd and not ends and stem not in _DEVICES
