"""The nodes of a Slurm cluster, through submitit: an array of jobs that share the run by claims."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.plugins.executors import Detached, Event, Work, executor

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
    an array. A job that is preempted, killed or out of time loses the circuits that it was on, which others take up.
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
    jobs = submitit.SlurmExecutor(folder=logs)
    jobs.update_parameters(
        job_name=f"circuitlang-{work.folder.name}",
        setup=[setup] if setup else None,
        array_parallelism=workers,
        use_srun=False,
        additional_parameters={name: value for name, value in options.items() if value},
    )
    command = submitit.helpers.CommandFunction([*work.command])
    try:
        with jobs.batch():
            submitted = [jobs.submit(command) for _ in range(workers)]
    except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError) as error:
        raise InputError(Finding("E371", "Slurm did not take the jobs", None, _reason(error))) from None
    array = submitted[0].job_id.split("_")[0]
    yield Detached(f"{workers} job{'s' * (workers > 1)} of array {array}", f"scancel {array}", logs)


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
