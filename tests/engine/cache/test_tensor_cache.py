"""Scores are kept by content, and never computed twice."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

import circuitlang
from circuitlang.cli.main import main
from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.cache import tensor_cache
from circuitlang.engine.evaluation import reference_responses
from circuitlang.engine.runtime import circuit_finder
from circuitlang.plugins.protocols import CRITERIA
from tests.conftest import draw_pictures

LINE = "preserve conv5:34 on images/dogs/* sparsity<={size} {rest}\n"


@pytest.fixture
def scored(here: Path, numbers_alone: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The criteria that something was scored by; each costs passes but the two baselines."""
    seen: list[str] = []

    def watched(builder, criterion, *rest):
        if criterion not in ("random", "magnitude"):
            seen.append(criterion)
        return score(builder, criterion, *rest)

    monkeypatch.setattr(circuit_finder, "score", watched)
    return seen


def run(size: float | str, rest: str = "criterion=snip") -> dict[str, np.ndarray]:
    shutil.rmtree("runs", ignore_errors=True)
    (made,) = circuitlang.run(LINE.format(size=size, rest=rest))
    folder = next(path.parent for path in Path("runs").rglob("circuit.json"))
    assert made.summary.kept > 0
    return circuitlang.load(folder).masks


def plan(*sizes: float, rest: str = "criterion=snip") -> list[dict]:
    text = "".join(LINE.format(size=size, rest=rest) for size in sizes)
    ran = CliRunner().invoke(main, ["plan", "--json", "-e", text])
    assert ran.exit_code == 0, ran.output
    return [{**each, **each["cost"]} for each in json.loads(ran.stdout)["circuits"]]


