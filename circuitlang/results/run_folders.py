"""Folders of runs below a folder, and the results in them by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from circuitlang.base.plain_files import inside
from circuitlang.results.reader import plan_of

# Files of which one is in the folder of every finished result.
_RESULT_FILES = ("circuit.json", "split.json", "comparison.json")


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
            finished = sum(is_result(path / circuit.id) for circuit in plan.circuits)
            runs.append(RunFolder(path, len(plan.circuits), finished))
    return runs


def is_result(folder: Path) -> bool:
    """Return whether a folder has a finished circuit, split or comparison."""
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
        yield from (path for path in sorted(run.folder.iterdir()) if is_result(path) and not path.name.startswith("."))
