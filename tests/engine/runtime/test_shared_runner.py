"""Runs that several processes share: each circuit once, the same as alone, also if one of them is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.engine.runtime import job_runner, shared_runner
from circuitlang.engine.runtime.jobs import prepare
from circuitlang.engine.runtime.options import Options
from circuitlang.engine.runtime.shared_runner import claimed_groups
from circuitlang.pipeline import compile_source
from circuitlang.results import claims
from circuitlang.results.claims import FOLDER, Claims, Done, costs_of, held, worked_off
from circuitlang.results.packed.circuits import PackedCircuits
from circuitlang.results.run_status import run_status

pytestmark = pytest.mark.usefixtures("numbers_alone")
SPEC = "preserve conv4:[1..20] on images/dogs/* kernels<=20 criterion=gn\n"


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["run", "a.circuit", *arguments])
    assert result.exit_code == code, result.output
    return result.output + result.stderr


def files(folder: Path) -> dict[str, bytes]:
    """The files of the circuits of a run, by their place in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("*/*"))
            if path.parent.name != FOLDER}  # fmt: skip


@pytest.fixture
def spec(here: Path) -> Path:
    here.joinpath("a.circuit").write_text(SPEC)
    return here


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The circuits that this process computes."""
    names, whole = [], job_runner.execute

    def execute(prepared, job):
        names.append(job.plan.id)
        return whole(prepared, job)

    monkeypatch.setattr(job_runner, "execute", execute)
    return names


@pytest.mark.slow
def test_one_process_does_what_a_run_alone_does(spec: Path) -> None:
    run("--out", "alone")
    run("--shared")
    assert files(Path("runs/a")) == files(Path("alone/a"))
    assert held(Path("runs/a")) == []


def test_groups_have_the_targets_that_are_scored_in_one_pass_and_the_sizes_of_one_circuit(spec: Path) -> None:
    sizes = "preserve conv5:each(3, 4) on images/dogs/* kernels<=each(10, 20) criterion=annealed(passes=1)\n"
    text = SPEC + sizes + "split conv5:34 on images/dogs/* into 2 kernels<=20 criterion=gn\n"
    compiled = compile_source(Source("a.circuit", text))
    jobs = prepare(compiled.plan, spec, compiled.origins, Options()).jobs
    groups = claimed_groups(jobs)
    assert [len(group.jobs) for group in groups] == [16, 4, 2, 2, 1]
    assert [group.name for group in claimed_groups(jobs)] == [group.name for group in groups]
    assert len({group.name for group in groups}) == 5


def test_who_comes_late_divides_the_run_as_the_others_do_and_begins_with_what_costs_most(spec: Path) -> None:
    compiled = compile_source(Source("a.circuit", SPEC))
    jobs = prepare(compiled.plan, spec, compiled.origins, Options()).jobs
    first, second = claimed_groups(jobs)
    due = {job.plan.id for job in jobs[1:]}
    late = claimed_groups(jobs, due, {jobs[-1].plan.id: 1e9})
    assert [group.name for group in late] == [second.name, first.name]
    assert [len(group.jobs) for group in late] == [4, 15]
    (last,) = claimed_groups(jobs, {jobs[-1].plan.id})
    assert last.name == second.name


@pytest.mark.slow
def test_the_status_estimates_the_time_that_is_left(spec: Path) -> None:
    run("--shared")
    folder = Path("runs/a")
    names = [f"conv4_{number}-gn-20kernels" for number in range(1, 21)]
    assert costs_of(folder).keys() == {*names}
    assert sum(len(done.circuits) for done in worked_off(folder)) == 20
    assert run_status(folder).seconds is None
    mine = Claims(folder)
    mine.note_costs(dict.fromkeys(names, 5.0))
    (folder / FOLDER / "costs.json").write_text(json.dumps(dict.fromkeys(names, 5.0)))
    for path in (folder / FOLDER).glob("*.done"):
        path.unlink()
    for name in names[10:]:
        shutil.rmtree(folder / name)
    with mine.kept():
        assert mine.take("some", names[:5])
        mine.release("some", Done(names[:5], {names[0]: "no"}, 8.0))
        assert mine.take("other", names[10:])
        # 20 operations took 8 s, without those of the circuit that failed, and 50 are left.
        assert run_status(folder).seconds == pytest.approx(20.0)
        assert "about 20 s left" in CliRunner().invoke(main, ["status", "a"]).output


@pytest.mark.slow
def test_what_another_process_holds_is_left_to_it_and_read_when_it_is_done(
    spec: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process is this one, at the moments at which it would wait."""
    waited = []

    def another(_seconds: float) -> None:
        waited.append(list(computed))
        monkeypatch.setattr(shared_runner.time, "sleep", time.sleep)
        claims_of_another.release(second.name)
        run("--shared")

    compiled = compile_source(Source("a.circuit", SPEC))
    _, second = claimed_groups(prepare(compiled.plan, spec, compiled.origins, Options()).jobs)
    claims_of_another = Claims(Path("runs/a"))
    Path("runs/a", FOLDER).mkdir(parents=True)
    assert claims_of_another.take(second.name, ["theirs"])
    monkeypatch.setattr(shared_runner.time, "sleep", another)
    printed = run("--shared")
    assert waited == [[f"conv4_{number}-gn-20kernels" for number in range(1, 17)]]
    assert computed == [f"conv4_{number}-gn-20kernels" for number in range(1, 21)]
    assert "conv4_20" in printed


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True], ids=["folders", "packed"])
def test_a_process_that_is_killed_loses_one_group_to_the_others(
    spec: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    options = ["--packed"] if packed else []
    code = f"""
import os, signal, sys
from circuitlang.engine.runtime import job_runner
whole, done = job_runner.execute, []
def execute(prepared, job):
    done.append(job)
    if len(done) == 18:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(prepared, job)
job_runner.execute = execute
sys.argv = ["circuitlang", "run", "a.circuit", "--shared", *{options}]
from circuitlang.cli.main import main
main()
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (left,) = held(Path("runs/a"))
    assert left.claim.circuits == [f"conv4_{number}-gn-20kernels" for number in range(17, 21)]
    status = CliRunner().invoke(main, ["status", "a"]).output
    assert f"process {left.claim.process}: conv4_17-gn-20kernels to conv4_20-gn-20kernels" in status
    monkeypatch.setattr(claims, "LEASE", 0.05)
    monkeypatch.setattr(shared_runner, "POLL", 0.05)
    run("--shared", *options)
    # Of the group, the circuit that was finished in a folder is not computed again; a packed one waited for the others.
    assert computed == [f"conv4_{number}-gn-20kernels" for number in range(17 if packed else 18, 21)]
    run("--out", "alone", *options)
    if packed:
        mine, alone = (PackedCircuits.read(Path(folder, "a")) for folder in ("runs", "alone"))
        assert mine.table().equals(alone.table())
        assert not Path("runs/a/.shards").exists()
    else:
        assert files(Path("runs/a")) == files(Path("alone/a"))
    assert "20 of 20 circuits are finished" in CliRunner().invoke(main, ["status", "a"]).output


@pytest.mark.slow
def test_two_processes_share_a_run(spec: Path) -> None:
    command = [sys.executable, "-m", "circuitlang", "run", "a.circuit", "--shared", "--packed", "--progress", "json"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}) for _ in "ab"]
    outputs = [process.communicate(timeout=300)[0].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all(output.count('"finished"') >= 20 for output in outputs)
    run("--out", "alone", "--packed")
    mine, alone = (PackedCircuits.read(Path(folder, "a")) for folder in ("runs", "alone"))
    assert mine.table().equals(alone.table())


@pytest.mark.slow
def test_a_circuit_that_fails_is_an_error_of_every_process_and_is_tried_again(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = job_runner.execute

    def execute(prepared, job):
        if job.plan.id.startswith("conv4_3-"):
            raise ValueError("it breaks")
        return whole(prepared, job)

    with monkeypatch.context() as patch:
        patch.setattr(job_runner, "execute", execute)
        assert "it breaks" in run("--shared", code=1)
        status = CliRunner().invoke(main, ["status", "a"])
        assert status.exit_code == 1
        assert "19 of 20 circuits are finished" in status.output
        assert "conv4_3-gn-20kernels failed" in status.output
        assert "it breaks" in run("--shared", code=1)
    run("--shared")
    assert CliRunner().invoke(main, ["status", "a"]).exit_code == 0


def test_shared_runs_start_no_processes_and_compute_nothing_again(spec: Path) -> None:
    for arguments in (["--jobs", "2"], ["--force"]):
        assert "start the same command several times" in run("--shared", *arguments, code=2)


def test_the_status_of_what_is_no_run_is_an_error(spec: Path) -> None:
    result = CliRunner().invoke(main, ["status", "images"])
    assert result.exit_code == 1
    assert "images is no run" in result.stderr
