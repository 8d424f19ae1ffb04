"""Definitions, references, renaming, symbols and links, across files that include each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from lsprotocol import types

from circuitlang.base.diagnostics import InputError
from circuitlang.lsp import navigation
from circuitlang.lsp.documents import Documents
from circuitlang.lsp.positions import offset

SHARED = "images dogs = images/dogs/*\nimages most = [dogs, images/cats/*]\ntarget ear = conv5:3\n"
SPEC = """include "shared.circuit" as shared
images own = [shared.dogs, images/x/*]
circuit face = preserve shared.ear on shared.dogs test=own keep<=each(1%, 5%) criterion=snip
compare face[keep=0.01], face[keep=0.05]
expect face.train.pearson >= 0.9
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.joinpath("shared.circuit").write_text(SHARED)
    tmp_path.joinpath("spec.circuit").write_text(SPEC)
    return tmp_path


def place(folder: Path, text: str) -> tuple[str, int]:
    """Return the URI of `spec.circuit`, or of `shared.circuit`, and the place before `|` of a piece of its text."""
    before, _, after = text.partition("|")
    name, content = ("spec.circuit", SPEC) if before + after in SPEC else ("shared.circuit", SHARED)
    assert content.count(before + after) == 1
    return folder.joinpath(name).as_uri(), content.index(before + after) + len(before)


def words(documents: Documents, locations: list[types.Location]) -> list[tuple[str, int, str]]:
    """Return the file, the line and the text of each place, sorted."""
    shown = []
    for location in locations:
        source = documents.source(location.uri)
        start, end = offset(source, location.range.start), offset(source, location.range.end)
        shown.append((Path(source.name).name, location.range.start.line, source.text[start:end]))
    return sorted(shown)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on shared.d|ogs", ("shared.circuit", 0, "dogs")),
        ("preserve shared.ea|r", ("shared.circuit", 2, "ear")),
        ("test=o|wn", ("spec.circuit", 1, "own")),
        ("compare fa|ce", ("spec.circuit", 2, "face")),
        ("expect fac|e", ("spec.circuit", 2, "face")),
        ("most = [do|gs", ("shared.circuit", 0, "dogs")),
        ('include "sha|red', ("shared.circuit", 0, "")),
    ],
)
def test_definition(folder: Path, text: str, expected: tuple[str, int, str]) -> None:
    documents = Documents()
    location = navigation.definition(documents, *place(folder, text))
    assert location is not None
    assert words(documents, [location]) == [expected]


def test_words_without_a_definition(folder: Path) -> None:
    for text in ("ke|ep<=each", "criterion=sn|ip", "images/c|ats"):
        assert navigation.definition(Documents(), *place(folder, text)) is None
        assert navigation.references(Documents(), *place(folder, text), (folder,)) == []
        assert navigation.rename(Documents(), *place(folder, text), "new", (folder,)) is None


DOGS = [("shared.circuit", 0, "dogs"), ("shared.circuit", 1, "dogs"), ("spec.circuit", 1, "dogs")]
DOGS.append(("spec.circuit", 2, "dogs"))


@pytest.mark.parametrize("text", ["images do|gs", "on shared.dogs|"])
def test_references_across_files(folder: Path, text: str) -> None:
    documents = Documents()
    assert words(documents, navigation.references(documents, *place(folder, text), ())) == DOGS
    used = navigation.references(documents, *place(folder, text), (), declaration=False)
    assert words(documents, used) == DOGS[1:]


def test_circuits_of_other_files_have_nothing_to_do_with_one(folder: Path) -> None:
    folder.joinpath("other.circuit").write_text(SPEC)
    documents = Documents()
    uses = words(documents, navigation.references(documents, *place(folder, "circuit f|ace"), (folder,)))
    assert uses == [("spec.circuit", line, "face") for line in (2, 3, 3, 4)]


def renamed(documents: Documents, edit: types.WorkspaceEdit | None) -> dict[str, str]:
    assert edit is not None
    assert edit.changes is not None
    texts = {}
    for uri, edits in edit.changes.items():
        source = documents.source(uri)
        text = source.text
        for one in sorted(edits, key=lambda one: -offset(source, one.range.start)):
            text = text[: offset(source, one.range.start)] + one.new_text + text[offset(source, one.range.end) :]
        texts[Path(source.name).name] = text
    return texts


def test_a_name_is_renamed_in_all_files(folder: Path) -> None:
    documents = Documents()
    edit = navigation.rename(documents, *place(folder, "on shared.d|ogs"), "puppies", (folder,))
    spec = SPEC.replace("shared.dogs", "shared.puppies")
    shared = SHARED.replace("dogs =", "puppies =").replace("[dogs", "[puppies")
    assert renamed(documents, edit) == {"spec.circuit": spec, "shared.circuit": shared}
    edit = navigation.rename(documents, *place(folder, "compare fa|ce"), "snout", (folder,))
    assert renamed(documents, edit) == {"spec.circuit": SPEC.replace("face", "snout")}


def test_an_unsaved_buffer_is_renamed_as_it_is(folder: Path) -> None:
    documents, uri = Documents(), folder.joinpath("spec.circuit").as_uri()
    documents.open(uri, f"# \U0001f415\n{SPEC}")
    edit = navigation.rename(documents, *place(folder, "images do|gs"), "puppies", (folder,))
    assert renamed(documents, edit)["spec.circuit"] == f"# \U0001f415\n{SPEC}".replace("shared.dogs", "shared.puppies")


@pytest.mark.parametrize("new", ["most", "a.b", "1st", "", "a b"])
def test_a_name_that_would_be_a_mistake_is_refused(folder: Path, new: str) -> None:
    with pytest.raises(InputError):
        navigation.rename(Documents(), *place(folder, "images do|gs"), new, (folder,))


def test_symbols(folder: Path) -> None:
    documents = Documents()
    shown = navigation.symbols(documents.analysis(folder.joinpath("spec.circuit").as_uri()))
    names = [(symbol.name, symbol.selection_range.start.line) for symbol in shown]
    assert names == [
        ('include "shared.circuit" as shared', 0), ("own", 1), ("face", 2),
        ("compare face[keep=0.01], face[keep=0.05]", 3), ("expect face.train.pearson >= 0.9", 4),
    ]  # fmt: skip
    named = navigation.workspace_symbols(documents, "O", (folder,))
    assert sorted(symbol.name for symbol in named) == ["dogs", "most", "own"]


def test_links(folder: Path) -> None:
    folder.joinpath("images").mkdir()
    folder.joinpath("images", "one.png").touch()
    documents, uri = Documents(), folder.joinpath("spec.circuit").as_uri()
    documents.open(uri, f"{SPEC}images single = images/one.png\nimages none = images/two.png\n")
    targets = [link.target for link in navigation.links(documents.analysis(uri), documents)]
    assert targets == [folder.joinpath(name).as_uri() for name in ("shared.circuit", "images/one.png")]


def test_a_circuit_is_a_link_to_its_page(here: Path, standard_run) -> None:
    text = "circuit face = preserve conv5:34 on images/dogs/* keep<=10% criterion=magnitude\n"
    standard_run(text, name="spec.circuit")
    here.joinpath("runs", "spec", "face", "report.html").touch()
    documents, uri = Documents(), here.joinpath("spec.circuit").as_uri()
    documents.open(uri, text)
    (link,) = navigation.links(documents.analysis(uri), documents)
    assert link.target == here.joinpath("runs", "spec", "face", "report.html").as_uri()
    assert link.range.start.character == len("circuit ")


def test_image_sets_of_a_concept_are_found(tmp_path: Path) -> None:
    text = "images dogs = a/*\nimages cats = b/*\n"
    text += "preserve concept([dogs, c/*] against cats except dogs) in conv5 on dogs keep<=1%\n"
    tmp_path.joinpath("spec.circuit").write_text(text)
    uri = tmp_path.joinpath("spec.circuit").as_uri()
    for name, lines in (("dogs", [0, 2, 2, 2]), ("cats", [1, 2])):
        shown = words(documents := Documents(), navigation.references(documents, uri, text.index(name), (tmp_path,)))
        assert shown == [("spec.circuit", line, name) for line in lines]
