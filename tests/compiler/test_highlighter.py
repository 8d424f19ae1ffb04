"""Statements in pieces that a page may colour."""

from __future__ import annotations

from pathlib import Path

import pytest

from circuitlang.base.source import Source
from circuitlang.compiler.highlighter import highlight
from circuitlang.compiler.parser import parse

ROOT = Path(__file__).resolve().parents[2]
SPECS = sorted([*ROOT.glob("specs/**/*.circuit"), *ROOT.glob("examples/*.circuit")])


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_pieces_are_the_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    statements = parse(Source(path.name, text)).statements
    assert statements
    for statement in statements:
        pieces = highlight(statement.span.text)
        assert "".join(piece for _, piece in pieces) == statement.span.text
        assert "word" in [kind for kind, _ in pieces]


def test_the_kinds() -> None:
    text = (
        "circuit a = preserve conv5:34 on [images/dogs/*, cats] {  # why\n"
        '  sparsity<=2%\n  criterion=force(steps=5) test="x y"\n}'
    )
    kinds = [(piece, kind) for kind, piece in highlight(text) if piece.strip()]
    assert kinds == [
        ("circuit", "word"), ("a", "name"), ("=", "sign"), ("preserve", "word"), ("conv5", "name"), (":", "sign"),
        ("34", "number"), ("on", "word"), ("[", "sign"), ("images/dogs/*", "string"), (",", "sign"), ("cats", "name"),
        ("]", "sign"), ("{", "sign"), ("# why\n", "comment"), ("sparsity", "clause"), ("<=", "sign"), ("2%", "number"),
        ("criterion", "clause"), ("=", "sign"), ("force", "call"), ("(", "sign"), ("steps", "clause"), ("=", "sign"),
        ("5", "number"), (")", "sign"), ("test", "clause"), ("=", "sign"), ('"x y"', "string"), ("}", "sign"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "# nothing", "presrve this", "preserve conv5:34 on", "<script>", "preserve ´"])
def test_what_is_no_statement_stays_whole(text: str) -> None:
    assert highlight(text) == [("", text)]
