"""The server in a process of its own, as an editor meets it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from pygls.io_ import StdoutWriter

from circuitlang.lsp.server import Server
from tests.helpers.language_client import LanguageClient

WRONG = "images dogs = images/dogs/*\npreserve conv9:34 on dogs keep<=5%\n"


@pytest.fixture
def client(tmp_path: Path):
    with LanguageClient(tmp_path) as client:
        yield client


def test_what_can_not_be_sent_is_not_reported_by_sending(caplog: pytest.LogCaptureFixture) -> None:
    """An editor that ends has closed the stream; the report of each failure would be the next."""
    stream = io.BytesIO()
    server = Server()
    server.protocol.set_writer(StdoutWriter(stream))
    server.show(True, "heard")
    assert b"heard" in stream.getvalue()
    stream.close()
    server.show(True, "not heard")
    assert len(caplog.records) == 1


def place(line: int, character: int) -> dict:
    return {"line": line, "character": character}


def extent(line: int, start: int, end: int) -> dict:
    return {"start": place(line, start), "end": place(line, end)}


def test_mistakes_come_and_go_as_one_types(client: LanguageClient, tmp_path: Path) -> None:
    uri = tmp_path.joinpath("a.circuit").as_uri()
    client.open(uri, WRONG)
    (mistake,) = client.diagnostics(uri)
    assert (mistake["code"], mistake["severity"], mistake["range"]) == ("E102", 1, extent(1, 9, 14))
    assert mistake["message"].startswith("unknown layer 'conv9'")
    assert mistake["codeDescription"]["href"].endswith("base/error_codes/E102.md")
    assert mistake["relatedInformation"][0]["message"].startswith("help: did you mean 'conv")
    client.change(uri, {"range": extent(1, 13, 14), "text": "5"})
    assert client.diagnostics(uri) == []
    client.change(uri, {"text": ""})
    assert client.diagnostics(uri) == []
    client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    assert client.diagnostics(uri) == []


def test_places_are_in_utf_16(client: LanguageClient, tmp_path: Path) -> None:
    assert client.capabilities["positionEncoding"] == "utf-16"
    uri = tmp_path.joinpath("wide \U0001f415.circuit").as_uri()
    client.open(uri, 'images d = "\U0001f415\U0001f415/*"\npreserve conv5:34 on ["\U0001f415/*", d, e] keep<=5%')
    (mistake,) = client.diagnostics(uri)
    assert mistake["range"] == extent(1, 33, 34)
    client.change(uri, {"range": extent(1, 33, 34), "text": '"\U0001f415/?"'})
    assert client.diagnostics(uri) == []


def test_an_unsaved_buffer_counts_for_what_includes_it(client: LanguageClient, tmp_path: Path) -> None:
    shared, spec = (tmp_path.joinpath(name) for name in ("shared.circuit", "spec.circuit"))
    shared.write_text("images cats = images/cats/*\n")
    client.open(spec.as_uri(), 'include "shared.circuit"\npreserve conv5:34 on dogs keep<=5%\n')
    assert [mistake["code"] for mistake in client.diagnostics(spec.as_uri())] == ["E101"]
    client.open(shared.as_uri(), "images dogs = images/dogs/*\n")
    assert client.diagnostics(spec.as_uri()) == []
    client.notify("textDocument/didClose", {"textDocument": {"uri": shared.as_uri()}})
    assert [mistake["code"] for mistake in client.diagnostics(spec.as_uri())] == ["E101"]
    shared.write_text("images dogs = images/dogs/*\n")
    client.notify("workspace/didChangeWatchedFiles", {"changes": []})
    assert client.diagnostics(spec.as_uri()) == []


def test_a_mistake_in_an_included_file_stands_at_the_include(client: LanguageClient, tmp_path: Path) -> None:
    tmp_path.joinpath("shared.circuit").write_text("images dogs = images/dogs/* limt=3\n")
    uri = tmp_path.joinpath("spec.circuit").as_uri()
    client.open(uri, '# Shared.\ninclude "shared.circuit"\npreserve conv5:34 on dogs keep<=5%\n')
    (mistake,) = client.diagnostics(uri)
    assert mistake["range"] == extent(1, 8, 24)
    assert mistake["message"].startswith("shared.circuit: unknown clause 'limt'")
    location = mistake["relatedInformation"][0]["location"]
    assert location == {"uri": tmp_path.joinpath("shared.circuit").as_uri(), "range": extent(0, 28, 32)}


def test_no_torch_in_the_server() -> None:
    code = "import sys, circuitlang.lsp.server; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_pygls_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['pygls'] = None; from circuitlang.cli.main import main; main(['lsp'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "E361" in done.stderr
    assert "pip install 'circuitlang[lsp]'" in done.stderr


def test_each_request_is_answered(client: LanguageClient, tmp_path: Path) -> None:
    uri = tmp_path.joinpath("a.circuit").as_uri()
    client.open(uri, "images dogs = images/dogs/*\ncircuit face = preserve conv5:34 on dogs  keep<=5%\n")
    document = {"textDocument": {"uri": uri}}
    at = {**document, "position": place(1, 37)}
    definition = {"uri": uri, "range": extent(0, 7, 11)}
    assert client.request("textDocument/definition", at) == definition
    uses = client.request("textDocument/references", {**at, "context": {"includeDeclaration": True}})
    assert uses == [definition, {"uri": uri, "range": extent(1, 36, 40)}]
    assert client.request("textDocument/prepareRename", at) == extent(1, 36, 40)
    edit = client.request("textDocument/rename", {**at, "newName": "puppies"})
    assert [change["newText"] for change in edit["changes"][uri]] == ["puppies", "puppies"]
    assert "images dogs" in client.request("textDocument/hover", at)["contents"]["value"]
    assert client.request("textDocument/completion", at)["items"][0]["label"] == "dogs"
    formatting = {**document, "options": {"tabSize": 4, "insertSpaces": True}}
    assert len(client.request("textDocument/formatting", formatting)) == 1
    assert [symbol["name"] for symbol in client.request("textDocument/documentSymbol", document)] == ["dogs", "face"]
    assert [symbol["name"] for symbol in client.request("workspace/symbol", {"query": "face"})] == ["face"]
    assert client.request("textDocument/foldingRange", document) == []
    assert client.request("textDocument/documentLink", document) == []
    assert client.error("textDocument/rename", {**at, "newName": "a b"}).startswith("'a b' is not a name")