def files() -> list[Path]:
    return sorted(tensor_cache.folder().glob("*/*.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("rest", ["criterion=snip", "criterion=gn ablation=mean", "criterion=greedy structure=weight"])
def test_another_size_takes_no_pass_and_gives_the_same_circuit(scored, rest):
    run(0.2, rest)
    found = run(0.1, rest)
    assert len(scored) == 1
    assert run(0.2, rest)
    assert len(scored) == 1
    tensor_cache.clear()
    fresh = run(0.1, rest)
    assert len(scored) == 2
    assert all(np.array_equal(found[name], fresh[name]) for name in fresh)


@pytest.mark.parametrize(
    "change",
    ["criterion=actgrad", "criterion=gn seed=1", "ablation=mean", "holdout=40%", "structure=channel"],
)
def test_what_has_a_say_in_the_scores_makes_others(scored, change):
    run(0.2, "criterion=gn" if "criterion" not in change or "seed" in change else "criterion=snip")
    run(0.2, change if "criterion" in change else f"criterion=gn {change}")
    assert len(scored) == 2


@pytest.mark.slow
def test_other_pictures_and_other_code_make_other_scores(scored, here, monkeypatch):
    run(0.2)
    first = here / "images" / "dogs" / "0.png"
    first.write_bytes((here / "images" / "dogs" / "1.png").read_bytes())
    run(0.2)
    assert len(scored) == 2
    monkeypatch.setattr(tensor_cache, "engine_version", lambda: "another version")
    run(0.2)
    assert len(scored) == 3


@pytest.mark.slow
def test_the_name_of_a_picture_does_not(scored, here):
    run(0.2)
    (here / "images" / "dogs").rename(here / "images" / "hounds")
    (here / "images" / "dogs").symlink_to(here / "images" / "hounds")
    run(0.1)
    assert len(scored) == 1


def test_what_scores_for_a_size_is_kept_by_size(scored):
    rest = "criterion=force(steps=2)"
    run(0.2, rest)
    run(0.1, rest)
    assert len(scored) == 2
    run(0.1, rest)
    assert len(scored) == 2
    assert [each["scored"] for each in plan(0.2, 0.1, 0.05, rest=rest)] == ["cache", "cache", ""]


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_file_is_as_good_as_none(scored, damage):
    run(0.2)
    (path,) = files()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    run(0.2)
    assert len(scored) == 2
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_does_no_harm(scored, here, monkeypatch):
    (here / "file").write_text("in the way")
    monkeypatch.setenv("CIRCUITLANG_CACHE", str(here / "file" / "cache"))
    run(0.2)
    run(0.2)
    assert len(scored) == 2


def test_plan_says_what_costs_nothing(scored):
    assert [each["scored"] for each in plan(0.2, 0.1)] == ["", "conv5_34-snip-0.2"]
    assert [each["passes"] for each in plan(0.2, 0.1)] == [1, 0]
    run(0.3)
    assert [each["scored"] for each in plan(0.2, 0.1)] == ["cache", "cache"]
    text = CliRunner().invoke(main, ["plan", "-e", LINE.format(size=0.2, rest="criterion=snip")]).stdout
    assert "no pass, its scores are in the cache" in text
    assert "circuit to compute: 0 passes" in text
    assert len(scored) == 1


def test_baselines_are_not_kept(scored):
    run(0.2, "criterion=magnitude")
    assert files() == []


def test_the_command_tells_and_clears(scored):
    def said(*options: str) -> str:
        ran = CliRunner().invoke(main, ["cache", *options])
        assert ran.exit_code == 0
        return ran.stdout

    assert said().startswith("0 files of scores and responses, 0.0 MB in ")
    run(0.2)
    assert said().startswith("4 files of scores and responses, 0.1 MB in ")
    assert said("--clear").startswith("removed 4 files of scores ")
    assert files() == []
    assert said().startswith("0 files")


def test_those_go_that_were_not_used_the_longest(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(tensor_cache, "LIMIT", 3 * 1300)
    score_caches = [tensor_cache.ScoreCache(tensor_cache.folder() / str(number), "key") for number in range(4)]
    for number, score_cache in enumerate(score_caches[:3]):
        score_cache.scores(None, lambda: {"layer": torch.zeros(128, dtype=torch.float64)})
        os.utime(score_cache.path(None), (number, number))
    score_caches[0].scores(None, lambda: pytest.fail("it is there"))
    score_caches[3].scores(None, lambda: {"layer": torch.zeros(128, dtype=torch.float64)})
    assert [score_cache.has(None) for score_cache in score_caches] == [True, False, True, True]
    assert not score_caches[1].folder.exists()


@pytest.mark.slow
def test_a_search_scores_once(scored):
    shutil.rmtree("runs", ignore_errors=True)
    circuitlang.run("preserve conv5:34 on images/dogs/* pearson>=0.9 criterion=snip\n")
    circuitlang.run("preserve conv5:34 on images/dogs/* pearson>=0.8 criterion=snip\n")
    assert len(scored) == 1


def test_equal_plans_are_of_one_basis_whatever_their_size():
    one, other = (circuitlang.compile(LINE.format(size=size, rest="")) for size in (0.1, 0.2))
    assert one.basis(one.circuits[0]) == other.basis(other.circuits[0])
    changed = msgspec.structs.replace(one.circuits[0], seed=1)
    assert one.basis(changed) != one.basis(one.circuits[0])


@pytest.fixture
def answered(here: Path, numbers_alone: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the whole network ran on, beside scoring."""
    seen: list[str] = []
    collect = reference_responses.collect

    def watched(subnetworks, images, label, look=False):
        seen.append(label)
        collect(subnetworks, images, label, look)

    monkeypatch.setattr(reference_responses, "collect", watched)
    return seen


@pytest.mark.slow
def test_the_network_is_not_run_again_by_the_next_run(answered, here):
    run(0.2)
    everything = sorted(answered)
    assert everything == ["the network on held-out images", "the network on images"]
    before = (next(here.rglob("metrics.json"))).read_bytes()
    answered.clear()
    run(0.1)
    run(0.1, "criterion=actgrad seed=0")
    assert not answered
    run(0.2)
    assert next(here.rglob("metrics.json")).read_bytes() == before
    run(0.1, "holdout=40%")
    assert sorted(answered) == everything
    tensor_cache.clear()
    answered.clear()
    run(0.1)
    assert sorted(answered) == everything


def test_a_plan_knows_what_the_network_was_asked(here, numbers_alone):
    draw_pictures(here, "cats", 3)
    rest = "criterion=snip contrast=images/cats/*"
    (fresh,) = plan(0.2, rest=rest)
    run(0.2, rest)
    (again,) = plan(0.1, rest=rest)
    # Of its own pictures those it is found on and those held out, and those that it is contrasted with.
    assert fresh["forwards"] - again["forwards"] == 3
    (other,) = plan(0.1, rest="criterion=actgrad")
    assert plan(0.1, rest="criterion=actgrad holdout=40%")[0]["forwards"] - other["forwards"] == 2


def test_responses_to_very_many_pictures_are_not_kept(here, numbers_alone, monkeypatch):
    run(0.2)
    responses = tensor_cache.folder().with_name("responses")
    assert len(list(responses.glob("*/*"))) == 3
    tensor_cache.clear()
    monkeypatch.setattr(tensor_cache, "LARGEST", 100)
    run(0.2)
    assert not list(responses.glob("*/*"))
    assert len(files()) == 1


@pytest.mark.slow
def test_a_diagram_from_what_is_kept_is_the_same(here):
    run(0.2)
    drawn = next(here.rglob("diagram.svg")).read_bytes()
    run(0.2)
    assert next(here.rglob("diagram.svg")).read_bytes() == drawn


def test_code_outside_of_the_engine_has_a_say_with_all_of_its_package(tmp_path, monkeypatch):
    package = tmp_path / "outer_extensions"
    package.mkdir()
    for name, text in (
        ("__init__", ""),
        ("helper", "STRENGTH = 1\n"),
        ("norm", "from outer_extensions import helper\n"),
    ):
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    declared = {
        **dict(CRITERIA.declarations.items()),
        "norm": replace(CRITERIA.declarations["snip"], module="outer_extensions.norm"),
    }
    monkeypatch.setattr(CRITERIA, "declarations", declared)
    assert tensor_cache.outside({"snip", "zero"}) == ""
    before = tensor_cache.outside({"norm", "zero"})
    assert before
    (package / "helper.py").write_text("STRENGTH = 2\n")
    assert tensor_cache.outside({"norm", "zero"}) != before
    assert tensor_cache.score_cache("basis", {"norm"}, "weights") != tensor_cache.score_cache(
        "basis", {"snip"}, "weights"
    )
