"""What a command does on odd machines: full disks, closed streams, small alphabets, and its own mistakes."""

import io
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from circuitlang.cli import process_setup as module
from circuitlang.cli.console import display
from circuitlang.cli.main import main
from circuitlang.cli.process_setup import boundary
from circuitlang.results.run_listener import tracker
from tests.conftest import ROOT

SPEC = "images é = a/*\ncircuit c = preserve conv1:0 on é sparsity<=100%\n"


@pytest.fixture
def natural(monkeypatch):
    """As for users: a mistake of the program is a finding."""
    monkeypatch.delenv("CIRCUITLANG_DEBUG", raising=False)


def call(*arguments: str, environment: dict[str, str] | None = None, **options) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    known = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **(environment or {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options}
    return subprocess.run(
        [sys.executable, "-m", "circuitlang", *arguments],
        env=known,
        text=True,
        check=False,
        errors="replace",
        **options,
    )


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s.circuit").write_text(SPEC)
    return tmp_path


@pytest.mark.parametrize("arguments", [["check", "s.circuit"], ["explain", "E301"], ["plan", "--yaml", "s.circuit"]])
def test_a_full_disk_is_one_message(spec, arguments):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = call(*arguments, stdout=full)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "E390" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_streams_may_be_closed(spec, closed):
    done = call("check", "s.circuit", preexec_fn=lambda: [os.close(each) for each in closed])
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_what_is_opened_does_not_become_a_closed_stream(spec):
    done = call("plan", "--yaml", "s.circuit", "-o", "plan.yaml", preexec_fn=lambda: os.close(1))
    assert done.returncode == 0
    assert Path("plan.yaml").read_text().startswith("# What was run")


def test_closed_input_is_a_finding(spec):
    done = call("check", "-", preexec_fn=lambda: os.close(0))
    assert done.returncode == 1
    assert "it is closed" in done.stderr + done.stdout


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("environment", [ASCII, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}])
def test_letters_that_a_terminal_lacks_are_written_by_number(spec, environment):
    Path("s.circuit").write_text(SPEC.replace("on é", "on 犬"), encoding="utf-8")
    done = call("check", "s.circuit", environment=environment)
    assert done.returncode == 1
    assert "\\u72ac" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_paths_that_a_locale_lacks_are_a_finding(spec):
    Path("s.circuit").write_text('preserve conv1:0 on "é/*" kernels<=3', encoding="utf-8")
    done = call("check", "--deep", "s.circuit", environment=ASCII)
    assert done.returncode == 1
    assert "LC_ALL=C.UTF-8" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("value", ["999999999", "9" * 5000, "0", "-1", "abc", "", "1e9", "²", "80 "])
def test_sizes_of_terminals_are_sane(monkeypatch, value):
    monkeypatch.setenv("COLUMNS", value)
    monkeypatch.setenv("LINES", value)
    result = CliRunner().invoke(main, ["criteria"])
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) < 20_000


def test_a_removed_folder_to_stand_in_is_answered(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    done = call("check", "s.circuit", cwd=gone, preexec_fn=lambda: gone.rmdir())
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", [["plan", "--yaml", "s.circuit", "-o"], ["run", "nothing.circuit", "--junit"]])
def test_a_pipe_is_written_to_and_not_replaced(spec, option):
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        CliRunner().invoke(main, [*option, "pipe"])
        assert stat.S_ISFIFO(os.lstat("pipe").st_mode)
        assert len(os.read(reader, 10)) == 10
    finally:
        os.close(reader)


def test_a_socket_is_not_replaced(spec):
    with socket.socket(socket.AF_UNIX) as there:
        there.bind("socket")
    done = CliRunner().invoke(main, ["plan", "--yaml", "s.circuit", "-o", "socket"])
    assert "E390" in done.output
    assert stat.S_ISSOCK(os.lstat("socket").st_mode)


NAMES = [
    "a" * 300,
    "a" * 5000,
    "a\0b",
    "loop",
    "x/" * 3000,
    "\udcff",
    "\x1b[31m",
    "",
    ".",
    "/dev/full",
    "/dev/null",
    "~",
]
COMMANDS = [
    ["run", "{}"], ["run", "-e", "{}"], ["run", "s.circuit", "--out", "{}"], ["run", "s.circuit", "--only", "{}"],
    ["run", "s.circuit", "--shard", "{}"], ["run", "s.circuit", "--junit", "{}"],
    ["run", "s.circuit", "--device", "{}"],
    ["run", "{}", "--locked"], ["check", "{}"], ["check", "--deep", "{}"], ["fmt", "{}"], ["fmt", "--diff", "{}"],
    ["explain", "{}"], ["layers", "{}"], ["plan", "{}"], ["plan", "-e", "preserve conv1:0 on {} kernels<=3"],
    ["plan", "--yaml", "s.circuit", "-o", "{}"], ["plan", "s.circuit", "--out", "{}"], ["show", "{}"],
    ["export", "{}", "x.svg"], ["export", "s.circuit", "{}"], ["diff", "{}", "s.circuit"], ["diff", "s.circuit", "{}"],
    ["compare", "{}", "{}"], ["lock", "{}"], ["lock", "{}", "--skip-unreadable"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_answers_every_name(spec, natural, command):
    Path("loop").symlink_to("loop")
    for name in NAMES:
        result = CliRunner().invoke(main, [each.format(name) for each in command])
        assert result.exit_code in (0, 1, 2), f"{name[:20]!r}: {result.output[-500:]}"
        assert "circuitlang failed" not in result.output, f"{name[:20]!r}: {result.output[-500:]}"
        assert "Traceback" not in result.output
        assert "\x1b" not in result.output


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ZeroDivisionError("x"), 70, "ZeroDivisionError: x"),
        (RecursionError(), 70, "RecursionError"),
        (ValueError("\x1b[2J"), 70, "␛"),
        (MemoryError(), 1, "memory ran out"),
        (OSError(28, "No space left on device"), 1, "can't write the output"),
        (PermissionError(13, "Permission denied", "/x\x1b"), 1, "/x␛"),
    ],
)
def test_whatever_a_command_raises_is_one_finding(natural, monkeypatch, error, code, said):
    @click.command()
    def broken():
        raise error

    monkeypatch.setitem(main.commands, "broken", broken)
    result = CliRunner().invoke(main, ["broken"])
    assert result.exit_code == code
    assert said in result.output
    assert result.output.count("error[") == 1
    assert "Traceback" not in result.output
    assert "\x1b" not in result.output


def test_with_a_variable_mistakes_have_a_traceback(monkeypatch):
    monkeypatch.setenv(module.DEBUG, "1")
    with pytest.raises(ZeroDivisionError), boundary():
        raise ZeroDivisionError


def test_exit_codes_pass(natural):
    for code in (0, 1, 2, 130):
        with pytest.raises(SystemExit) as caught, boundary():
            sys.exit(code)
        assert caught.value.code == code


def test_a_name_like_markup_is_no_markup(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with display() as shown:
        track = tracker(shown.listener)
        assert list(track(iter("ab"), "reading [/images/x] [red]", 2)) == ["a", "b"]
    assert "[/images/x]" in terminal.getvalue()
