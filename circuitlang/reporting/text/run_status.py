"""Sentences about a run that goes on elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from circuitlang.base.diagnostics import listing
from circuitlang.results.claims import LEASE, Held
from circuitlang.results.run_status import RunStatus


def status_lines(status: RunStatus) -> Iterator[str]:
    """Yield the lines of a report on the status of a run."""
    total, finished = len(status.circuits), len(status.finished)
    claimed = {name for held in status.held for name in held.claim.circuits} - status.finished
    waiting = total - finished - len(claimed - status.failed.keys()) - len(status.failed)
    parts = [f"{finished:,} of {total:,} circuits are finished"]
    if finished < total:
        parts += [f"{len(claimed):,} are being computed"] if claimed else []
        parts += [f"{waiting:,} wait"] if waiting else []
    yield f"{status.folder.name}: {listing(parts)}"
    if status.seconds is not None:
        yield f"  about {_duration(status.seconds)} left"
    for held in status.held:
        yield f"  {_owner(held, status)}"
    for name, reason in status.failed.items():
        yield f"  {name} failed: {reason}"
    if waiting and not claimed:
        yield "nobody computes them: the same `circuitlang run` continues"


def _duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    if seconds < 100 * 60:
        return f"{round(seconds / 60)} min"
    return f"{round(seconds / 3600)} h" if seconds < 100 * 3600 else f"{round(seconds / 86400)} days"


def _owner(held: Held, status: RunStatus) -> str:
    names = held.claim.circuits
    left = [name for name in names if name not in status.finished]
    circuits = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    owner = f"{held.claim.host}, process {held.claim.process}: {circuits}, {len(left)} of {len(names)} left"
    if held.silent > LEASE:
        return f"{owner}; no sign of life for {held.silent:.0f} s, others take them up"
    return owner
