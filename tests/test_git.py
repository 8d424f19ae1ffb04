"""Hooks, the diff driver and the workflow: what git and CI services call, as they call it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
import yaml
from click.testing import CliRunner

from circuitlang.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
SPEC = "circuit face = preserve conv5:34 on images/dogs/* keep<=10% criterion=magnitude\n"
PROGRAMS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
WHO = ("-c", "user.name=you", "-c", "user.email=you@example.org")


def git(folder: Path, *arguments: str) -> str:
    variables = {**os.environ, "PATH": PROGRAMS, "PYTHONPATH": str(ROOT), "GIT_PAGER": "cat"}
    done = subprocess.run(["git", *arguments], cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a spec in a folder, and the driver as the documentation configures it."""
    page = ROOT.joinpath("docs", "guides", "git-and-ci.md").read_text(encoding="utf-8")
    (driver,) = re.findall(r"config diff\.circuit\.command '([^']+)'", page)
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "diff.circuit.command", driver)
    tmp_path.joinpath(".gitattributes").write_text("*.circuit diff=circuit\n")
    tmp_path.joinpath("specs").mkdir()
    tmp_path.joinpath("specs", "sets.circuit").write_text("images dogs = images/dogs/*\n")
    tmp_path.joinpath("specs", "face.circuit").write_text(
        'include "sets.circuit"\n' + SPEC.replace("images/dogs/*", "dogs")
    )
    git(tmp_path, "add", "-A")
    git(tmp_path, *WHO, "commit", "-qm", "first")
    return tmp_path


def change(repository: Path, old: str, new: str) -> None:
    spec = repository / "specs" / "face.circuit"
    spec.write_text(spec.read_text().replace(old, new))


def test_git_shows_what_a_change_means(repository: Path) -> None:
    change(repository, "keep<=10%", "keep<=5%")
    assert git(repository, "diff") == (
        "circuitlang diff specs/face.circuit\ncircuit face\n  size: keep<=0.1 → keep<=0.05  (face.circuit:2)\n"
    )


def test_git_shows_that_a_change_means_nothing(repository: Path) -> None:
    change(repository, "keep<=10%", "keep <= .1".replace(" .", " 0."))
    assert git(repository, "diff") == "circuitlang diff specs/face.circuit\nno difference in meaning\n"


def test_git_shows_lines_where_a_side_has_mistakes(repository: Path) -> None:
    change(repository, "keep<=10%", "keep<=ten")
    assert "+circuit face = preserve conv5:34 on dogs keep<=ten" in git(repository, "diff")


def test_git_shows_new_deleted_and_renamed_specs(repository: Path) -> None:
    repository.joinpath("new.circuit").write_text(SPEC)
    git(repository, "add", "-A")
    assert "circuit face: added" in git(repository, "diff", "--cached")
    git(repository, *WHO, "commit", "-qm", "second")
    git(repository, "mv", "new.circuit", "specs/old.circuit")
    renamed = git(repository, "diff", "--cached", "-M")
    assert renamed.startswith("circuitlang diff new.circuit specs/old.circuit\n")
    git(repository, "rm", "-qf", "specs/old.circuit")
    assert "circuit face: removed" in git(repository, "diff", "--cached")


def test_git_shows_an_unmerged_spec(repository: Path) -> None:
    git(repository, "checkout", "-qb", "other")
    change(repository, "keep<=10%", "keep<=5%")
    git(repository, *WHO, "commit", "-qam", "other")
    git(repository, "checkout", "-q", "-")
    change(repository, "keep<=10%", "keep<=20%")
    git(repository, *WHO, "commit", "-qam", "mine")
    with pytest.raises(AssertionError, match="CONFLICT"):
        git(repository, *WHO, "merge", "other")
    assert "unmerged specs/face.circuit" in git(repository, "diff", "--cached")


