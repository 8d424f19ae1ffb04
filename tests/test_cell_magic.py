"""The cell magic `%%circuit`, in the shell that notebooks run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import ExecutionResult, InteractiveShell

import circuitlang
from circuitlang.api import Run

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "guides" / "notebooks.md"
SPEC = "circuit face = preserve conv5:34 on images/dogs/* keep<=5% criterion=magnitude\n"


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "circuitlang")
    yield shell
    InteractiveShell.clear_instance()


def execute(shell: InteractiveShell, cell: str) -> ExecutionResult:
    return shell.run_cell(cell, store_history=False)


def test_a_cell_is_a_spec_and_its_run_a_variable(here: Path, shell: InteractiveShell) -> None:
    done = execute(shell, f"%%circuit sizes\n{SPEC}")
    assert done.success
    assert isinstance(done.result, Run)
    assert done.result is shell.user_ns["sizes"]
    assert done.result["face"].summary.kept == 338
    assert here.joinpath("runs", "sizes", "face", "metrics.json").exists()


def test_a_run_without_a_name_is_the_result_alone(here: Path, shell: InteractiveShell) -> None:
    done = execute(shell, f"%%circuit --out 'my results'\n{SPEC}")
    assert done.result.names() == ["face"]
    assert here.joinpath("my results", "inline", "face").exists()


def test_a_mistake_has_its_place_in_the_cell(here: Path, shell: InteractiveShell) -> None:
    done = execute(shell, f"%%circuit sizes\n\n{SPEC.replace('conv5', 'conv9')}")
    assert isinstance(done.error_in_exec, circuitlang.SpecError)
    (finding,) = done.error_in_exec.findings
    assert finding.span is not None
    assert (finding.code, finding.span.place) == ("E102", "sizes.circuit:2:25")
    assert "sizes" not in shell.user_ns


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2nd", "'2nd' can't be the name of a variable"),
        ("a b", "unrecognized arguments: b"),
        ("--model nothing", "there is no variable 'nothing'"),
        ("--images dogs=nothing", "there is no variable 'nothing'"),
        ("--images", "expected at least one argument"),
        ("--modle x", "unrecognized arguments: --modle"),
    ],
)
def test_a_wrong_line_is_an_error_of_the_cell(here: Path, shell: InteractiveShell, line: str, message: str) -> None:
    done = execute(shell, f"%%circuit {line}\n{SPEC}")
    assert isinstance(done.error_in_exec, UsageError)
    assert message in str(done.error_in_exec)
    assert "usage: %%circuit" in str(done.error_in_exec)
    assert not here.joinpath("runs").exists()


@pytest.mark.slow
def test_the_documented_cells_run(here: Path, shell: InteractiveShell) -> None:
    cells = re.findall(r"^```ipython\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert len(cells) > 4
    results = [execute(shell, cell) for cell in cells]
    assert [done.error_before_exec or done.error_in_exec for done in results] == [None] * len(cells)
    assert shell.user_ns["mine"].names() == ["bright", "dim"]
    assert [135, 338] in [done.result for done in results]


def test_help_lists_the_options(shell: InteractiveShell) -> None:
    magic = shell.find_cell_magic("circuit")
    assert all(option in str(magic.__doc__) for option in ("--model", "--images", "--preprocess", "--out", "--device"))


def test_importing_the_package_imports_no_ipython() -> None:
    program = "import sys, circuitlang, circuitlang.api.notebook; print('IPython' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "False\n", done.stderr
