"""Folders of comparisons: their names, and reading them back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from circuitlang.base.plain_files import inside, is_there
from circuitlang.plan.model import digest
from circuitlang.results.comparison import FILE, Comparison
from circuitlang.results.reader import plan_of, read_json
from circuitlang.results.validation import sound_comparison

_LONGEST = 80  # letters of a folder's name


def read_comparison(folder: Path) -> Comparison:
    """A comparison from its folder. Raises InputError where it isn't there or isn't one."""
    return read_json(folder, FILE, Comparison, sound_comparison)


def comparisons(folder: Path) -> list[Path]:
    """The folders of comparisons: `folder` itself, or those in it, by name."""
    if is_there(folder / FILE):
        return [folder]
    folders = sorted(path.parent for path in inside(folder, f"*/{FILE}") if not path.parent.name.startswith("."))
    plan = plan_of(folder)
    if plan is None:
        return folders
    names = folder_names(plan.comparisons, [circuit.id for circuit in plan.circuits])
    return [folder for folder in folders if folder.name in names]


def folder_names(comparisons: Sequence[Sequence[str]], taken: Sequence[str]) -> list[str]:
    """A folder for each comparison, by the ids of its circuits; no two are the same, and none is a circuit's."""
    names: list[str] = []
    for ids in comparisons:
        name = "-".join(("compare", *ids))
        if len(name) > _LONGEST:
            name = f"compare-{ids[0][:40]}-and-{len(ids) - 1}-more-{digest(chr(10).join(ids).encode())[:6]}"
        while name in (*names, *taken):
            name += "'"
        names.append(name)
    return names
