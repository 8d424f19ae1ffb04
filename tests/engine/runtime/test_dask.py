"""Runs on a real Dask scheduler with two workers, of which one is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from circuitlang import pipeline
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from tests.conftest import ROOT

SPEC = "preserve conv5:[30, 31, 32, 33, 34, 35] on images/dogs/* kernels<=20 criterion=snip\n"


@contextmanager
def dask(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of a Dask cluster, which ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DIES_ONCE": str(folder / "died")},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def numbers(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("*/*") if path.name != "SHA256SUMS"}


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True], ids=["folders", "packed"])
def test_a_worker_of_dask_that_dies_loses_nothing(here, numbers_alone, tmp_path, packed):
    pipeline.run(Source("<-e>", SPEC, here), here / "alone")
    options = (
        "--scheduler-file scheduler.json --nthreads 1 --no-nanny --no-dashboard --preload tests.helpers.dying_once"
    )
    worker = ["worker", *options.split()]
    arguments = ["run", "-e", SPEC, "--on", "dask", "--workers", "2"]
    with ExitStack() as stack:
        start = ["scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", "scheduler.json"]
        stack.enter_context(dask(tmp_path, *start))
        workers = [stack.enter_context(dask(tmp_path, *worker)) for _ in range(2)]
        while not (tmp_path / "scheduler.json").is_file():
            os.sched_yield()
        setting = f"scheduler_file={tmp_path / 'scheduler.json'}"
        result = CliRunner().invoke(main, [*arguments, "--on-set", setting, *(["--packed"] if packed else [])])
        assert result.exit_code == 0, result.output
        died = [process for process in workers if process.poll() is not None]
    assert len(died) == 1
    if packed:
        assert len(pipeline.unpack(here / "runs" / "inline", [*numbers(here / "alone" / "inline")])) == 6
    assert numbers(here / "runs" / "inline") == numbers(here / "alone" / "inline")


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_an_error_with_a_cure(here):
    arguments = ["run", "-e", SPEC, "--on", "dask", "--on-set", "timeout=1", "--on-set"]
    said = CliRunner().invoke(main, [*arguments, "address=tcp://127.0.0.1:1"])
    assert said.exit_code == 1
    assert "E371" in said.stderr
    assert "dask scheduler" in said.stderr
    said = CliRunner().invoke(main, [*arguments, "scheduler_file=no.json"])
    assert "there is no such file" in said.stderr
    assert "Traceback" not in said.stderr
