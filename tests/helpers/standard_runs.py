"""Runs that many tests begin with, computed once for all processes of a session and copied by each test."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner


def put(place: Path, shared: Path, text: str, name: str, render: str) -> None:
    """Put into `place` the folder `runs` that a run of a spec leaves there.

    The images of `place` are those of the fixture `here`. With a name, the spec is the file of that name.
    """
    key = hashlib.sha256(repr((text, name, render)).encode()).hexdigest()[:16]
    made = shared / key
    shared.mkdir(exist_ok=True)
    with (shared / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / "runs").exists():
            compute(place, made, text, name)
    shutil.copytree(made / "runs", place / "runs")


def compute(place: Path, folder: Path, text: str, name: str) -> None:
    from circuitlang.cli.main import main

    stage = folder.with_suffix(".stage")
    shutil.copytree(place / "images", stage / "images")
    if name:
        (stage / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(stage)
        ran = CliRunner().invoke(main, ["run", *([name] if name else ["-e", text])])
    assert ran.exit_code == 0, ran.output
    stage.rename(folder)


def shared_folder(base: Path) -> Path:
    """Return the folder of standard runs, from the base of temporary folders of this process."""
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "standard-runs"
