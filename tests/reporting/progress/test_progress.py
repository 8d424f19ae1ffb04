"""Displays of progress, driven by the events of runs that take place on a clock of the test."""

from __future__ import annotations

import inspect
import io
import json
from pathlib import Path

import pytest
from rich.cells import cell_len

from circuitlang.base.diagnostics import CircuitError, Finding
from circuitlang.reporting.progress.json_lines import JsonProgress
from circuitlang.reporting.progress.notebook import NotebookProgress, notebook_line
from circuitlang.reporting.progress.plain import PlainProgress
from circuitlang.reporting.progress.remaining_time import RemainingTime
from circuitlang.reporting.progress.status_line import StatusLine
from circuitlang.reporting.progress.terminal import TerminalProgress
from circuitlang.reporting.terminal.console import Console
from circuitlang.results.outcomes import ComparisonStatus
from circuitlang.results.run_listener import SILENT, ExpectedWork, Listeners, RunListener, RunStart, tracker


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def start(count: int, operations: float = 100.0, batches: float = 20.0, processes: int = 1) -> RunStart:
    circuits = tuple(f"c{number}" for number in range(count))
    return RunStart(Path("runs/x"), circuits, {name: ExpectedWork(operations, batches) for name in circuits}, processes)


def pass_time(listener: RunListener, clock: Clock, circuit: str, seconds: float) -> None:
    listener.circuit_begun(circuit)
    clock.now += seconds
    listener.circuit_ended(circuit)


def test_remaining_time_is_the_work_left_at_the_speed_so_far():
    clock = Clock()
    remaining = RemainingTime(clock)
    work = {"a": ExpectedWork(100), "b": ExpectedWork(300), "c": ExpectedWork(50)}
    remaining.begun(RunStart(Path(), ("a", "b", "c"), work))
    assert remaining.seconds() is None
    pass_time(remaining, clock, "a", 10)
    assert remaining.seconds() == pytest.approx(35)
    remaining.circuit_begun("b")
    clock.now += 12
    assert remaining.seconds() == pytest.approx(23)
    clock.now += 48
    remaining.circuit_ended("b")
    # Now 400 took 70 seconds.
    assert remaining.seconds() == pytest.approx(50 / (400 / 70))


def test_a_circuit_that_was_finished_before_says_nothing_about_the_speed():
    clock = Clock()
    remaining = RemainingTime(clock)
    remaining.begun(RunStart(Path(), ("old", "new"), {"new": ExpectedWork(100)}))
    pass_time(remaining, clock, "old", 0.5)
    assert remaining.seconds() is None


def test_remaining_time_of_a_first_circuit_follows_its_batches_and_its_longest_step():
    clock = Clock()
    remaining = RemainingTime(clock)
    remaining.begun(start(2))
    remaining.circuit_begun("c0")
    for done in range(6):
        remaining.step("snip", done, 20)
        clock.now += 1
    # 5 of 20 batches in 6 seconds: 24 a circuit, of which 6 are over.
    assert remaining.seconds() == pytest.approx(24 - 6 + 24)
    remaining.step("learning", 0, 1000)
    clock.now += 1
    remaining.step("learning", 1, 1000)
    # The rest of this step alone takes 999 seconds.
    assert remaining.seconds() == pytest.approx(999 + 7 / (6 / 20))


def test_several_processes_share_the_work_that_is_left():
    clock = Clock()
    remaining = RemainingTime(clock)
    remaining.begun(start(5, processes=2))
    remaining.circuit_begun("c0")
    remaining.circuit_begun("c1")
    assert remaining.seconds() is None
    clock.now += 10
    remaining.circuit_ended("c0")
    remaining.circuit_ended("c1")
    assert remaining.seconds() == pytest.approx(15)


def test_the_line_says_which_circuit_and_step_and_how_long():
    clock = Clock()
    line = StatusLine(clock)
    line.step("reading dogs", 3, 40)
    assert line.text(80) == "reading dogs 3/40"
    line.begun(start(18))
    pass_time(line, clock, "c0", 65)
    line.circuit_begun("c1")
    assert line.text(80) == "circuit 2/18 · c1 · 18:25 left"
    line.step("snip", 4, 12)
    assert line.text(80) == "circuit 2/18 · c1 · snip 4/12 · 18:25 left"
    pass_time(line, clock, "c1", 3600)
    assert line.remaining() == "8:08:40 left"


@pytest.mark.parametrize("name", ["n" * 200, "ネ" * 100], ids=["long", "wide"])
@pytest.mark.parametrize("width", [20, 39, 60, 80])
def test_a_narrow_line_keeps_the_time_and_cuts_the_name(name, width):
    clock = Clock()
    line = StatusLine(clock)
    line.begun(RunStart(Path(), ("a", name), {"a": ExpectedWork(1), name: ExpectedWork(1)}))
    pass_time(line, clock, "a", 130)
    line.circuit_begun(name)
    line.step("sensitivities", 1, 3)
    text = line.text(width)
    assert cell_len(text) <= width
    assert "sensitivities" not in text
    if width > 38:
        assert text.startswith(f"circuit 2/2 · {name[:3]}")
        assert text.endswith("… · 2:10 left")