def test_each_hook_calls_a_command_that_takes_several_specs(here: Path) -> None:
    hooks = yaml.safe_load(ROOT.joinpath(".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert [hook["id"] for hook in hooks] == ["circuitlang-check", "circuitlang-fmt", "circuitlang-lock"]
    for name in ("a.circuit", "b.circuit"):
        here.joinpath(name).write_text(SPEC)
    for hook in hooks:
        assert re.search(hook["files"], "specs/a.circuit")
        program, *arguments = hook["entry"].split()
        assert program == "circuitlang"
        done = CliRunner().invoke(main, [*arguments, "a.circuit", "b.circuit"])
        assert done.exit_code == 0, done.output
    assert not here.joinpath("a.circuit.lock").exists()


def test_the_hook_renews_the_lock_files_that_are_there(here: Path) -> None:
    for name in ("a.circuit", "b.circuit"):
        here.joinpath(name).write_text(SPEC)
    assert CliRunner().invoke(main, ["lock", "a.circuit"]).exit_code == 0
    before = here.joinpath("a.circuit.lock").read_bytes()
    here.joinpath("a.circuit").write_text(SPEC.replace("10%", "5%"))
    assert CliRunner().invoke(main, ["lock", "--existing", "a.circuit", "b.circuit"]).exit_code == 0
    assert here.joinpath("a.circuit.lock").read_bytes() != before
    assert not here.joinpath("b.circuit.lock").exists()


def action() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(ROOT.joinpath("action.yml").read_text(encoding="utf-8"))
    return content


def perform(step: str, folder: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """Run a step of the action as a runner does: its script in bash, its inputs as variables."""
    (found,) = (found for found in action()["runs"]["steps"] if found.get("name") == step)
    defaults = {name.upper(): about["default"] for name, about in action()["inputs"].items()}
    values = {**defaults, **inputs, "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    variables = {**os.environ, "PATH": PROGRAMS, "PYTHONPATH": str(ROOT), **values}
    script = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", found["run"]]
    return subprocess.run(script, cwd=folder, env=variables, capture_output=True, text=True)


def test_inputs_reach_scripts_as_variables_alone() -> None:
    """An expression in a script would let an input run commands."""
    for step in action()["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
        for value in step.get("env", {}).values():
            assert re.fullmatch(r"\$\{\{ (inputs\.(\w+)|github\.action_path) \}\}", value)


def test_the_action_annotates_mistakes_and_shows_what_fmt_would_change(here: Path) -> None:
    here.joinpath("a spec.circuit").write_text(SPEC.replace("keep<=10%", "keep<=10%  "))
    checked = perform("Check", here, SPECS="a spec.circuit\n\n")
    assert (checked.returncode, checked.stdout) == (0, "")
    formatted = perform("Format", here, SPECS="a spec.circuit")
    assert formatted.returncode == 1
    assert "+circuit face = preserve conv5:34 on images/dogs/* keep<=10% criterion=magnitude\n" in formatted.stdout
    here.joinpath("a spec.circuit").write_text(SPEC.replace("conv5", "conv9"))
    checked = perform("Check", here, SPECS=".")
    assert checked.returncode == 1
    assert checked.stdout.startswith("::error file=a spec.circuit,line=1,")


@pytest.mark.slow
def test_the_action_runs_specs_and_reports_all_of_them(here: Path) -> None:
    here.joinpath("specs").mkdir()
    here.joinpath("specs", "images").symlink_to(here / "images")
    for name, claim in (("good", "face.kept <= 900"), ("bad", "face.kept <= 9")):
        here.joinpath("specs", f"{name}.circuit").write_text(f"{SPEC}expect {claim}\n")
    done = perform("Run", here, RUN="specs/bad.circuit\nspecs/good.circuit", LOCKED="false", OPTIONS="--render\nnone")
    assert done.returncode == 1
    assert "E330" in done.stderr
    summary = here.joinpath("summary.md").read_text(encoding="utf-8")
    assert re.findall("^### .*", summary, flags=re.MULTILINE) == ["### bad: failed", "### good: passed"]
    reports = sorted(here.joinpath("circuit-results", "reports").glob("*.xml"))
    failures = [Xml.parse(report).getroot()[0].get("failures") for report in reports]
    assert [report.name for report in reports] == ["specs-bad.circuit.xml", "specs-good.circuit.xml"]
    assert failures == ["1", "0"]
    locked = perform("Run", here, RUN="specs/good.circuit")
    assert "lock" in locked.stderr
    assert locked.returncode == 1
