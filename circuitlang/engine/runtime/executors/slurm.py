"""The nodes of a Slurm cluster, through submitit: an array of jobs that share the run by claims."""

from __future__ import annotations

import logging
import re
import shutil
import signal
import subprocess
import time as clock
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.plugins.executors import Detached, Event, Work, executor
from circuitlang.results.claims import worked_off

if TYPE_CHECKING:
    import submitit

# Words of `sbatch` about what it refused, and the cure.
_CURES = {
    "partition": "`sinfo` lists the partitions: --on-set partition=NAME",
    "account": "`sacctmgr show associations user=$USER` lists your accounts: --on-set account=NAME",
    "qos": "`sacctmgr show qos` lists them: --on-set qos=NAME",
    "(gres)": "`sinfo -o '%P %G'` lists what nodes have, such as --on-set gres=gpu:1",
    "generic resource": "`sinfo -o '%P %G'` lists what nodes have, such as --on-set gres=gpu:1",
    "time": "write --on-set time=4:00:00; `sinfo -o '%P %l'` lists the limits",
    "denied": "ask the administrators of the cluster for permission to submit jobs",
    "permission": "ask the administrators of the cluster for permission to submit jobs",
    "contact": "no controller answers: try again later, or ask the administrators of the cluster",
    "node configuration": "ask for less: --on-set mem=8G, --on-set cpus_per_task=4",
}
# Times that a job may run out of time and go on; one in which nothing was finished does not.
_SLOTS = 10_000
# Seconds that a process may take to give its claims back.
_PATIENCE = 20.0
_POLL = 0.5
# The message of `sbatch`, without its name.
_SAID = re.compile(r"sbatch: error: (?:Batch job submission failed: )?(.*)")


@executor
def slurm(
    work: Work,
    *,
    partition: str = "",
    time: str = "1:00:00",
    gres: str = "",
    setup: str = "",
    mem: str = "",
    cpus_per_task: str = "",
    account: str = "",
    qos: str = "",
    constraint: str = "",
    nodelist: str = "",
    exclude: str = "",
    reservation: str = "",
) -> Iterator[Event]:
    """The nodes of a Slurm cluster. This process submits an array of jobs and ends; `circuitlang status` looks at them.

    Settings are the long options of `sbatch`, such as `partition=gpu`, `gres=gpu:1` and `time=4:00:00`; `setup` is a
    command of the shell that comes first, such as "module load cuda". There are no more jobs than the cluster allows in
    an array. A job that is preempted or out of time goes back into the queue; the circuits of one that is killed are
    taken up by others.
    """
    if not work.command:
        cure = "write the circuits into a file, and run it by `circuitlang run FILE --on slurm`"
        raise InputError(Finding("E371", "--on slurm takes a SPEC file", None, "the jobs read it", cure))
    if not shutil.which("sbatch"):
        cure = "submit from a login node of the cluster, or start `circuitlang run ... --shared` on its nodes yourself"
        raise InputError(Finding("E371", "there is no Slurm here", None, "sbatch is not on the PATH", cure))
    try:
        import submitit
    except ImportError:
        cure = "pip install 'circuitlang[slurm]'"
        raise InputError(Finding("E361", "submitit is not installed", None, "--on slurm needs it", cure)) from None
    logging.getLogger("submitit").setLevel(logging.ERROR)
    options = {
        "partition": partition, "time": time, "gres": gres, "mem": mem, "cpus-per-task": cpus_per_task,
        "account": account, "qos": qos, "constraint": constraint, "nodelist": nodelist, "exclude": exclude,
        "reservation": reservation,
    }  # fmt: skip
    workers, logs = min(work.workers, largest_array()), work.folder.resolve() / ".claims" / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    jobs = submitit.SlurmExecutor(folder=logs, max_num_timeout=_SLOTS)
    jobs.update_parameters(
        job_name=f"circuitlang-{work.folder.name}",
        setup=[setup] if setup else None,
        array_parallelism=workers,
        # Slurm warns a step before the time is over. A step does not inherit the cores of its job.
        srun_args=[f"--cpus-per-task={cpus_per_task}"] if cpus_per_task else None,
        additional_parameters={"requeue": True, **{name: value for name, value in options.items() if value}},
    )
    command = ShareOfRun([*work.command], work.folder.resolve())
    try:
        with jobs.batch():
            submitted = [jobs.submit(command) for _ in range(workers)]
    except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError) as error:
        reason = _reason(error)
        cure = next((cure for word, cure in _CURES.items() if word in reason.lower()), "")
        raise InputError(Finding("E371", "Slurm did not take the jobs", None, reason, cure)) from None
    array = submitted[0].job_id.split("_")[0]
    yield Detached(f"{workers} job{'s' * (workers > 1)} of array {array}", f"scancel {array}", logs)


@dataclass
class ShareOfRun:
    """A job of the array: submitit calls it on a node, and puts it back into the queue when its time is over."""

    command: list[str]
    run: Path

    def __call__(self) -> int:
        """Run the command; return its exit code. Raises CalledProcessError if it was killed."""
        self._done = len(worked_off(self.run))
        # Slurm warns all processes of a step, and this one alone knows what it means.
        deaf = partial(signal.signal, signal.SIGUSR2, signal.SIG_IGN)
        self._process = subprocess.Popen(self.command, preexec_fn=deaf)
        # `checkpoint` is called by a signal, and could not wait for what is waited for here.
        while (code := self._process.poll()) is None:
            clock.sleep(_POLL)
        # Circuits that fail are an error of the run, not of the job.
        if code not in (0, 1):
            raise subprocess.CalledProcessError(code, self.command)
        return code

    def checkpoint(self) -> submitit.helpers.DelayedSubmission | None:
        """Return what goes back into the queue; None if nothing was finished meanwhile, nor would be."""
        import submitit

        # It gives its claims back, so that others need not wait.
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        if len(worked_off(self.run)) <= self._done:
            return None
        return submitit.helpers.DelayedSubmission(ShareOfRun(self.command, self.run))


def largest_array() -> int:
    """Return the largest number of jobs in an array."""
    with suppress(OSError, subprocess.SubprocessError):
        shown = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=True, timeout=60)
        if match := re.search(r"MaxArraySize\s*=\s*(\d+)", shown.stdout):
            return max(int(match[1]) - 1, 1)
    return 1000


def _reason(error: Exception) -> str:
    """Return the message of `sbatch`."""
    said = [getattr(error, "stderr", None), getattr(error, "output", None), str(error)]
    text = " ".join(part.decode() if isinstance(part, bytes) else str(part) for part in said if part)
    return match[1].strip() if (match := _SAID.search(text)) else text.strip()[:300]
