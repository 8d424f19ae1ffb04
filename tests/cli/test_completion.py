"""Completion in shells, as Click computes it and as bash asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from circuitlang.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
SPEC = "circuit face = preserve conv5:34 on images/dogs/* keep<=10% criterion=magnitude\n"
PAGE = ROOT / "docs" / "guides" / "shell-completion.md"


def complete(*arguments: str) -> list[str]:
    """Return what the last argument is completed to; of a file that the shell completes, its type in brackets."""
    *before, incomplete = arguments
    items = ShellComplete(main, {}, "circuitlang", "_CIRCUITLANG_COMPLETE").get_completions(before, incomplete)
    return [item.value if item.type == "plain" else f"<{item.type}>" for item in items]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("top.circuit", "specs/a.circuit", "specs/deep/b.circuit", "specs/c.txt", ".hidden/d.circuit"):
        tmp_path.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        tmp_path.joinpath(name).write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", ["check", "fmt", "run", "plan", "lock", "diff"])
def test_specs_are_completed_in_folders_below_too(folder: Path, command: str) -> None:
    assert complete(command, "") == ["specs/a.circuit", "specs/deep/b.circuit", "top.circuit"]
    assert complete(command, "sp") == ["specs/a.circuit", "specs/deep/b.circuit"]
    assert complete(command, "./specs/d") == ["./specs/deep/b.circuit"]
    assert complete(command, f"{folder}/t") == [f"{folder}/top.circuit"]


@pytest.mark.parametrize("incomplete", ["nothing", "specs/c", "no/such/folder/", "top.circuit/"])
def test_a_shell_completes_other_files_itself(folder: Path, incomplete: str) -> None:
    assert complete("check", incomplete) == ["<file>"]


def test_a_folder_with_more_entries_than_anyone_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6000):
        tmp_path.joinpath(f"b{number}").touch()
    tmp_path.joinpath("a.circuit").touch()
    tmp_path.joinpath("loop").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert complete("check", "") == ["a.circuit"]


def test_ids_of_circuits_are_those_of_the_specs_before(folder: Path) -> None:
    folder.joinpath("more.circuit").write_text("circuit f = preserve conv5:34 on images/dogs/* keep<=each(1%, 2%)\n")
    assert complete("run", "top.circuit", "more.circuit", "--only", "f") == ["face", "f-0.01", "f-0.02"]
    folder.joinpath("broken.circuit").write_text("preserve\n")
    assert complete("run", "broken.circuit", "--only", "") == []
    assert complete("run", "missing.circuit", "--only", "") == []
    assert complete("run", "--only", "") == []


@pytest.mark.parametrize("command", ["show", "open"])
def test_names_of_finished_results(here: Path, standard_run, command: str) -> None:
    standard_run(SPEC, name="face")
    names = complete(command, "")
    assert "face" in names
    assert complete(command, "fa") == ["face"]
    assert complete(command, "zzz") == ["<dir>"]
    assert complete(command, "--out", "elsewhere", "fa") == ["<dir>"]


def test_words_of_the_language_codes_and_extensions() -> None:
    assert complete("explain", "E20")[:3] == ["E201", "E202", "E203"]
    assert complete("explain", "annea") == ["annealed"]
    assert {"keep", "sparsity", "pearson", "preserve"} <= set(complete("explain", ""))


def test_models() -> None:
    assert complete("layers", "resnet1") == ["resnet101", "resnet152", "resnet18"]
    assert complete("layers", "bun") == ["bundled.doodle"]


def test_commands_and_options() -> None:
    assert complete("ch") == ["check"]
    assert complete("check", "--form") == ["--format"]
    assert complete("check", "--format", "s") == ["sarif"]


def test_completion_imports_no_torch(folder: Path) -> None:
    program = (
        "import sys\nfrom click.shell_completion import ShellComplete\nfrom circuitlang.cli.main import main\n"
        "shell = ShellComplete(main, {}, 'circuitlang', '_CIRCUITLANG_COMPLETE')\n"
        "calls = 'run ', 'run top.circuit --only ', 'show ', 'explain ', 'layers '\n"
        "for words in (call.split(' ') for call in calls):\n"
        "    shell.get_completions(words[:-1], words[-1])\n"
        "print(sorted({'torch', 'matplotlib', 'IPython'}.intersection(sys.modules)))"
    )
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=variables)
    assert done.stdout == "[]\n", done.stderr


def test_bash_completes_a_spec(folder: Path) -> None:
    """The line of the documentation is evaluated, and the function that it defines is called as bash calls it."""
    (line,) = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if "bash_source" in line]
    script = f"""{line}
        COMP_WORDS=(circuitlang run spec) COMP_CWORD=2
        _circuitlang_completion circuitlang spec run
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=variables)
    assert done.stdout.split() == ["specs/a.circuit", "specs/deep/b.circuit"], done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_their_script(shell: str) -> None:
    assert f"_CIRCUITLANG_COMPLETE={shell}_source circuitlang" in PAGE.read_text(encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "_CIRCUITLANG_COMPLETE": f"{shell}_source"}
    done = subprocess.run(["circuitlang"], capture_output=True, text=True, env=variables)
    assert done.returncode == 0
    assert f"_CIRCUITLANG_COMPLETE={shell}_complete" in done.stdout
