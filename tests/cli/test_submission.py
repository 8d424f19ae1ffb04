"""Runs that jobs of a cluster share, and a real Slurm where there is one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from circuitlang.cli.main import main
from circuitlang.engine.runtime.executors import slurm
from circuitlang.plugins.executors import EXECUTORS, Detached, Event, Work
from circuitlang.results.claims import held, worked_off
from circuitlang.results.packed.circuits import PackedCircuits

SPEC = "preserve conv4:[1..{}] on images/dogs/* kernels<=20 criterion=gn\n"
START = Path(__file__).parents[1] / "helpers" / "slurm" / "start.sh"


def call(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, [*arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def spec(here: Path, numbers_alone: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    here.joinpath("a.circuit").write_text(SPEC.format(20))
    return here


def finished(of: int) -> None:
    """Wait until a run is finished."""
    end = time.monotonic() + 300
    while f"{of} of {of} circuits are finished" not in (status := CliRunner().invoke(main, ["status", "a"]).output):
        assert time.monotonic() < end, status + "".join(log.read_text() for log in Path("runs/a/.claims/logs").iterdir()
                                                        if log.suffix in (".log", ".err", ".out"))  # fmt: skip
        time.sleep(0.2)


def test_the_command_of_a_worker_has_the_options_of_the_run(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Work, dict[str, object]]] = []

    def executor(work: Work, **settings: object) -> Iterator[Event]:
        seen.append((work, settings))
        yield Detached("1 worker", "stop it", spec)

    monkeypatch.setattr(EXECUTORS, "load", lambda _: executor)
    only = ["--only", "conv4_1-gn-20kernels", "--only", "conv4_2-gn-20kernels"]
    options = ["--device", "cpu", "--packed", "--render", "none", *only]
    printed = call("run", "a.circuit", "--on", "slurm", "--workers", "3", "--on-set", "gres=gpu:1", *options)
    assert "submitted 1 worker" in printed
    assert "stop  stop it" in printed
    ((work, settings),) = seen
    # There are two circuits.
    assert (work.workers, settings) == (2, {"gres": "gpu:1"})
    own = ["--out", str(spec / "runs"), "--shared", "--progress", "plain"]
    words = list(work.command)[3:]
    assert words[:7] == ["run", str(spec / "a.circuit"), *own]
    assert sorted(words[7:]) == sorted(options)
    # The status is there before a worker is.
    assert "0 of 20 circuits are finished and 20 wait" in call("status", "a")


def test_a_text_can_not_be_read_by_jobs(spec: Path) -> None:
    said = call("run", "-e", SPEC.format(1), "--on", "slurm", code=1)
    assert "error[E371]: --on slurm takes a SPEC file" in said


def test_a_machine_without_slurm_says_so(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    said = call("run", "a.circuit", "--on", "slurm", code=1)
    assert "error[E371]: there is no Slurm here" in said
    assert "--shared" in said


@pytest.fixture
def cluster() -> None:
    """A real Slurm of one node. In CI it must not be missing."""
    if not shutil.which("slurmctld"):
        if os.environ.get("CI"):
            pytest.fail("Slurm is not installed")
        pytest.skip("Slurm is not installed")
    subprocess.run(["bash", str(START)], check=True, timeout=60)


@pytest.mark.slow
def test_slurm_does_the_run_though_one_job_is_cancelled_and_one_killed(
    spec: Path, cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec.joinpath("a.circuit").write_text(SPEC.format(60))
    said = call("run", "a.circuit", "--on", "slurm", "--on-set", "partition=nowhere", code=1)
    assert "error[E371]: Slurm did not take the jobs" in said
    assert "`sinfo` lists the partitions" in said
    said = call("run", "a.circuit", "--on", "slurm", "--on-set", "gres=gpu:1", code=1)
    assert "such as --on-set gres=gpu:1" in said
    printed = call("run", "a.circuit", "--on", "slurm", "--workers", "2", "--packed", "--on-set", "time=0:10:00")
    (array,) = re.findall(r"array (\d+)", printed)
    end = time.monotonic() + 200
    while len(held(Path("runs/a"))) < 2:
        assert time.monotonic() < end, subprocess.run(["squeue"], capture_output=True, text=True).stdout
        time.sleep(0.1)
    subprocess.run(["scancel", f"{array}_0"], check=True)
    for claim in held(Path("runs/a")):
        if Path(f"/proc/{claim.claim.process}").exists():
            os.kill(claim.claim.process, signal.SIGKILL)
    # Two more take up what those have left, once it shows no sign of life.
    for path in Path("runs/a/.claims").glob("*.held"):
        os.utime(path, (0, 0))
    call("run", "a.circuit", "--on", "slurm", "--workers", "2", "--packed")
    finished(60)
    call("run", "a.circuit", "--packed", "--out", "alone")
    while Path("runs/a/.shards").exists():
        assert time.monotonic() < end + 200
        time.sleep(0.1)
    mine, alone = (PackedCircuits.read(Path(folder, "a")) for folder in ("runs", "alone"))
    assert mine.table().equals(alone.table())


@pytest.mark.slow
def test_a_job_that_is_out_of_time_goes_back_into_the_queue_and_gives_its_claims_back(
    spec: Path, cluster: None
) -> None:
    spec.joinpath("a.circuit").write_text(SPEC.format(60))
    printed = call("run", "a.circuit", "--on", "slurm", "--packed", "--on-set", "time=0:10:00")
    (array,) = re.findall(r"array (\d+)", printed)
    end = time.monotonic() + 200
    while not worked_off(Path("runs/a")) or not held(Path("runs/a")):
        assert time.monotonic() < end, subprocess.run(["squeue"], capture_output=True, text=True).stdout
        time.sleep(0.1)
    # As Slurm does before the time is over.
    subprocess.run(["scancel", "--signal=USR2", array], check=True)
    shown = ["scontrol", "show", "job", array]
    try:
        while "Restarts=1" not in (job := subprocess.run(shown, capture_output=True, text=True, check=True).stdout):
            assert time.monotonic() < end, job
            time.sleep(0.2)
        assert held(Path("runs/a")) == []
        assert "are finished" in call("status", "a")
    finally:
        subprocess.run(["scancel", array], check=True)


def test_no_array_is_larger_than_the_cluster_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command, **_options):
        return subprocess.CompletedProcess(command, 0, "MaxArraySize            = 11\nMaxJobCount = 10000\n", "")

    monkeypatch.setattr(slurm.subprocess, "run", run)
    assert slurm.largest_array() == 10
