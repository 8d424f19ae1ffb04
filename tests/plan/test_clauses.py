"""The table of clauses against the circuits and the documentation that follow it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from circuitlang.base.source import Source
from circuitlang.pipeline import compile_source
from circuitlang.plan.clauses import IMAGES, PRESERVE, Circuit, building, claims, details

ROOT = Path(__file__).resolve().parents[2]
FIELDS = {field.name: field for field in msgspec.structs.fields(Circuit)}
# Fields that no clause sets: they come from the rest of the statement.
OTHERS = {"id", "name", "values", "target", "images", "bounds", "into", "statement", "origin"}
# A value of each clause other than its default.
VALUES = {
    "sparsity": "sparsity<=0.3",
    "kernels": "kernels<=7",
    "criterion": "criterion=snip",
    "ablation": "ablation=mean",
    "calibrate": "calibrate=bias",
    "refill": "refill=none",
    "structure": "structure=channel",
    "holdout": "holdout=10%",
    "test": "test=b/*",
    "contrast": "contrast=c/*",
    "seed": "seed=1",
    "also": "also=images/others/*",
    "tests": "tests=all",
    "robust": "robust=all",
    "stable": "stable>=0.9",
    "within": "within=face",
}


def plan_of(clauses: str):
    asked = f"preserve conv5:1 on a/* {clauses}"
    if "within=" in clauses:
        # What is left is the circuit that is asked for.
        named = compile_source(
            Source("spec.circuit", f"circuit face = preserve conv5:1 on a/* keep<=50%\n{asked}")
        ).plan
        return msgspec.structs.replace(named, circuits=named.circuits[1:])
    return compile_source(Source("spec.circuit", asked)).plan


def test_every_clause_has_a_field_and_every_field_a_clause():
    assert {clause.key for clause in PRESERVE.values()} | OTHERS == FIELDS.keys()
    assert all(clause.name == name for table in (PRESERVE, IMAGES) for name, clause in table.items())
    assert all(clause.excludes in PRESERVE or not clause.excludes for clause in PRESERVE.values())


def test_every_clause_is_in_the_table_of_the_documentation():
    text = ROOT.joinpath("docs", "language.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)[<>=][^|]*\|[^|]*\| *`?([^`|]*?)`? *\|$", text, re.MULTILINE)
    defaults = dict(rows)
    for name, clause in PRESERVE.items():
        assert (clause.alias or name) in defaults
        if clause.kind in ("word", "criterion", "ablation", "whole"):
            assert defaults[name] == str(clause.default)


@pytest.mark.parametrize("clause", PRESERVE.values(), ids=PRESERVE)
def test_an_example_can_be_written(clause):
    size = "" if clause.field == "size" else "kernels<=3 "
    assert plan_of(size + clause.example).circuits


@pytest.mark.parametrize("name", PRESERVE)
def test_a_value_has_the_effects_that_the_table_says(name):
    clause = PRESERVE[name]
    size = "sparsity<=0.1" if name != "sparsity" and name != "kernels" else ""
    plain, other = plan_of("sparsity<=0.1"), plan_of(f"{size} {VALUES[name]}")
    (ours,), (theirs,) = plain.circuits, other.circuits
    assert clause.field == "size" or not clause.is_default(theirs)
    assert plain.identity(ours) != other.identity(theirs)
    assert (plain.basis(ours) != other.basis(theirs)) == clause.scores
    assert (building(ours) != building(theirs)) == clause.builds
    assert bool(claims(theirs)) == bool(clause.claim)
    assert bool(details(theirs)) == bool(clause.detail)
    if clause.slug and clause.slug.presence == "changed":
        assert theirs.id.startswith(f"{ours.id}-")
    if clause.slug and clause.slug.presence == "every":
        assert clause.slug.text.format(getattr(ours, clause.key)) in ours.id.split("-")
        assert clause.slug.text.format(getattr(theirs, clause.key)) in theirs.id.split("-")
