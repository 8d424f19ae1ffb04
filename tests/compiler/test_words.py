"""Every word of the language has an explanation."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from circuitlang.cli.main import main
from circuitlang.compiler.grammar import grammar_file
from circuitlang.compiler.parser import STATEMENTS
from circuitlang.compiler.words import words
from circuitlang.plan.clauses import IMAGES, PRESERVE

CLAUSES = [*PRESERVE.values(), *IMAGES.values()]


def test_every_word_is_explained() -> None:
    known = words()
    in_grammar = set(re.findall(r'"([a-z]+)"', grammar_file().read_text(encoding="utf-8")))
    assert {*STATEMENTS, *in_grammar} <= known.keys()
    assert {name for clause in CLAUSES for name in (clause.name, clause.alias, *clause.words) if name} <= known.keys()
    assert {"each", "joint", "class", "center", "max", "auto"} <= known.keys()


@pytest.mark.parametrize("word", words())
def test_a_word_is_explained(word: str) -> None:
    for meaning in words()[word]:
        assert meaning.meaning.endswith(".")
        assert len(meaning.meaning) > 15
        assert meaning.example
    printed = CliRunner().invoke(main, ["explain", word]).output
    assert all(meaning.example in printed and meaning.kind in printed for meaning in words()[word])
