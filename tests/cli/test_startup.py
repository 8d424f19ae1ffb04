"""What is asked often answers at once: nothing before a run imports torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from circuitlang.cli.main import main

SPEC = "preserve conv5:34 on images/dogs/* sparsity<=0.1 criterion=force(steps=3)\n"
# What takes seconds to import, and what a check of a file without mistakes has no use for.
HEAVY = {"torch", "torchvision", "matplotlib", "jinja2"}
SPARED = {"circuitlang.plan.diff", "circuitlang.plan.yaml", "rich", "yaml"}
MAIN = """
import sys
from circuitlang.cli.main import main
try:
    main(sys.argv[1:], prog_name="circuitlang")
finally:
    print("imported:", *sorted(sys.modules), file=sys.stderr)
"""


def imported(arguments: list[str], folder: Path, among: set[str] = HEAVY) -> list[str]:
    done = subprocess.run([sys.executable, "-c", MAIN, *arguments], cwd=folder, capture_output=True, text=True)
    label, *names = done.stderr.splitlines()[-1].split()
    assert label == "imported:"
    assert done.stdout
    return sorted(among.intersection(names))


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
        ["fmt", "wide.circuit"],
        ["fmt", "--check", "wide.circuit"],
        ["fmt", "--diff", "wide.circuit"],
        ["diff", "good.circuit", "wide.circuit"],
        ["explain", "E102"],
        ["explain", "force"],
        ["criteria"],
        ["models"],
        ["cache"],
        ["cache", "--clear"],
        ["layers", "bundled.doodle"],
    ],
    ids=" ".join,
)
def test_no_torch_before_a_run(tmp_path: Path, arguments: list[str]) -> None:
    tmp_path.joinpath("good.circuit").write_text(SPEC)
    tmp_path.joinpath("bad.circuit").write_text("model alexnet\n" + SPEC.replace("force", "brute"))
    tmp_path.joinpath("wide.circuit").write_text(SPEC.replace(" ", "  ").replace("0.1", "0.2"))
    assert imported(arguments, tmp_path) == []


@pytest.mark.slow
def test_layers_of_a_model_that_was_looked_at_import_no_torch(tmp_path: Path) -> None:
    # Without its weights it is another model.
    assert CliRunner().invoke(main, ["layers", "squeezenet1_1(weights=none)"]).exit_code == 0
    assert "torch" in imported(["layers", "squeezenet1_1"], tmp_path)
    assert imported(["layers", "squeezenet1_1"], tmp_path) == []


@pytest.mark.parametrize(
    "arguments", [["models"], ["criteria"], ["cache"], ["layers", "bundled.doodle"], ["plan", "--yaml", "good.circuit"]]
)
def test_lists_of_what_there_is_import_no_numpy(tmp_path: Path, arguments: list[str]) -> None:
    tmp_path.joinpath("good.circuit").write_text(SPEC)
    assert imported(arguments, tmp_path, {"numpy"}) == []


@pytest.mark.slow
def test_what_is_finished_is_read_without_torch(here: Path, numbers_alone: None) -> None:
    two = "circuit {} = preserve conv5:34 on images/dogs/* kernels<={} criterion=magnitude\n"
    here.joinpath("a.circuit").write_text(f"{two.format('one', 20)}{two.format('two', 40)}compare one, two\n")
    for out in ("runs", "other"):
        assert CliRunner().invoke(main, ["run", "a.circuit", "--out", out]).exit_code == 0
    pair = ["runs/a/one", "runs/a/two"]
    for arguments in (["show", "a"], ["show", "one", "--full"], ["diff", "runs/a", "other/a"], ["show", "runs"]):
        assert imported(arguments, here, HEAVY | {"importlib.metadata"}) == []
    assert imported(["show", "runs"], here, {"numpy"}) == []
    for arguments in (["compare", *pair], ["compare", "runs/a"], ["compare", *pair, "--json"]):
        assert imported(arguments, here, HEAVY | {"lark"}) == []
    stored = CliRunner().invoke(main, ["compare", *pair, "--json"]).stdout
    # A comparison that no run has made is computed, and is the same.
    shutil.rmtree("runs/a/compare-one-two")
    assert CliRunner().invoke(main, ["compare", *pair, "--json"]).stdout == stored
    other = CliRunner().invoke(main, ["compare", *reversed(pair), "--json"]).stdout
    assert [each["name"] for each in json.loads(other)["members"]] == ["two", "one"]


def test_a_finished_run_and_the_plan_of_a_known_model_import_no_torch(tmp_path: Path, numbers_alone: None) -> None:
    text = "circuit {} = preserve conv5:34 on bundled.dogs kernels<={} criterion=magnitude\n"
    tmp_path.joinpath("two.circuit").write_text(f"{text.format('one', 20)}{text.format('two', 40)}compare one, two\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert CliRunner().invoke(main, ["run", "two.circuit"]).exit_code == 0
    # A run writes its index.
    assert imported(["run", "two.circuit"], tmp_path, (HEAVY - {"jinja2"}) | {"numpy"}) == []
    # Those that are there, and others of the same network.
    assert imported(["plan", "two.circuit"], tmp_path) == []
    criteria = "criterion=each(annealed, force, gn, greedy, learned, path, random, snip, taylor)"
    tmp_path.joinpath("new.circuit").write_text(f"preserve conv3:each(1, 2) on bundled.cats keep<=0.1 {criteria}\n")
    assert imported(["plan", "new.circuit"], tmp_path) == []


def test_a_clean_check_imports_only_what_it_needs(tmp_path: Path) -> None:
    tmp_path.joinpath("good.circuit").write_text(SPEC)
    assert imported(["check", "good.circuit"], tmp_path, SPARED | HEAVY) == []


def test_what_a_check_is_spared_is_imported_for_more(tmp_path: Path) -> None:
    """Or the test above would not notice."""
    tmp_path.joinpath("good.circuit").write_text(SPEC)
    tmp_path.joinpath("wide.circuit").write_text(SPEC.replace("0.1", "0.2"))
    assert imported(["diff", "good.circuit", "wide.circuit"], tmp_path, SPARED) == sorted(SPARED)


@pytest.mark.slow
def test_what_builds_the_network_does_import_torch(tmp_path: Path) -> None:
    """Or the test above would not notice."""
    images = f"{Path(__file__).parents[2]}/examples/images/"
    tmp_path.joinpath("good.circuit").write_text(SPEC.replace("images/", images))
    assert "torch" in imported(["check", "--deep", "good.circuit"], tmp_path)


@pytest.mark.parametrize("module", ["circuitlang", "circuitlang.pipeline", "circuitlang.results.reader"])
def test_no_torch_in_what_others_import(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
