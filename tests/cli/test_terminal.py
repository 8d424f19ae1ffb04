"""Runs in a pseudo-terminal: what stays in the scrollback and on the screen, at two sizes."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from circuitlang.cli.main import main
from tests.helpers.pseudo_terminal import SIZES, Session, Terminal

IDS = [f"conv5_{channel}-magnitude-20kernels" for channel in (30, 32)]
SPEC = "preserve conv5:[30, 32] on images/dogs/* kernels<=20 criterion=magnitude\n"
PROGRAM = (sys.executable, "-m", "circuitlang")
ENDLESS = (sys.executable, "-m", "tests.helpers.process_endings", "works:2:fifo")


# Both sizes are in `make test` where the size has a say, for runs and for interrupts after a resize.
both_sizes = pytest.mark.parametrize("size", [SIZES[0], pytest.param(SIZES[1], marks=pytest.mark.slow)], ids=str)

pytestmark = pytest.mark.usefixtures("numbers_alone")


@pytest.fixture
def two(here: Path) -> Path:
    (here / "two.circuit").write_text(SPEC)
    return here


def run(size: tuple[int, int], *arguments: str) -> Session:
    return Terminal(*size, [*PROGRAM, "run", *arguments]).wait()


def shown(size: tuple[int, int], name: str, *options: str) -> list[str]:
    """The lines of a circuit's report, from `show` for as many columns."""
    result = CliRunner(env={"COLUMNS": str(size[0])}).invoke(main, ["show", f"runs/two/{name}", *options])
    assert result.exit_code == 0, result.output
    return [line.rstrip() for line in result.stdout.rstrip().split("\n")]


def times(block: list[str], lines: list[str]) -> int:
    """The number of times that lines stand one below the other among others."""
    return sum(lines[start : start + len(block)] == block for start in range(len(lines)))


def has_no_status(lines: list[str]) -> bool:
    return not any(re.match(r"circuit \d|\d+/\d+ circuits|reading ", line) for line in lines)


@both_sizes
def test_every_report_of_a_run_stays_on_a_terminal_once_and_whole(two, size):
    session = run(size, "two.circuit")
    assert session.code == 0, session.text
    for name in IDS:
        report = shown(size, name)
        assert times(report, session.lines) == 1, session.text
        assert session.text.count(f"╭─ {name}") == 1
        assert len(report) < SIZES[0][1], "readable at once"
    assert session.text.count("side by side in runs/two/index.html") == 1
    assert has_no_status(session.lines)


@pytest.mark.slow
@both_sizes
def test_every_report_of_several_processes_stays_once_and_whole(two, size):
    session = run(size, "two.circuit", "--jobs", "2")
    assert session.code == 0, session.text
    assert all(times(shown(size, name), session.lines) == 1 for name in IDS), session.text
    assert has_no_status(session.lines)


@pytest.mark.slow
def test_of_many_circuits_every_line_stays_once(here):
    (here / "many.circuit").write_text("preserve conv1:[0..13] on images/dogs/* kernels<=2 criterion=magnitude\n")
    session = run((80, 24), "many.circuit")
    assert session.code == 0, session.text
    brief = re.compile(r"conv1_\d+-magnitude-2kernels  [a-z ]+, \d kernels, pearson ")
    lines = [line for line in session.lines if brief.match(line)]
    assert [line.split("-")[0] for line in lines] == [f"conv1_{channel}" for channel in range(14)]
    assert has_no_status(session.lines)


@pytest.mark.slow
@both_sizes
def test_a_circuit_that_fails_leaves_the_reports_of_the_others(here, size):
    (here / "two.circuit").write_text(f"split conv5:34 on images/dogs/* into 5 kernels<=20\n{SPEC}")
    session = run(size, "two.circuit", "--verbose")
    assert session.code == 1
    for name in IDS:
        report = shown(size, name, "--full")
        assert len(report) > size[1], "longer than the screen"
        assert times(report, session.lines) == 1, session.text
    assert session.text.count("error[E321]") == 1
    assert session.lines[-1] == "1 error"
    assert has_no_status(session.lines)


@pytest.mark.slow
@both_sizes
def test_ctrl_c_says_what_is_finished_and_how_to_go_on(two, size):
    os.mkfifo("fifo")
    terminal = Terminal(*size, [*ENDLESS, "run", "two.circuit"])
    terminal.read_until(lambda lines: f"circuit 2/2 · {IDS[1]}" in lines[-1])
    terminal.press_ctrl_c()
    session = terminal.wait()
    assert session.code == 130
    assert session.lines[-1] == "interrupted: 1 of 2 circuits are finished; the same command continues"
    assert times(shown(size, IDS[0]), session.lines) == 1, session.text
    assert has_no_status(session.lines)
    assert "finished before" in CliRunner().invoke(main, ["run", "two.circuit"]).stdout


@pytest.mark.slow
@pytest.mark.parametrize(("size", "other"), [SIZES, pytest.param(*reversed(SIZES), marks=pytest.mark.slow)], ids=str)
def test_after_a_resize_nothing_is_lost_and_nothing_there_twice(two, size, other):
    os.mkfifo("fifo")
    terminal = Terminal(*size, [*ENDLESS, "run", "two.circuit"])
    terminal.read_until(lambda lines: "circuit 2/2" in lines[-1])
    report = shown(size, IDS[0])
    terminal.resize(*other)
    terminal.press_ctrl_c()
    session = terminal.wait()
    assert session.lines[-1] == "interrupted: 1 of 2 circuits are finished; the same command continues"
    # A terminal of this kind loses what is to the right of its new edge.
    width = min(size[0], other[0])
    cut = [line[:width].rstrip() for line in session.lines]
    assert times([line[:width].rstrip() for line in report], cut) == 1, session.text
    assert has_no_status(session.lines)


def test_off_a_terminal_no_line_is_cut_and_no_column_left_out(two, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    statement = SPEC.replace("preserve", f"circuit {'long' * 25} = preserve")
    (two / "two.circuit").write_text(statement)
    printed = CliRunner().invoke(main, ["run", "two.circuit", "--verbose"]).stdout
    assert printed.count(statement.strip()) == 2
    assert "in a wider terminal" not in printed
    (heading,) = re.findall(r"^ *circuit +kept.*$", printed, re.MULTILINE)
    assert heading.split() == ["circuit", "kept", "share", "error", "pearson", "pearson_demeaned", "r2", "spearman"]
    assert max(map(len, printed.splitlines())) < 600, "nothing is filled up to an edge"
