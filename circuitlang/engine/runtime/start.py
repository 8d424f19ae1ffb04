"""Start of a run: its folder, its prepared jobs, and the plan that it leaves there."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from circuitlang.base.plain_files import read_plain
from circuitlang.engine import device
from circuitlang.engine.runtime.known_inputs import KnownInputs, known_inputs, note_weights
from circuitlang.engine.runtime.options import Options
from circuitlang.engine.runtime.stored_results import seems_stored
from circuitlang.engine.runtime.work_selection import WorkSelection
from circuitlang.plan.compiled import CompiledPlan
from circuitlang.plan.yaml import write_plan
from circuitlang.results.comparison_folders import folder_names
from circuitlang.results.result_store import open_store
from circuitlang.results.writer import claim_run, run_files

if TYPE_CHECKING:
    from circuitlang.engine.runtime.jobs import PreparedRun
    from circuitlang.engine.runtime.lockfile import Lock


def start_run(
    compiled: CompiledPlan, folder: Path, options: Options, work: WorkSelection, lock: Lock | None
) -> tuple[PreparedRun | KnownInputs, list[str]]:
    """Begin a run into a folder and write its plan there; return its inputs and the ids of the jobs to do.

    Where all of these seem to be finished and the inputs are known, nothing is loaded. Raises CircuitError if the plan
    can't be run, differs from the lock, or files of others are in its way.
    """
    selected = work.of(compiled.plan)
    ids = [circuit.id for circuit in compiled.plan.circuits]
    edits = [edit.folder for edit in compiled.plan.edited]
    # A plan that is run in its own folder is kept as its author wrote it.
    in_place = _is_same_file(Path(compiled.name), folder / "plan.yaml")
    claim_run(folder, (*selected, *folder_names(compiled.plan.comparisons, ids), *edits), in_place)
    prepared = _finished(compiled, folder, options, selected) or _prepared(compiled, options)
    if lock is not None:
        from circuitlang.engine.runtime.lockfile import check_locked

        check_locked(lock, prepared, compiled)
    if not in_place:
        _write_plan(compiled, folder)
    return prepared, [name for name in ids if name in selected]


def _finished(compiled: CompiledPlan, folder: Path, options: Options, selected: Collection[str]) -> KnownInputs | None:
    """Return the inputs of a run if they are known and all selected jobs seem to be finished."""
    store = open_store(folder, options.packed, compiled.plan.labels)
    there = all(map(store.has_traces, selected))
    # Devices of other names are known to torch alone.
    if not there or options.force or options.fast or options.device not in ("auto", "cpu"):
        return None
    known = known_inputs(compiled.plan, compiled.folder, compiled.origins, options)
    if known is None:
        return None
    if not all(seems_stored(known, job, store) for job in known.jobs if job.plan.id in selected):
        return None
    note_weights(known)
    return known


def _prepared(compiled: CompiledPlan, options: Options) -> PreparedRun:
    from circuitlang.engine.runtime.jobs import prepare

    # Plans are made on any machine; only a run needs the device that `fast` needs.
    device.find(options.device, options.fast)
    return prepare(compiled.plan, compiled.folder, compiled.origins, options)


def _is_same_file(one: Path, other: Path) -> bool:
    with suppress(OSError, ValueError):
        return one.samefile(other) and not other.is_symlink()
    return False


def _write_plan(compiled: CompiledPlan, folder: Path) -> None:
    base = os.path.relpath(compiled.folder, folder)
    content = write_plan(msgspec.structs.replace(compiled.plan, base=base)).encode()
    with suppress(OSError):
        if read_plain(folder / "plan.yaml") == content:
            return
    with run_files(folder) as files:
        files.put("plan.yaml", content)
