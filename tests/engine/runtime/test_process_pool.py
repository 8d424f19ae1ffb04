"""Some circuits of a plan, by several processes; whichever fails or dies, the others are done."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from circuitlang import pipeline
from circuitlang.base.diagnostics import CircuitError, Finding, InputError
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.engine.runtime import job_runner, parallel_runner
from circuitlang.engine.runtime.executors.local import spread
from circuitlang.engine.runtime.options import Options
from circuitlang.plugins.executors import Begun, Died, Ended
from circuitlang.results.run_listener import OutcomeList
from tests.helpers import process_endings
from tests.helpers.pool_tasks import start

IDS = [f"conv5_{channel}-magnitude-20kernels" for channel in (30, 32, 33, 34)]
SPEC = "preserve conv5:[30, 32, 33, 34] on images/dogs/* kernels<=20 criterion=magnitude\n"


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    return result


def done(folder: Path = Path("runs/inline")) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/circuit.json"))


def numbers(folder: Path = Path("runs/inline")) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("*/metrics.json")}


def test_every_item_is_done_once_and_in_turn_where_one_waits_for_another(tmp_path, monkeypatch):
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    made = [event for event in spread(start, ["b", "a", "c", "d"], 2, {"b": "a", "c": "b"}) if isinstance(event, Ended)]
    assert sorted(made, key=str) == [Ended((name,), [name.upper()]) for name in "abcd"]
    order = (tmp_path / "seen").read_text().split()
    assert sorted(order) == list("abcd")
    assert order.index("a") < order.index("b") < order.index("c")


def test_a_process_that_dies_takes_nothing_with_it():
    made = [event for event in spread(start, ["die", "a", "b"], 1, {"b": "die"}) if not isinstance(event, Begun)]
    assert sorted(made, key=str) == [Died(("die",), -signal.SIGKILL), Ended(("a",), ["A"]), Ended(("b",), ["B"])]


def test_no_process_is_left_when_what_they_make_is_not_wanted_any_more(tmp_path):
    os.mkfifo(tmp_path / "begun")
    made = spread(start, ["a", f"sleep {tmp_path / 'begun'}"], 2, {})
    assert Ended(("a",), ["A"]) in [next(made) for _ in range(3)]
    with (tmp_path / "begun").open() as begun:
        assert begun.readline().strip().isdecimal()
        made.close()
        assert begun.read() == "", "its end closes the pipe"


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[str, bytes]:
    """The numbers of all circuits, by one process."""
    from tests.conftest import draw_pictures

    folder = tmp_path_factory.mktemp("alone")
    draw_pictures(folder, "dogs", 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CIRCUITLANG_RENDER", "none")
        pipeline.run(Source("<-e>", SPEC, folder), folder / "runs")
    return numbers(folder / "runs" / "inline")


@pytest.mark.slow
def test_several_processes_find_what_one_finds(here, alone, numbers_alone, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = call("run", "-e", SPEC, "--jobs", "2")
    assert numbers() == alone
    assert len(alone) == 4
    told = re.findall(r"╭─ (\S+)", result.stdout)
    assert sorted(told) == IDS
    # As they were finished above, in the order of the plan here.
    table = result.stdout.split("circuits  4 of this run")[1]
    assert re.findall(r"conv5_\S+", table) == IDS
    assert all(each in Path("runs/inline/index.html").read_text() for each in IDS)
    assert [path.name for path in Path("runs/inline").iterdir() if path.name.startswith(".")] == []


@pytest.mark.slow
def test_shares_and_names_are_of_the_whole_plan(here, alone, numbers_alone):
    call("run", "-e", SPEC, "--shard", "2/3")
    assert done() == [IDS[1]]
    call("run", "-e", SPEC, "--only", IDS[3], "--only", IDS[0])
    assert done() == [IDS[0], IDS[1], IDS[3]]
    assert Path("runs/inline/plan.yaml").read_text().count("- id:") == 4
    assert all(each in Path("runs/inline/index.html").read_text() for each in IDS)
    call("run", "-e", SPEC, "--shard", "9/9")
    assert "finished before" in call("run", "-e", SPEC, "--only", IDS[0]).stdout
    call("run", "-e", SPEC, "--shard", "3/3", "--jobs", "3")
    assert numbers() == alone


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "1/0", "a/b", "-1/2", "1/2/3", ""])
def test_a_share_that_is_none_is_refused(here, shard):
    said = call("run", "-e", SPEC, "--shard", shard, code=1).stderr
    assert "E363" in said
    assert not Path("runs").exists()


def test_a_name_that_is_none_is_refused_with_a_guess(here):
    said = call("run", "-e", SPEC, "--only", "conv5_3-magnitude-20kernels", code=1).stderr
    assert "E115" in said
    assert "did you mean 'conv5_3" in said
    assert not Path("runs").exists()


@pytest.fixture
def broken(numbers_alone, monkeypatch) -> Callable[[Exception], None]:
    """Makes the second of the circuits fail."""
    whole = job_runner.execute

    def breaks(error: Exception) -> None:
        def execute(prepared, job):
            if job.plan.id == IDS[1]:
                raise error
            return whole(prepared, job)

        monkeypatch.setattr(job_runner, "execute", execute)

    return breaks


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            RuntimeError("odd\nand more"),
            ["E392", f"{IDS[1]} can't be computed: RuntimeError: odd", "at test_process_pool.py:"],
        ),
        (MemoryError(), ["E392", "--batch-size"]),
        (InputError(Finding("E350", "apart")), ["E350", f"{IDS[1]}: apart"]),
    ],
    ids=["bug", "memory", "finding"],
)
def test_a_circuit_that_fails_does_not_lose_the_others(here, broken, error, words):
    broken(error)
    result = call("run", "-e", SPEC, code=1)
    assert done() == [IDS[0], IDS[2], IDS[3]]
    assert "circuits  3 of this run" in result.stdout
    assert all(word in result.stderr for word in [*words, "<-e>:1:1", "1 error"])


def test_from_python_what_failed_is_raised_after_the_others_are_done(here, broken):
    broken(InputError(Finding("E350", "apart")))
    results = OutcomeList()
    with pytest.raises(InputError, match="apart"):
        pipeline.run(Source("<-e>", SPEC), here / "runs", Options(listener=results))
    assert [outcome.folder.name for outcome in results.outcomes] == [IDS[0], IDS[2], IDS[3]]


def _breaking(*arguments):
    """In a process of its own: the second circuit fails, the third kills its process."""
    whole = job_runner.execute

    def execute(prepared, job):
        if job.plan.id == IDS[1]:
            raise RuntimeError("odd")
        if job.plan.id == IDS[2]:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(prepared, job)

    job_runner.execute = execute
    return parallel_runner.start_worker(*arguments)


@pytest.mark.slow
def test_a_circuit_that_fails_or_kills_one_of_several_processes_does_not_lose_the_others(
    here, alone, numbers_alone, monkeypatch
):
    monkeypatch.setattr(parallel_runner, "start_worker", _breaking)
    result = call("run", "-e", SPEC, "--jobs", "2", code=1)
    assert done() == [IDS[0], IDS[3]]
    assert numbers() == {name: alone[name] for name in (IDS[0], IDS[3])}
    assert f"{IDS[1]} can't be computed: RuntimeError: odd" in result.stderr
    assert f"{IDS[2]} can't be computed: its process was ended" in result.stderr
    assert "by signal 9" in result.stderr


def test_errors_keep_their_findings_on_the_way_from_process_to_process():
    import pickle

    error = InputError([Finding("E350", "apart"), Finding("E301", "no")])
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is InputError
    assert again.findings == error.findings
    assert isinstance(again, CircuitError)


@pytest.mark.slow
@pytest.mark.parametrize(
    "signum",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        signal.SIGKILL,
    ],
)
def test_whatever_ends_a_run_ends_all_of_its_processes(here, signum):
    """Ended while both processes are at work; nothing could tidy up after SIGKILL, and they end all the same."""
    (here / "a.circuit").write_text(SPEC)
    os.mkfifo(here / "begun")
    process = process_endings.begin(f"works:1:{here / 'begun'}", "run", "a.circuit", "--jobs", "2")
    with process_endings.begun(process, here / "begun") as begun:
        children = {int(begun.readline()), int(begun.readline())}
        assert len(children - {process.pid}) == 2
        process.send_signal(signum)
        _, errors = process.communicate()
        assert begun.read() == "", "their end closes the pipe"
    assert process.returncode == (-9 if signum == signal.SIGKILL else 130)
    assert "Traceback" not in errors
