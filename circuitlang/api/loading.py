"""The circuit or the run of a folder."""

from __future__ import annotations

from pathlib import Path

from circuitlang.api.circuits import LoadedCircuit, load
from circuitlang.api.edits import load_edit
from circuitlang.api.runs import Run


def load_either(folder: Path) -> LoadedCircuit | Run:
    """Return the circuit in a folder, or those of the run that is there in the order of its plan. Raises InputError."""
    from circuitlang.api.packed_runs import PackedRun
    from circuitlang.results.edits import edits
    from circuitlang.results.packed.files import is_packed_run
    from circuitlang.results.reader import circuits, plan_of

    if is_packed_run(folder):
        return PackedRun(folder)
    there = {path.name: path for path in circuits(folder)}
    edited = {path.name: path for path in edits(folder) if path != folder}
    plan = plan_of(folder) if (there or edited) and [*there.values()] != [folder] else None
    if plan is None:
        return load(folder)
    order = {circuit.id: number for number, circuit in enumerate(plan.circuits)}
    ordered = sorted(there.values(), key=lambda path: order.get(path.name, len(order)))
    measured = {edit.name: load_edit(edited[edit.folder]) for edit in plan.edited if edit.folder in edited}
    return Run(folder, map(load, ordered), edits=measured)
