"""Buffers, and places in them, against a naive rewrite."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from circuitlang.base.source import Source
from circuitlang.lsp.documents import Documents
from circuitlang.lsp.positions import offset, position

TEXTS = st.text(st.sampled_from("ab \n\f\u2028é\U0001f415"), max_size=30)


def naive(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    line = before.rpartition("\n")[2]
    return before.count("\n"), sum(2 if ord(letter) > 0xFFFF else 1 for letter in line)


@given(TEXTS)
def test_each_character_has_its_place(text: str) -> None:
    source = Source("a.circuit", text)
    for index in range(len(text) + 1):
        place = position(source, index)
        assert (place.line, place.character) == naive(text, index)
        assert offset(source, place) == index


def test_places_outside_of_the_text() -> None:
    source = Source("a.circuit", "ab\n\U0001f415b\n")
    assert offset(source, types.Position(0, 9)) == 2
    assert offset(source, types.Position(1, 1)) == 3
    assert offset(source, types.Position(2, 5)) == 6
    assert offset(source, types.Position(9, 0)) == 6


@given(TEXTS, TEXTS, st.data())
def test_a_change_replaces_a_stretch(text: str, new: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    documents, source = Documents(), Source("", text)
    documents.open("untitled:a", text)
    stretch = types.Range(position(source, start), position(source, end))
    documents.change("untitled:a", [types.TextDocumentContentChangePartial(stretch, new)])
    assert documents.source("untitled:a").text == text[:start] + new + text[end:]


def test_lines_end_in_a_newline_whatever_the_editor_sends() -> None:
    documents = Documents()
    documents.open("untitled:a", "a\r\nb\rc")
    assert documents.source("untitled:a").text == "a\nb\nc"
