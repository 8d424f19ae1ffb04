"""Semantic tokens: the kinds of the highlighting rules, at places in UTF-16."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pygments.token import Name

from circuitlang.base.source import Source
from circuitlang.compiler.pygments_lexer import CircuitLexer
from circuitlang.lsp.semantic_tokens import LEGEND, semantic_tokens
from tests.conftest import ROOT
from tests.helpers.language_client import LanguageClient

SPECS = sorted(path for folder in ("specs", "examples") for path in ROOT.joinpath(folder).rglob("*.circuit"))


def decoded(text: str, data: list[int] | None = None) -> Iterator[tuple[str, str, bool]]:
    """Yield the text of each token, its type, and whether it is a definition, as an editor reads them."""
    lines = [line.encode("utf-16-le") for line in text.split("\n")]
    data = list(semantic_tokens(Source("a.circuit", text)).data) if data is None else data
    line = start = 0
    for place in range(0, len(data), 5):
        down, right, length, kind, modifiers = data[place : place + 5]
        line, start = line + down, right if down else start + right
        piece = lines[line][2 * start : 2 * (start + length)].decode("utf-16-le")
        yield piece, LEGEND.token_types[kind], bool(modifiers)


def shown(text: str) -> list[str]:
    return [f"{piece} {kind}{' definition' * new}" for piece, kind, new in decoded(text)]


def test_each_kind_has_a_type() -> None:
    text = "# One.\ncircuit a = preserve conv5:34 on dogs {\n  keep<=5%\n  criterion=each(snip, force(steps=5))\n}"
    assert shown(text) == [
        "# One. comment",
        *("circuit keyword", "a variable definition", "= operator", "preserve keyword", "conv5 class", "34 number"),
        *("on keyword", "dogs variable"),
        *("keep property", "<= operator", "5% number"),
        *("criterion property", "= operator", "each keyword", "snip enumMember"),
        *("force function", "steps parameter", "= operator", "5 number"),
    ]
    assert shown("images d = a/*.png") == ["images keyword", "d variable definition", "= operator", "a/*.png string"]


def test_places_are_in_utf_16() -> None:
    assert shown('images d = "\U0001f415\U0001f415/*" limit=3 # \U0001f415\n preserve é:3') == [
        *("images keyword", "d variable definition", "= operator", '"\U0001f415\U0001f415/*" string'),
        *("limit property", "= operator", "3 number", "# \U0001f415 comment"),
        *("preserve keyword", "é class", "3 number"),
    ]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_tokens_are_those_of_pygments(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    parts = CircuitLexer().get_tokens(text)
    pygments = [(kind, part) for kind, part in parts if part.strip() and part not in "[](){},:;@"]
    tokens = list(decoded(text))
    assert [piece for piece, _, _ in tokens] == [part for _, part in pygments]
    assert [new for _, _, new in tokens] == [kind is Name.Variable for kind, _ in pygments]


def test_what_is_no_word_has_no_token() -> None:
    assert shown("§ \t'on\n\n keep ]") == ["on keyword", "keep variable"]


@pytest.mark.slow
def test_an_editor_gets_them_after_each_change(tmp_path: Path) -> None:
    uri = tmp_path.joinpath("a.circuit").as_uri()
    with LanguageClient(tmp_path) as client:
        provider = client.capabilities["semanticTokensProvider"]
        assert provider["legend"]["tokenTypes"] == LEGEND.token_types
        assert provider["full"] is True
        client.open(uri, "")
        for text in ("preserve conv5:34 on", "", "§ \t'on\n\n keep"):
            client.change(uri, {"text": text})
            answer = client.request("textDocument/semanticTokens/full", {"textDocument": {"uri": uri}})
            assert list(decoded(text, answer["data"])) == list(decoded(text))
