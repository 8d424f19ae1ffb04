"""Items of work → what was made of each, by processes of their own; where one dies, the others go on."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

T = TypeVar("T")
# Seconds that a process may take to tidy up after it was asked to end.
_PATIENCE = 5.0


@dataclass(frozen=True)
class Died:
    """A process ended at its work: by a signal where the code is negative."""

    code: int


def spread(
    start: Callable[[], Callable[[str], T]],
    items: Sequence[str],
    jobs: int,
    after: Mapping[str, str],
    begun: Callable[[str], None] = lambda _: None,
) -> Generator[tuple[str, T | Died], None, None]:
    """Yield the result of each item as it is finished, by at most `jobs` processes, each of which calls `start` once
    and what that gives for one item after the other.

    An item that has another `after` it waits for that to end; `begun` is called with each item that is given to a
    process. `start` and the results must be fit for pickle. No process is left when the generator ends or is closed.
    """
    waiting, unfinished = list(items), set(items)
    idle: list[_Worker] = []
    busy: dict[Connection, tuple[_Worker, str]] = {}
    try:
        while unfinished:
            for item in [candidate for candidate in waiting if after.get(candidate) not in unfinished][
                : jobs - len(busy)
            ]:
                worker = idle.pop() if idle else _Worker.begin(start)
                busy[worker.connection] = worker, item
                waiting.remove(item)
                worker.give(item)
                begun(item)
            for connection in [ready for ready in wait(list(busy)) if isinstance(ready, Connection)]:
                worker, item = busy.pop(connection)
                event = worker.take()
                if isinstance(event, Died):
                    worker.end()
                else:
                    idle.append(worker)
                unfinished.remove(item)
                yield item, event
    finally:
        workers = [*idle, *(worker for worker, _ in busy.values())]
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.end()


@dataclass(frozen=True)
class _Worker:
    """A process, and what items go to it and results come from it by."""

    process: BaseProcess
    connection: Connection

    @staticmethod
    def begin(start: Callable[[], Callable[[str], T]]) -> _Worker:
        # Not forked: threads of torch don't survive it, and nor does CUDA.
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(start, theirs, _silent()), daemon=True)
        process.start()
        # With the last copy elsewhere, its death is the end of the pipe.
        theirs.close()
        return _Worker(process, ours)

    def give(self, item: str) -> None:
        try:
            self.connection.send(item)
        except OSError:
            # It is dead, which `take` will tell.
            return

    def take(self) -> Any:
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return Died(self.process.exitcode or 0)

    def end(self) -> None:
        self.process.join(_PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


def _silent() -> bool:
    """Return whether warnings are ignored here, which a new process doesn't know."""
    # Modules that are imported later put filters of their own before it.
    return any(entry[:3] == ("ignore", None, Warning) for entry in warnings.filters)


def _work(start: Callable[[], Callable[[str], T]], connection: Connection, silent: bool) -> None:
    if silent:
        warnings.simplefilter("ignore")
    # Ctrl-C reaches every process of a terminal; the parent is the one that decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_follow, daemon=True).start()
    work = start()
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        connection.send(work(item))


def _end(_signal: int, _frame: object) -> None:
    """Ended as an exception, so that what is half written is tidied away."""
    sys.exit(1)


def _follow() -> None:
    """A parent that was killed can't tell its workers to end."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
