"""The status of a run that goes on elsewhere: what is finished, what is being computed, what has failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.results.claims import LEASE, Held, costs_of, failures, held, worked_off
from circuitlang.results.packed.circuits import PackedCircuits
from circuitlang.results.packed.files import is_packed_run
from circuitlang.results.reader import plan_of
from circuitlang.results.run_folders import is_result


@dataclass(frozen=True)
class RunStatus:
    """The status of a run.

    Attributes:
        folder: Folder of the run.
        circuits: Ids of the circuits and splits of its plan.
        finished: Ids of those that are finished.
        held: Claims on others, by the processes that compute them.
        failed: Reasons of the circuits that failed, by id.
        seconds: Estimated remaining time; None while it is unknown.
    """

    folder: Path
    circuits: Sequence[str]
    finished: frozenset[str]
    held: Sequence[Held]
    failed: Mapping[str, str]
    seconds: float | None


def run_status(folder: Path) -> RunStatus:
    """Read the status of a run. Raises InputError if the folder is not one of a run."""
    plan = plan_of(folder)
    if plan is None:
        cure = "give the folder of a run; `circuitlang show` lists runs"
        raise InputError(Finding("E312", f"{folder} is no run", None, "plan.yaml is missing", cure))
    names = [circuit.id for circuit in plan.circuits]
    packed = PackedCircuits.read(folder).places if is_packed_run(folder) else {}
    finished = frozenset(name for name in names if name in packed or is_result(folder / name))
    # A claim says what was due when it was taken.
    claims = [claim for claim in held(folder) if claim.claim.circuits]
    failed = {name: reason for name, reason in failures(folder).items() if name in names and name not in finished}
    left = [name for name in names if name not in finished and name not in failed]
    return RunStatus(folder, names, finished, claims, failed, _remaining(folder, left, claims))


def _remaining(folder: Path, left: Sequence[str], claims: Sequence[Held]) -> float | None:
    """Return the estimated seconds for the circuits that are left, by the processes that are at work.

    Their speed is that with which the groups that are done were computed.
    """
    costs, done = costs_of(folder), worked_off(folder)
    seconds = sum(group.seconds for group in done)
    operations = sum(costs.get(name, 0.0) for group in done for name in group.circuits if name not in group.failed)
    processes = len({claim.claim.token for claim in claims if claim.silent <= LEASE})
    if not (seconds and operations and processes and left) or not costs.keys() >= set(left):
        return None
    return sum(costs[name] for name in left) * seconds / operations / processes
