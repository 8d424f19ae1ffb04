"""What is asked often answers at once: nothing before a run imports torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SPEC = "preserve conv5:34 on images/dogs/* sparsity<=0.1 criterion=force(steps=3)\n"
MAIN = """
import sys
from circuitlang.cli import main
try:
    main(sys.argv[1:], prog_name="circuitlang")
finally:
    print("imported:", *sorted(sys.modules.keys() & {"torch", "torchvision"}), file=sys.stderr)
"""


def imported(arguments: list[str], folder: Path) -> list[str]:
    done = subprocess.run([sys.executable, "-c", MAIN, *arguments], cwd=folder, capture_output=True, text=True)
    label, *names = done.stderr.splitlines()[-1].split()
    assert label == "imported:"
    assert done.stdout
    return names


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["check", "good.circuit"],
        ["check", "bad.circuit"],
        ["check", "--format", "sarif", "bad.circuit"],
        ["plan", "--yaml", "good.circuit"],
        ["explain", "E102"],
        ["explain", "force"],
        ["criteria"],
        ["models"],
    ],
    ids=" ".join,
)
def test_no_torch_before_a_run(tmp_path: Path, arguments: list[str]) -> None:
    tmp_path.joinpath("good.circuit").write_text(SPEC)
    tmp_path.joinpath("bad.circuit").write_text("model alexnet\n" + SPEC.replace("force", "brute"))
    assert imported(arguments, tmp_path) == []


def test_a_run_does_import_torch(tmp_path: Path) -> None:
    """Or the test above would not notice."""
    spec = SPEC.replace("images/", f"{Path(__file__).parents[1]}/examples/images/")
    tmp_path.joinpath("good.circuit").write_text(spec)
    assert imported(["run", "good.circuit"], tmp_path) != []


@pytest.mark.parametrize("module", ["circuitlang", "circuitlang.pipeline", "circuitlang.output.read"])
def test_no_torch_in_what_others_import(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
