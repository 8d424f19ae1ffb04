"""Quick fixes of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from lsprotocol import types

from circuitlang.lsp.actions import code_actions
from circuitlang.lsp.documents import Documents
from tests.helpers.language_client import LanguageClient

WRONG = "# \U0001f415\npreserve conv9:34 on images/dogs/* keep=5% criterion=snpi\n"


def actions(text: str, line: int, start: int, end: int, folder: Path = Path("/nowhere")) -> list[types.CodeAction]:
    documents, uri = Documents(), folder.joinpath("a.circuit").as_uri()
    documents.open(uri, text)
    stretch = types.Range(types.Position(line, start), types.Position(line, end))
    return code_actions(documents, uri, stretch)


def edit(action: types.CodeAction) -> tuple[int, int, int, str]:
    ((edit,),) = action.edit.changes.values()
    return edit.range.start.line, edit.range.start.character, edit.range.end.character, edit.new_text


def test_a_fix_for_the_mistake_at_the_cursor() -> None:
    one, every = actions(WRONG, 1, 10, 10)
    assert (one.title, one.kind, edit(one)) == ("Write conv5", "quickfix", (1, 9, 14, "conv5"))
    assert one.diagnostics[0].code == "E102"
    right = WRONG.replace("conv9", "conv5").replace("keep=", "keep<=").replace("snpi", "snip")
    assert (every.title, every.kind, edit(every)) == ("Correct 3 mistakes", "source.fixAll", (0, 0, 0, right))


def test_fixes_for_all_mistakes_in_a_selection() -> None:
    assert [action.title for action in actions(WRONG, 1, 0, 50)] == [
        "Write conv5", "Write keep<=5%", "Correct 3 mistakes",
    ]  # fmt: skip


def test_no_fix_where_none_is_known() -> None:
    assert actions("preserve conv5:34 on images/dogs/*\n", 0, 0, 30) == []
    assert actions("preserve conv5:34 on images/dogs/* keep<=5%\n", 0, 0, 30) == []


def test_a_mistake_of_an_included_file_is_fixed_there(tmp_path: Path) -> None:
    tmp_path.joinpath("shared.circuit").write_text("images dogs = images/dogs/* limt=3\n")
    assert actions('include "shared.circuit"\npreserve conv5:34 on dogs keep<=5%\n', 0, 0, 20, tmp_path) == []


MODEL = "model squeezenet1_1(num_classes=7, weights=none)\npreserve features.0:99 on images/dogs/* keep<=5%\n"


def test_an_unknown_model_can_be_looked_at() -> None:
    (look,) = actions(MODEL, 0, 3, 3)
    assert look.title == "Look at squeezenet1_1 once, so that its layers are known"
    assert actions(MODEL, 1, 3, 3) == []
    assert actions("model bundled.doodle\n", 0, 3, 3) == []


@pytest.mark.slow
def test_a_look_at_a_model_finds_mistakes_in_its_layers(here: Path) -> None:
    uri = here.joinpath("a.circuit").as_uri()
    with LanguageClient(here, CIRCUITLANG_CACHE=str(here)) as client:
        client.open(uri, MODEL)
        assert client.diagnostics(uri) == []
        start = {"line": 0, "character": 0}
        asked = {"textDocument": {"uri": uri}, "range": {"start": start, "end": start}, "context": {"diagnostics": []}}
        (look,) = client.request("textDocument/codeAction", asked)
        client.execute(look["command"])
        assert client.message() == "the layers of squeezenet1_1(num_classes=7, weights=none) are known"
        assert [mistake["code"] for mistake in client.diagnostics(uri)] != []