def test_with_several_processes_the_line_names_all_that_run():
    line = StatusLine(Clock())
    line.begun(start(5, processes=2))
    line.circuit_begun("c0")
    line.circuit_begun("c1")
    assert line.text(80) == "0/5 circuits · c0, c1"
    line.circuit_ended("c0")
    line.circuit_begun("c2")
    assert line.text(80).startswith("1/5 circuits · c1, c2")


def test_a_terminal_is_drawn_at_most_ten_times_a_second():
    clock, file = Clock(), io.StringIO()
    console = Console(file=file, force_terminal=True, width=80)
    with TerminalProgress(console, clock) as line:
        line.begun(start(1))
        line.circuit_begun("c0")
        for done in range(2000):
            line.step("learning", done, 2000)
            clock.now += 0.001
        drawn = file.getvalue().count("learning")
        # The clock of the test stood at 2 seconds; the display's own ticks are few.
        assert 10 <= drawn <= 21 + 20
        console.print("a report")
    assert "a report" in file.getvalue()


def test_a_log_has_a_line_for_each_circuit():
    clock, lines = Clock(), list[str]()
    log = PlainProgress(lines.append, clock)
    log.begun(start(3))
    pass_time(log, clock, "c0", 12.2)
    log.circuit_begun("c1")
    log.failed(CircuitError(Finding("E392", "no")))
    log.circuit_ended("c1")
    pass_time(log, clock, "c2", 3)
    assert lines == [
        "circuit 1/3 · c0 · 12 s · 0:24 left",
        "circuit 2/3 · c1 · failed · 0:12 left",
        "circuit 3/3 · c2 · 3 s",
    ]


def test_json_lines_have_every_event_and_few_steps():
    clock, lines = Clock(), list[str]()
    progress = JsonProgress(lines.append, clock)
    progress.noted(Finding("W305", "not \x1b plain"))
    progress.begun(start(1))
    progress.circuit_begun("c0")
    for done in range(100):
        progress.step("snip", done, 100)
        clock.now += 0.01
    progress.failed(CircuitError(Finding("E392", "no", circuit="c0")))
    progress.circuit_ended("c0")
    progress.compared(ComparisonStatus(("c0", "c1"), Path("runs/x/both"), missing=("c1",)))
    progress.ended()
    assert all("\x1b" not in line for line in lines)
    events = [json.loads(line) for line in lines]
    steps = [event for event in events if event["event"] == "step"]
    assert 9 <= len(steps) <= 11
    assert steps[0] == {"event": "step", "label": "snip", "done": 0, "total": 100}
    others = [event for event in events if event["event"] != "step"]
    names = ["noted", "begun", "circuit_begun", "failed", "circuit_ended", "compared", "ended"]
    assert [event["event"] for event in others] == names
    assert others[0]["code"] == "W305"
    assert others[1]["circuits"] == ["c0"]
    assert others[3]["findings"][0]["message"] == "no"
    assert others[5]["missing"] == ["c1"]


def test_a_notebook_shows_one_line_a_few_times_a_second():
    clock, shown = Clock(), list[str]()
    progress = NotebookProgress(shown.append, clock)
    progress.begun(start(2))
    progress.circuit_begun("c0")
    for done in range(1000):
        progress.step("snip", done, 1000)
        clock.now += 0.001
    assert shown[0] == "circuit 1/2"
    assert 4 <= len(shown) <= 6
    assert shown[-1].startswith("circuit 1/2 · c0 · snip ")
    progress.circuit_ended("c0")
    progress.ended()
    assert shown[-1] == "1 of 2 circuits"


def test_no_notebook_no_line():
    assert notebook_line() is None


def test_items_pass_through_a_tracker_and_are_counted():
    steps = []

    class Counting(RunListener):
        def step(self, label: str, done: int, total: int) -> None:
            steps.append((label, done, total))

    track = tracker(Listeners(SILENT, Counting()))
    assert list(track(iter("ab"), "letters", 2)) == ["a", "b"]
    assert steps == [("letters", 0, 2), ("letters", 1, 2), ("letters", 2, 2)]


@pytest.mark.parametrize("name", [name for name in vars(RunListener) if not name.startswith("_")])
def test_several_listeners_receive_every_event(name):
    heard = []

    def hear(self: RunListener, *values: object) -> None:
        heard.append(values)

    listener = type("Hearing", (RunListener,), {name: hear})
    values = ("a", 1, 2)[: len(inspect.signature(getattr(RunListener, name)).parameters) - 1]
    getattr(Listeners(listener(), listener()), name)(*values)
    assert heard == [values, values]
