"""Circuits within circuits in an editor: completion, definitions and renaming."""

from __future__ import annotations

from pathlib import Path

from circuitlang.lsp import navigation
from circuitlang.lsp.completion import complete
from circuitlang.lsp.documents import Documents
from circuitlang.lsp.positions import offset

SPEC = """circuit face = preserve conv5:34 on images/dogs/* keep<=5%
circuit why = preserve conv5:34 on images/dogs/1.png keep<=30% within=fa|ce
"""


def opened(folder: Path, text: str) -> tuple[Documents, str, int]:
    uri, documents = folder.joinpath("a.circuit").as_uri(), Documents()
    before, _, after = text.partition("|")
    documents.open(uri, before + after)
    return documents, uri, len(before)


def test_names_of_circuits_are_offered(tmp_path):
    documents, uri, place = opened(tmp_path, SPEC.replace("fa|ce", "|"))
    words = [item.text_edit.new_text for item in complete(documents.analysis(uri), place)]
    assert words[:1] == ["face"]
    assert "conv5:" not in words


def test_the_other_circuit_is_found_and_renamed(tmp_path):
    documents, uri, place = opened(tmp_path, SPEC)
    source = documents.source(uri)
    location = navigation.definition(documents, uri, place)
    assert location is not None
    assert offset(source, location.range.start) == SPEC.index("face")
    edit = navigation.rename(documents, uri, place, "snout", (tmp_path,))
    assert edit is not None
    ((_, edits),) = edit.changes.items()
    assert [offset(source, one.range.start) for one in edits] == [8, source.text.rindex("face")]
