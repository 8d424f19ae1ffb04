"""Formatting and folding."""

from __future__ import annotations

from pathlib import Path

import pytest

from circuitlang.base.source import Source
from circuitlang.compiler.formatter import format_source
from circuitlang.lsp.documents import Documents
from circuitlang.lsp.formatting import folding_ranges, format_edits
from circuitlang.lsp.positions import offset
from tests.conftest import ROOT

CASES = sorted(ROOT.joinpath("tests", "compiler", "golden_format").glob("*.case"))


def edited(source: Source) -> str | None:
    edits = format_edits(source)
    if edits is None:
        return None
    text = source.text
    for edit in edits:
        text = text[: offset(source, edit.range.start)] + edit.new_text + text[offset(source, edit.range.end) :]
    return text


@pytest.mark.parametrize("path", CASES, ids=[path.name for path in CASES])
def test_the_edit_makes_what_the_formatter_makes(path: Path) -> None:
    text, _, _ = path.read_text(encoding="utf-8").partition("=== expect ===\n")
    source = Source("a.circuit", text)
    assert edited(source) == format_source(source)


def test_only_lines_that_change_are_edited() -> None:
    (edit,) = format_edits(Source("a.circuit", "model alexnet\npreserve  conv5:3 on a/* keep<=5%\nmodel x\n"))
    assert (edit.range.start.line, edit.range.end.line) == (1, 2)
    assert format_edits(Source("a.circuit", "model alexnet\n")) == []


def test_a_file_with_mistakes_stays() -> None:
    assert format_edits(Source("a.circuit", "preserve  conv5:3\n")) is None


def test_folding() -> None:
    documents = Documents()
    documents.open("untitled:a", "# One.\n# Two.\n\ndefaults {\n    keep<=5%\n}\n# Three.\nmodel alexnet\n")
    folds = folding_ranges(documents.analysis("untitled:a"))
    assert [(fold.start_line, fold.end_line) for fold in folds] == [(0, 1), (3, 5)]
