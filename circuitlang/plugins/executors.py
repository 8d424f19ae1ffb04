"""The protocol of executors: groups of circuits go out, events come back, results are read from the store of the run.

An executor is a file with one decorated function, as any extension (see `plugins/protocols.py`). A package declares it
by an entry point of the group `circuitlang.executors`, and `run --on NAME` uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, TypeVar

import msgspec

from circuitlang.plugins.registry import Registry

# The results of circuits, as the runner makes and reads them; an executor passes them on.
Results = list[Any]
# Prepares a run in a new process, and returns the function that computes circuits by their ids.
Start = Callable[[], Callable[[Sequence[str]], Results]]


class Group(msgspec.Struct, frozen=True):
    """Circuits that share passes through the network, and are best computed by one process.

    A group is idempotent: its results don't depend on where it is computed, and it can be lost and computed again.

    Attributes:
        circuits: Ids of the circuits, in the order in which they are to be computed.
        cost: Estimated floating-point operations of all of them.
    """

    circuits: tuple[str, ...]
    cost: float


class Work(msgspec.Struct, frozen=True):
    """The circuits of a run that are to be computed.

    Attributes:
        groups: All circuits, the costliest group first. No group waits for another.
        workers: Number of processes or cluster jobs that were asked for.
        start: Start of a worker that computes one group after another. It can be pickled.
        start_local: The same for processes that share the cache of this machine. They may take the circuits of a group
            apart, and need those that come first in `after`.
        after: Circuits that need what another leaves in the cache, by id.
        folder: Folder of the run.
        command: Command of a process that takes a share of the run by itself, `circuitlang run ... --shared`; empty
            where no command began the run.
    """

    groups: Sequence[Group]
    workers: int
    start: Start
    start_local: Start
    after: Mapping[str, str]
    folder: Path
    command: Sequence[str] = ()


class Begun(msgspec.Struct, frozen=True):
    """A worker has begun a circuit."""

    circuit: str


class Ended(msgspec.Struct, frozen=True):
    """A worker has computed circuits, or reports why it could not."""

    circuits: tuple[str, ...]
    results: Results


class Died(msgspec.Struct, frozen=True):
    """The worker of some circuits ended, and they are given up.

    Attributes:
        code: Exit code, of a signal if negative.
        reason: Words for it in place of the code.
    """

    circuits: tuple[str, ...]
    code: int
    reason: str = ""


class Detached(msgspec.Struct, frozen=True):
    """The workers go on without this process, which ends.

    Attributes:
        what: Words for them, such as "2 jobs".
        stop: Command that ends them.
        logs: Folder of their output.
    """

    what: str
    stop: str
    logs: Path


class DetachedError(Exception):
    """A run ends here because its workers go on elsewhere."""

    def __init__(self, detached: Detached) -> None:
        super().__init__(detached.what)
        self.detached = detached


Event = Begun | Ended | Died | Detached
Executor = Callable[Concatenate[Work, ...], Iterator[Event]]
E = TypeVar("E", bound=Executor)

EXECUTORS: Registry[Executor] = Registry("executor", "circuitlang.engine.runtime.executors", "circuitlang.executors")


def executor(function: E) -> E:
    """Register an executor. Its keyword parameters are the settings that `--on-set KEY=VALUE` gives."""
    EXECUTORS.add(function.__name__, function.__module__, function)
    return function
