"""The command line in brief, ended at a chosen point, so that no test has to be quicker than what it ends.

`python -m tests.helpers.process_endings files:7 run a.circuit` is killed just before its seventh change of a file
below `runs`. `python -m tests.helpers.process_endings works:2:FIFO run a.circuit` works at the second circuit of each
process for ever. A process that comes there writes its id into FIFO, which it holds open until it ends.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, TextIO

from tests.conftest import ROOT

CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")


def begin(point: str, *arguments: str) -> subprocess.Popen[str]:
    """Start the command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.process_endings", point, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        text=True,
        # What runs in a shell's background is born deaf to SIGINT, and so would be its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def begun(process: subprocess.Popen[str], fifo: Path) -> TextIO:
    """Wait until a pipe is written to; fails where the process ends before."""
    pipe, ended = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), os.pidfd_open(process.pid)
    ready, _, _ = select.select([pipe, ended], [], [])
    os.close(ended)
    assert pipe in ready, process.communicate()[1]
    os.set_blocking(pipe, True)
    return os.fdopen(pipe)


def kill_at_file(number: int) -> None:
    """End this process by SIGKILL just before it changes a file below `runs` for the n-th time."""
    changes = count(1)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if _changes(event, given) and next(changes) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _changes(event: str, given: tuple[Any, ...]) -> bool:
    if event != "open":
        # Folders are emptied by names within a folder that is open.
        return event in CHANGES and (_within(given[0]) or given[-1] not in (-1, None))
    path, _, flags = given
    return bool(flags & (os.O_WRONLY | os.O_RDWR)) and _within(path)


def _within(path: Any) -> bool:
    return isinstance(path, str | bytes | os.PathLike) and "runs" in Path(os.fsdecode(path)).parts[:-1]


def work_without_end(number: int, fifo: str) -> None:
    """Never finish the n-th circuit of this process; tell a pipe that it is begun."""
    from circuitlang.engine.runtime import job_runner

    circuits, real = count(1), job_runner.execute

    def execute(*given: Any) -> Any:
        if next(circuits) < number:
            return real(*given)
        # As a number, it is closed by nothing but the end of the process.
        os.write(os.open(fifo, os.O_WRONLY), f"{os.getpid()}\n".encode())
        while True:
            sum(range(1000))

    job_runner.execute = execute


def worker(number: int, fifo: str, *arguments: Any) -> Callable[[str], Any]:
    """What a process of a run does with circuits, of which it never finishes the n-th."""
    from circuitlang.engine.runtime import parallel_runner

    work_without_end(number, fifo)
    return parallel_runner.start_worker(*arguments)


def main() -> None:
    from functools import partial

    from circuitlang.cli.main import main as command
    from circuitlang.engine.runtime import parallel_runner

    kind, number, *fifo = sys.argv.pop(1).split(":", 2)
    if kind == "files":
        kill_at_file(int(number))
    elif kind == "works":
        work_without_end(int(number), *fifo)
        parallel_runner.start_worker = partial(worker, int(number), *fifo)
    command(prog_name="circuitlang")


if __name__ == "__main__":
    # Under its own name, by which other processes find it.
    from tests.helpers.process_endings import main as named

    named()
