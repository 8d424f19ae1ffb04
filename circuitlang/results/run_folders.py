"""Folders of runs below a folder, and the results in them by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from circuitlang.base.diagnostics import Finding, InputError, did_you_mean, listing
from circuitlang.base.plain_files import inside
from circuitlang.results.packed.circuits import PackedCircuits
from circuitlang.results.packed.files import is_packed_run
from circuitlang.results.reader import plan_of

# Files of which one is in the folder of every finished result.
_RESULT_FILES = ("circuit.json", "split.json", "comparison.json", "edit.json")


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run.

    Attributes:
        circuits: Number of circuits and splits in its plan.
        finished: Number of those whose folder has a result.
    """

    folder: Path
    circuits: int
    finished: int


def run_folders(folder: Path) -> list[RunFolder]:
    """Return the runs in a folder, by name. A folder is one if it has a plan that can be read."""
    runs = []
    for path in sorted(inside(folder, "*")):
        plan = plan_of(path) if path.is_dir() and not path.name.startswith(".") else None
        if plan is not None:
            packed = PackedCircuits.read(path).places if is_packed_run(path) else {}
            finished = sum(circuit.id in packed or is_result(path / circuit.id) for circuit in plan.circuits)
            runs.append(RunFolder(path, len(plan.circuits), finished))
    return runs


def is_packed_circuit(place: Path) -> bool:
    """Return whether a path is that of a circuit in a packed run, whether it has a folder or not."""
    return is_packed_run(place.parent) and place.name in PackedCircuits.read(place.parent).places


def circuit_named(run: Path, name: str) -> Path:
    """Return the place of a circuit in a run's folder, by its id or its target as in the spec, `conv5:34`.

    Raises InputError if there is none, or if there are several.
    """
    if is_packed_run(run):
        targets = PackedCircuits.read(run).targets()
    else:
        plan = plan_of(run)
        targets = {circuit.id: str(circuit.target) for circuit in plan.circuits} if plan else {}
    if name in targets:
        return run / name
    named = [id for id, target in targets.items() if target == name]
    if len(named) == 1:
        return run / named[0]
    if named:
        raise InputError(
            Finding("E312", f"{run} has several circuits of {name}", None, "", f"name one of {listing(named)}")
        )
    cure = did_you_mean(
        name, [*targets, *dict.fromkeys(targets.values())], f"`circuitlang show {run}` lists its circuits"
    )
    raise InputError(Finding("E312", f"{run} has no circuit {name}", None, "", cure))


def is_result(folder: Path) -> bool:
    """Return whether a folder has a finished circuit, split, comparison or edit."""
    return any((folder / name).is_file() for name in _RESULT_FILES)


def results_named(name: str, folder: Path) -> list[Path]:
    """Return the folders of runs and of results in them that have a name, in the runs of a folder."""
    return [place for place in _places(folder) if place.name == name]


def result_names(folder: Path) -> list[str]:
    """Return the names of all runs in a folder and of their results."""
    return list(dict.fromkeys(place.name for place in _places(folder)))


def _places(folder: Path) -> Iterator[Path]:
    for run in run_folders(folder):
        yield run.folder
        names = {path.name for path in run.folder.iterdir() if is_result(path) and not path.name.startswith(".")}
        if is_packed_run(run.folder):
            names |= PackedCircuits.read(run.folder).places.keys()
        yield from (run.folder / name for name in sorted(names))
