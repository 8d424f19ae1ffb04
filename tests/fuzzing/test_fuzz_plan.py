"""Damaged plans end in a plan or in findings, never in another exception and never in more than they are long."""

from __future__ import annotations

import json
import operator
import random
from functools import reduce
from pathlib import Path

import pytest
import yaml

from circuitlang.base import yaml_document
from circuitlang.base.source import Source
from circuitlang.cli.diff import diff_paths
from circuitlang.compiler.sources import open_source
from circuitlang.engine.images.file_patterns import find
from circuitlang.pipeline import check_file, compile_source
from circuitlang.plan.yaml import read_plan, write_plan
from tests.compiler.test_language import SPEC
from tests.helpers.fuzzing import all_night, damaged, replaced, survives

PLAN = write_plan(compile_source(Source("spec.circuit", SPEC)).plan)
# What YAML has and a plan has not.
YAML = (
    "&a ", "*a", "<<: *a", "!!python/object:os.system ", "!!binary ", "? ", "---\n", "...\n", "%YAML 1.1\n", "{", "[",
    "}", "]", "- ", ": ", "|\n", ">\n", "'", '"', "\t", "\0", "\x85", "\u2028", "\ufeff", "0b1", "1:2:3", ".inf",
    ".nan", "~", "2020-01-01", "9" * 5000, "[" * 100, "{a: " * 100,
)  # fmt: skip


def read(text: str) -> None:
    """A plan, what is in it, and the same plan written again."""
    plan, _ = read_plan(Source("plan.yaml", text))
    again, _ = read_plan(Source("plan.yaml", write_plan(plan)))
    assert repr(again) == repr(plan)
    for circuit in plan.circuits:
        assert plan.identity(circuit)
    for images in plan.images.values():
        survives(lambda images=images: find(images, Path("/nowhere")))


def with_yaml(text: str, seed: int) -> str:
    dice = random.Random(seed)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(text))
        text = text[:at] + dice.choice(YAML) + text[at + dice.choice((0, 1, 5)) :]
    return text


def restructured(number: int, seed: int) -> list[str]:
    """Plans of other parts, as JSON, which is YAML and soon written."""
    return [json.dumps(each) for each in replaced(yaml.safe_load(PLAN), number, seed)]


def test_the_plan_is_sound():
    assert survives(lambda: read(PLAN))


@pytest.mark.parametrize("place", [("circuits", 0, "origin", "holdout"), ("base",), ("model", "name")])
def test_a_text_that_is_empty_stays(place):
    content = yaml.safe_load(PLAN)
    *path, last = place
    reduce(operator.getitem, path, content)[last] = ""
    assert survives(lambda: read(json.dumps(content)))


def test_plans_of_other_parts_are_answered(monkeypatch):
    monkeypatch.setattr(yaml_document, "MAX_VALUES", 20_000)
    for text in restructured(60, seed=1):
        survives(lambda text=text: read(text))


def test_plans_with_the_rest_of_yaml_are_answered(monkeypatch):
    monkeypatch.setattr(yaml_document, "MAX_VALUES", len(PLAN) * 2)
    for seed in range(100):
        survives(lambda seed=seed: read(with_yaml(PLAN, seed)))


def test_bytes_of_a_plan_are_answered(tmp_path):
    path = tmp_path / "plan.yaml"
    for content in damaged(PLAN.encode(), 100, seed=2):
        path.write_bytes(content)
        assert check_file(path).path == path


def test_what_differs_from_a_damaged_plan_is_answered(tmp_path):
    (tmp_path / "spec.circuit").write_text(SPEC)
    path = tmp_path / "plan.yaml"
    for text in restructured(30, seed=3):
        path.write_text(text, encoding="utf-8", errors="replace")
        survives(lambda: diff_paths(path, tmp_path / "spec.circuit"))
        survives(lambda: compile_source(open_source(path)))


@pytest.mark.nightly
def test_plans_all_night(tmp_path):
    path = tmp_path / "plan.yaml"
    for seed in all_night():
        for text in (*restructured(10, seed), with_yaml(PLAN, seed)):
            survives(lambda text=text: read(text))
        for content in damaged(PLAN.encode(), 20, seed):
            path.write_bytes(content)
            check_file(path)
