"""Edits in an editor: completion, hover, definitions and renaming."""

from __future__ import annotations

from pathlib import Path

import pytest

from circuitlang.lsp import navigation
from circuitlang.lsp.completion import complete
from circuitlang.lsp.documents import Documents
from circuitlang.lsp.hover import hover
from circuitlang.lsp.positions import offset

BEFORE = """images puppies = images/dogs/*
group "dog face" = conv4:[3, 8]
circuit face = preserve conv5:34 on puppies keep<=5%
edit lesion = face scale=0 on puppies measure conv5:34, class("dogs"), classes
"""


def opened(folder: Path, text: str) -> tuple[Documents, str, int]:
    uri, documents = folder.joinpath("a.circuit").as_uri(), Documents()
    before, _, after = f"{BEFORE}{text}".partition("|")
    documents.open(uri, before + after)
    return documents, uri, len(before)


def offered(folder: Path, text: str) -> list[str]:
    documents, uri, place = opened(folder, text)
    return [item.text_edit.new_text for item in complete(documents.analysis(uri), place)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("edit cut = |", ["face", '"dog face"', "conv5:"]),
        ("edit cut = conv5:34 <- |", ["conv4:"]),
        ("edit cut = conv4:3 |", ["scale=", "patch=", "on"]),
        ("edit cut = conv4:3 scale=0 |", ["on"]),
        ("edit cut = conv4:3 patch=|", ["puppies"]),
        ("edit cut = conv4:3 scale=0 on |", ["puppies", "bundled.dogs"]),
        ("edit cut = conv4:3 scale=0 on puppies |", ["measure"]),
        ("edit cut = conv4:3 scale=0 on puppies measure |", ["conv5:", "class", "classes"]),
        ("edit cut = conv4:3 scale=0 on puppies measure conv5:34, |", ["conv5:", "classes"]),
        ("expect |", ["face", "lesion"]),
        ("expect lesion[|", ["conv5:34", 'class("dogs")']),
        ("expect lesion[conv5:34].|", ["change", "before", "after", "pearson", "low"]),
        ("expect lesion.|", ["change", "same_top"]),
    ],
)
def test_words_at_the_cursor(tmp_path, text, expected):
    words = offered(tmp_path, text)
    assert [word for word in expected if word not in words] == []


def test_words_that_do_not_belong(tmp_path):
    assert "lesion" not in offered(tmp_path, "compare |")
    assert "scale=" not in offered(tmp_path, "edit cut = conv4:3 patch=puppies |")
    assert "classes" not in offered(tmp_path, "expect lesion[|")


def test_hover(tmp_path):
    for text in ("expect les|ion[conv5:34].change <= 0", "edit cu|t = conv4:3 scale=0 on puppies measure conv5:34"):
        documents, uri, place = opened(tmp_path, text)
        shown = hover(documents.analysis(uri), place)
        assert shown is not None
        assert "```circuit\nedit " in shown.contents.value
        assert "no result in `runs`" in shown.contents.value


@pytest.mark.parametrize("text", ["expect les|ion[conv5:34].change <= 0", "expect les|ion.same_top >= 0.5"])
def test_definition_and_renaming(tmp_path, text):
    documents, uri, place = opened(tmp_path, text)
    location = navigation.definition(documents, uri, place)
    assert location is not None
    source = documents.source(uri)
    line = source.text[offset(source, location.range.start) :].partition("\n")[0]
    assert line.startswith("lesion = face")
    edits = navigation.rename(documents, uri, place, "without", ())
    assert sum(len(changes) for changes in (edits.changes or {}).values()) == 2


def test_a_circuit_and_images_are_used_by_edits(tmp_path):
    documents, uri, place = opened(tmp_path, "edit cut = conv4:3 patch=pup|pies on puppies measure conv5:34")
    location = navigation.definition(documents, uri, place)
    assert location is not None
    assert location.range.start.line == 0
    documents, uri, place = opened(tmp_path, "edit cut = fa|ce scale=0 on puppies measure conv5:34")
    location = navigation.definition(documents, uri, place)
    assert location is not None
    assert location.range.start.line == 2
