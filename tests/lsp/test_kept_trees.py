"""Statements that were read before: what is made of them is what parsing makes."""

from __future__ import annotations

import random

from circuitlang.base.source import Source
from circuitlang.compiler.parser import parse
from tests.conftest import ROOT

SPECS = sorted(path for folder in ("specs", "examples") for path in ROOT.joinpath(folder).rglob("*.circuit"))


def test_a_file_is_the_same_with_trees_of_earlier_texts() -> None:
    draw, trees = random.Random(0), {}
    for path in (*SPECS, *SPECS):
        lines = path.read_text(encoding="utf-8").split("\n")
        draw.shuffle(lines)
        source = Source("a.circuit", "\n".join(lines))
        assert parse(source, trees) == parse(source)
    assert trees


def test_a_tree_is_used_again() -> None:
    """The tree of another text in its place shows that nothing was parsed."""
    trees = {}
    parse(Source("a.circuit", "model alexnet"), trees)
    trees["model other"] = trees.pop("model alexnet")
    (statement,) = parse(Source("a.circuit", "# Comment.\n\nmodel other"), trees).statements
    assert (statement.call.name.text, statement.span.start) == ("alexnet", 12)
