"""Broken files while one types: each feature answers for every prefix of the specs of the repository."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from lsprotocol import types

from circuitlang.lsp import navigation
from circuitlang.lsp.actions import code_actions
from circuitlang.lsp.completion import complete
from circuitlang.lsp.diagnostics import diagnostics
from circuitlang.lsp.documents import Analysis, Documents
from circuitlang.lsp.formatting import folding_ranges, format_edits
from circuitlang.lsp.hover import hover
from circuitlang.lsp.lenses import hints, lenses
from circuitlang.lsp.positions import position
from circuitlang.lsp.semantic_tokens import semantic_tokens
from tests.conftest import ROOT
from tests.helpers.language_client import LanguageClient

SPECS = sorted(path for folder in ("specs", "examples") for path in ROOT.joinpath(folder).rglob("*.circuit"))
WHOLE = {"dogs.circuit", "compare.circuit"}
FEATURES: list[Callable[[Analysis, int], object]] = [
    complete,
    hover,
    navigation.renameable,
    lambda analysis, _: diagnostics(analysis),
    lambda analysis, _: lenses(analysis),
    lambda analysis, offset: hints(analysis, 0, offset),
    lambda analysis, offset: actions(analysis, offset),
    lambda analysis, _: folding_ranges(analysis),
    lambda analysis, _: format_edits(analysis.source),
    lambda analysis, _: semantic_tokens(analysis.source),
    lambda analysis, _: navigation.symbols(analysis),
    lambda analysis, _: navigation.links(analysis, Documents()),
]


def actions(analysis: Analysis, offset: int) -> None:
    place, documents, uri = position(analysis.source, offset), Documents(), "untitled:a"
    documents.open(uri, analysis.source.text)
    if offset % 5 == 0:
        code_actions(documents, uri, types.Range(place, place))


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=str(path.relative_to(ROOT)), marks=() if path.stat().st_size < 450 else pytest.mark.slow)
        for path in SPECS
    ],
)
def test_each_feature_answers_for_each_prefix(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    step = 1 if path.name in WHOLE else max(7, len(text) // 40)
    documents, uri = Documents(), path.as_uri()
    for end in range(0, len(text) + 1, step):
        documents.open(uri, text[:end])
        analysis = documents.analysis(uri)
        for feature in FEATURES:
            feature(analysis, end)
    documents.open(uri, text)
    analysis = documents.analysis(uri)
    assert list(analysis.findings) == []
    for offset in range(0, len(text), step):
        for feature in FEATURES:
            feature(analysis, offset)


@pytest.mark.slow
def test_each_feature_answers_for_damaged_specs() -> None:
    """Letters are left out, doubled and replaced, at the same places each time."""
    draw = random.Random(0)
    documents, uri = Documents(), "untitled:damaged"
    for path in SPECS:
        letters = list(path.read_text(encoding="utf-8"))
        for _ in range(3):
            at = draw.randrange(len(letters))
            letters[at] = draw.choice(["", letters[at] * 2, '"', "(", "[", "{", "\U0001f415", "\n", ";", ":", "="])
            documents.open(uri, "".join(letters))
            analysis = documents.analysis(uri)
            for offset in draw.sample(range(len(analysis.source.text)), 5):
                for feature in FEATURES:
                    feature(analysis, offset)


@pytest.mark.slow
def test_one_session_in_which_a_spec_is_typed(tmp_path: Path) -> None:
    text = ROOT.joinpath("examples", "dogs.circuit").read_text(encoding="utf-8")
    uri = tmp_path.joinpath("typed.circuit").as_uri()
    with LanguageClient(tmp_path) as client:
        client.open(uri, "")
        for end, letter in enumerate(text):
            before = text[:end]
            place = {"line": before.count("\n"), "character": len(before.rpartition("\n")[2])}
            client.change(uri, {"range": {"start": place, "end": place}, "text": letter})
            if end % 7 == 0:
                asked = {"textDocument": {"uri": uri}, "position": place}
                client.request("textDocument/completion", asked)
        client.notify("textDocument/didSave", {"textDocument": {"uri": uri}})
        client.request("textDocument/completion", {"textDocument": {"uri": uri}, "position": place})
        while client.diagnostics(uri):
            pass
        assert not any(message["method"].startswith("window/") for message in client.notifications)
