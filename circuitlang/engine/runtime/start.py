"""Start of a run: its folder, its prepared jobs, and the plan that it leaves there."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from circuitlang.engine import device
from circuitlang.engine.runtime.jobs import Job, Options, PreparedRun, prepare
from circuitlang.engine.runtime.lockfile import Lock, check_locked
from circuitlang.engine.runtime.work_selection import WorkSelection
from circuitlang.plan.compiled import CompiledPlan
from circuitlang.plan.yaml import write_plan
from circuitlang.results.comparison_folders import folder_names
from circuitlang.results.writer import claim_run, run_files


def start_run(
    compiled: CompiledPlan, folder: Path, options: Options, work: WorkSelection, lock: Lock | None
) -> tuple[PreparedRun, list[Job]]:
    """Prepare a run into a folder and write its plan there; return the run and the jobs that were selected.

    Raises CircuitError if the plan can't be run, differs from the lock, or files of others are in its way.
    """
    selected = work.of(compiled.plan)
    ids = [circuit.id for circuit in compiled.plan.circuits]
    # A plan that is run in its own folder is kept as its author wrote it.
    in_place = _is_same_file(Path(compiled.name), folder / "plan.yaml")
    claim_run(folder, (*selected, *folder_names(compiled.plan.comparisons, ids)), in_place)
    # Plans are made on any machine; only a run needs the device that `fast` needs.
    device.find(options.device, options.fast)
    prepared = prepare(compiled.plan, compiled.folder, compiled.origins, options)
    if lock is not None:
        check_locked(lock, prepared, compiled)
    if not in_place:
        _write_plan(compiled, folder)
    return prepared, [job for job in prepared.jobs if job.plan.id in selected]


def _is_same_file(one: Path, other: Path) -> bool:
    with suppress(OSError, ValueError):
        return one.samefile(other) and not other.is_symlink()
    return False


def _write_plan(compiled: CompiledPlan, folder: Path) -> None:
    base = os.path.relpath(compiled.folder, folder)
    with run_files(folder) as files:
        files.put("plan.yaml", write_plan(msgspec.structs.replace(compiled.plan, base=base)).encode())
