"""Work that is killed, crowded or refused by the disk: what was finished stays, and is not done again."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from circuitlang.cli.main import main
from circuitlang.engine.runtime import job_runner
from circuitlang.results import writer
from tests.helpers import process_endings

IDS = [f"conv5_{channel}-magnitude-20kernels" for channel in (30, 32, 33, 34)]
SPEC = "preserve conv5:[30, 32, 33, 34] on images/dogs/* kernels<=20 criterion=magnitude\n"
RUN = Path("runs/four")


@pytest.fixture
def four(here: Path) -> Path:
    (here / "four.circuit").write_text(SPEC)
    return here


def begin(point: str, *arguments: str) -> subprocess.Popen[str]:
    return process_endings.begin(point, "run", "four.circuit", *arguments)


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["run", "four.circuit", *arguments])
    assert result.exit_code == code, result.output
    return result


def finished() -> dict[str, int]:
    """The circuits that are there, and when each was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in RUN.glob("[!.]*/circuit.json")}


def whole(circuits: int = 4) -> None:
    """There is what a run leaves and nothing else, and all of it can be read."""
    assert {path.name for path in RUN.iterdir()} == {"plan.yaml", "index.html", *IDS[:circuits]}
    names = {frozenset(path.name for path in (RUN / each).iterdir()) for each in IDS[:circuits]}
    assert len(names) == 1
    assert all(json.loads((RUN / each / "metrics.json").read_text())["kept"] == 20 for each in IDS[:circuits])
    page = (RUN / "index.html").read_text()
    assert all(each in page for each in IDS[:circuits])


@pytest.mark.parametrize("points", [(3, 1, 60), (60, 45, 5)], ids=str)
@pytest.mark.slow
def test_runs_that_are_killed_again_and_again_do_no_circuit_twice(four, points):
    """SIGKILL before the n-th change of a file; a circuit that is there is never written again."""
    seen = dict[str, int]()
    for point in points:
        process = begin(f"files:{point}")
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        now = finished()
        assert {name: now.get(name) for name in seen} == seen
        # In the plan's order, so that only the one that it was on is due again.
        assert sorted(now) == IDS[: len(now)]
        for name in now:
            assert {path.name for path in (RUN / name).iterdir()} >= {"circuit.json", "metrics.json", "module.pt2"}
        seen = now
    assert seen, "some were finished"
    said = call().stdout
    assert said.count("finished before") == len(seen)
    assert {name: finished()[name] for name in seen} == seen
    whole()


@pytest.mark.slow
def test_two_runs_into_one_folder_at_once_do_each_other_no_harm(four):
    two = ("--only", IDS[0], "--only", IDS[1])
    both = [begin("never:0", *two), begin("never:0", *two)]
    for process in both:
        printed, errors = process.communicate()
        assert process.returncode == 0, errors
        assert all(each in printed for each in IDS[:2])
    whole(2)
    assert call(*two).stdout.count("finished before") == 2


@pytest.mark.slow
@pytest.mark.parametrize("call_of", ["write_through", "fsync"])
def test_a_disk_that_fills_up_during_a_run_is_said_once_and_leaves_what_was_finished(four, monkeypatch, call_of):
    """There is room for the first circuit, and none for the second."""
    call("--only", IDS[0])
    before = finished()

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    real = writer.write_folder

    def filling(folder, files):
        with monkeypatch.context() as patched:
            patched.setattr(*((writer, "write_through") if call_of == "write_through" else (os, "fsync")), full)
            real(folder, files)

    with monkeypatch.context() as patched:
        patched.setattr(writer, "write_folder", filling)
        said = call(code=1).stderr
    assert "error[E390]" in said
    assert "No space left on device" in said
    assert "make room, then run again" in said
    assert "1 error" in said
    assert finished() == before
    assert {path.name for path in RUN.iterdir()} == {"plan.yaml", "index.html", IDS[0]}
    assert call().stdout.count("finished before") == 1
    whole()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_nothing_is_computed_where_a_folder_is_anothers(four, monkeypatch, jobs):
    for name in IDS[1:3]:
        (RUN / name).mkdir(parents=True)
        (RUN / name / "mine.png").write_bytes(b"mine")
    monkeypatch.setattr(job_runner, "execute", lambda *given: pytest.fail("computed"))
    said = call("--jobs", jobs, code=1).stderr
    assert said.count("error[E390]") == 2
    assert f"move {IDS[2]} away" in said
    assert finished() == {}
    assert [path.name for path in RUN.glob("conv*/*")] == ["mine.png"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_folder_that_is_read_only_is_said_with_a_cure_and_stays_as_it_is(four, monkeypatch, number):
    """Root may write where others may not, so what the system would say is put in its mouth."""
    call("--only", IDS[0])
    before = {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()}

    def refused(*arguments, **options):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "mkstemp", refused)
        patched.setattr(tempfile, "mkdtemp", refused)
        said = call(code=1).stderr
    assert "error[E390]" in said
    assert "--out" in said
    assert {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()} == before
