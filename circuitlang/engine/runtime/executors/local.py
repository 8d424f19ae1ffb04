"""Processes of this machine, by pebble: where one dies, its circuit alone is lost, and another takes its place."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from multiprocessing import connection, get_context, parent_process, util
from typing import Any, NoReturn

from circuitlang.plugins.executors import Begun, Died, Ended, Event, Results, Start, Work, executor


@executor
def local(work: Work) -> Iterator[Event]:
    """Processes of this machine, which share its cache."""
    names = [name for group in work.groups for name in group.circuits]
    return spread(work.start_local, names, work.workers, work.after)


def spread(
    start: Start, circuits: Sequence[str], processes: int, after: Mapping[str, str]
) -> Generator[Event, None, None]:
    """Yield the events of circuits that are computed by at most so many processes, each of which calls `start` once.

    A circuit that has another `after` it waits for that to end. No process is left when the generator ends or is
    closed.
    """
    from pebble import ProcessExpired, ProcessPool

    waiting, unfinished = list(circuits), set(circuits)
    busy: dict[Future[Results], str] = {}
    # Not forked: threads of torch don't survive it, and nor does CUDA.
    pool = ProcessPool(processes, initializer=_begin, initargs=(start, _is_silent()), context=get_context("spawn"))
    try:
        while unfinished:
            ready = [name for name in waiting if after.get(name) not in unfinished]
            for name in ready[: processes - len(busy)]:
                waiting.remove(name)
                busy[pool.schedule(_compute, (name,))] = name
                yield Begun(name)
            for future in wait(busy, return_when=FIRST_COMPLETED).done:
                name = busy.pop(future)
                unfinished.remove(name)
                try:
                    yield Ended((name,), future.result())
                except ProcessExpired as error:
                    yield Died((name,), error.exitcode or 0)
    finally:
        pool.stop()  # type: ignore[no-untyped-call]
        pool.join()


def _is_silent() -> bool:
    """Return whether warnings are ignored here, which a new process doesn't know."""
    # Modules that are imported later put filters of their own before it.
    return any(entry[:3] == ("ignore", None, Warning) for entry in warnings.filters)


class _Worker:
    """The state of a process of the pool: how it starts, and what that returned."""

    start: Start
    run: Callable[[Sequence[str]], Results] | None = None
    busy: bool = False


def _begin(start: Start, silent: bool) -> None:
    """Begin a process of the pool."""
    if silent:
        warnings.simplefilter("ignore")
    # Ctrl-C reaches every process of a terminal; the parent is the one that decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    # First of all that is done when a process ends.
    util.Finalize(None, _ignore_termination, exitpriority=1000)
    threading.Thread(target=_follow, daemon=True).start()
    _Worker.start = start


def _compute(name: str) -> Results:
    """Compute a circuit in a process of the pool."""
    _Worker.busy = True
    try:
        if _Worker.run is None:
            # An error here is one of this circuit; the initializer of a pool must not fail.
            _Worker.run = _Worker.start()
        return _Worker.run((name,))
    except SystemExit:
        # The pool would take it for a result, and give the process another circuit.
        _leave()
    finally:
        _Worker.busy = False


def _end(*_: Any) -> None:
    """End as an exception does, so that unfinished files are removed. Without a circuit there are none."""
    if not _Worker.busy:
        # A process that is slow to end on its own would print the exception.
        _leave()
    sys.exit(1)


def _leave() -> NoReturn:
    """End now, as pebble does: the semaphores that libraries made here are removed, or a warning would count them."""
    _ignore_termination()
    util._exit_function()  # type: ignore[attr-defined]
    os._exit(1)


def _ignore_termination() -> None:
    """Let a process that ends do so: a semaphore would be left half removed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _follow() -> None:
    """End with the parent: one that was killed can't tell its workers to end."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
