"""The edits in the folder of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.base.plain_files import is_there
from circuitlang.plan.edits import Edit, OfCircuit
from circuitlang.plan.model import Plan
from circuitlang.results.edit import EditResult
from circuitlang.results.reader import planned_folders, read_json
from circuitlang.results.validation import sound_edit

# The file of an edit's folder that holds all of it.
FILE = "edit.json"


def read_edit(folder: Path) -> EditResult:
    """Read `edit.json`. Raises InputError where it isn't there or isn't one."""
    if not is_there(folder / FILE):
        raise InputError(Finding("E312", f"{folder} holds no edit", None, f"{FILE} is missing"))
    return read_json(folder, FILE, EditResult, sound_edit)


def edits(folder: Path) -> list[Path]:
    """The folders of edits: `folder` itself, or those in it, by name; not those that its plan has no more."""
    return planned_folders(folder, FILE, lambda plan: {edit.folder for edit in plan.edited})


def finished_edits(plan: Plan, folder: Path) -> Mapping[str, EditResult]:
    """Return the edits of a plan that are in the folder of its run, by name; those that can't be read are left out."""
    return dict(_finished(plan, folder))


def _finished(plan: Plan, folder: Path) -> Iterator[tuple[str, EditResult]]:
    for edit in plan.edited:
        with suppress(InputError):
            yield edit.name, read_edit(folder / edit.folder)


def circuit_of(edit: Edit) -> str:
    """Return the id of the circuit that is edited; empty where none is."""
    return edit.of.circuit if isinstance(edit.of, OfCircuit) else ""
