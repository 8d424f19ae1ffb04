"""The workers of a Dask cluster, such as those of dask-jobqueue, Kubernetes or a cloud."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.plugins.executors import Died, Ended, Event, Results, Start, Work, executor

if TYPE_CHECKING:
    from distributed import Client

_WHERE = "--on-set address=tcp://HOST:8786, or --on-set scheduler_file=FILE, which `dask scheduler` writes"


@executor
def dask(work: Work, *, address: str = "", scheduler_file: str = "", timeout: int = 30) -> Iterator[Event]:
    """The workers of a Dask cluster that runs already. They must see the same files as this machine.

    `address` is that of its scheduler, or `scheduler_file` a file that has it; `timeout` is in seconds. Another
    worker takes over from one that dies; a group fails if several of them died of it.
    """
    client = _connect(address, scheduler_file, timeout)
    from distributed import KilledWorker, as_completed

    key = uuid4().hex
    with closing(client):
        groups = {
            client.submit(compute, key, work.start, group.circuits, pure=False, priority=group.cost): group.circuits
            for group in work.groups
        }
        for future in as_completed(list(groups), loop=client.loop):
            circuits, error = groups.pop(future), future.exception()
            if isinstance(error, KilledWorker):
                yield Died(circuits, 0, str(error).split(". ")[0])
            elif error is not None:
                raise _refused(error)
            else:
                yield Ended(circuits, future.result())
            # The scheduler need not keep its results.
            future.release()


def _connect(address: str, scheduler_file: str, timeout: int) -> Client:
    """Return a client of the cluster. Raises InputError."""
    try:
        from distributed import Client
    except ImportError:
        cure = "pip install 'circuitlang[dask]'"
        raise InputError(Finding("E361", "dask is not installed", None, "--on dask needs it", cure)) from None
    if bool(address) == bool(scheduler_file):
        raise InputError(Finding("E371", "--on dask needs the place of one scheduler", None, "", _WHERE))
    if scheduler_file and not Path(scheduler_file).is_file():
        label = "there is no such file"
        raise InputError(Finding("E371", f"no Dask scheduler by {scheduler_file}", None, label, _WHERE))
    try:
        place = {"scheduler_file": scheduler_file} if scheduler_file else {"address": address}
        return Client(**place, timeout=timeout, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        label = str(error).split("\n")[0][:200]
        cure = f"start it with `dask scheduler`, or look at its address: {_WHERE}"
        raise InputError(
            Finding("E371", f"no Dask scheduler at {address or scheduler_file}", None, label, cure)
        ) from None


def _refused(error: BaseException) -> InputError:
    label = f"{type(error).__name__}: {error}".split("\n")[0][:200]
    cure = "install the same version of circuitlang, Python and the network's packages on the workers"
    return InputError(Finding("E371", "a Dask worker can't compute circuits", None, label, cure))


class _Worker:
    """The runs that this process of a cluster has started, by their keys; the last one alone."""

    lock = threading.Lock()
    key = ""
    run: Callable[[Sequence[str]], Results]


def compute(key: str, start: Start, circuits: Sequence[str]) -> Results:
    """Compute a group in a worker of the cluster, one at a time: torch uses all cores for it."""
    with _Worker.lock:
        if _Worker.key != key:
            _Worker.run, _Worker.key = start(), key
        return _Worker.run(circuits)
