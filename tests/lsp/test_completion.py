"""Completion, by the place of the cursor: `|` in the text."""

from __future__ import annotations

from pathlib import Path

import pytest
from lsprotocol import types

from circuitlang.compiler.parser import STATEMENTS
from circuitlang.lsp.completion import complete
from circuitlang.lsp.documents import Documents

BEFORE = """images puppies = images/dogs/*
target ear = conv5:3
circuit face = preserve conv5:34 on puppies keep<=each(1%, 5%)
"""


def offered(tmp_path: Path, text: str) -> dict[str, types.CompletionItem]:
    """Return the words at the cursor, by what the text would be with them."""
    uri = tmp_path.joinpath("a.circuit").as_uri()
    documents = Documents()
    before, _, after = f"{BEFORE}{text}".partition("|")
    documents.open(uri, before + after)
    analysis = documents.analysis(uri)
    items = complete(analysis, len(before))
    last = before.rpartition("\n")[2]
    assert all(item.text_edit.range.end.character == len(last) for item in items)
    return {last[: item.text_edit.range.start.character] + item.text_edit.new_text: item for item in items}


ASK = "preserve conv5:34 on puppies "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("|", list(STATEMENTS)),
        ("pres|", ["preserve"]),
        ("circuit a = |", ["circuit a = preserve", "circuit a = split"]),
        ("model |", ["model bundled.doodle", "model resnet18", "model timm"]),
        ("model resnet18(|", ["model resnet18(weights="]),
        ("preserve |", ["preserve conv5:", "preserve ear", "preserve class"]),
        ("preserve 0.7*ear - c|", ["preserve 0.7*ear - conv5:"]),
        ("target nose = con|", ["target nose = conv5:"]),
        (
            "preserve conv5:|",
            ["preserve conv5:*", "preserve conv5:[0..63]", "preserve conv5:joint", "preserve conv5:63"],
        ),
        ("preserve conv5:[3, |", ["preserve conv5:[3, 63"]),
        ("preserve conv5:34@|", ["preserve conv5:34@center", "preserve conv5:34@max"]),
        ("preserve conv5:34 |", ["preserve conv5:34 on"]),
        ("preserve conv5:34 on |", [f"preserve conv5:34 on {name}" for name in ("puppies", "bundled.dogs", "drawn/")]),
        ("preserve conv5:34 on drawn/|", ["preserve conv5:34 on drawn/one.png", "preserve conv5:34 on drawn/cats/*"]),
        ("preserve conv5:34 on [puppies, dra|", ["preserve conv5:34 on [puppies, drawn/*"]),
        (f"{ASK}except |", [f"{ASK}except puppies"]),
        (f"{ASK}as |", [f"{ASK}as {name}" for name in ("blurred", "grey", "shuffled")]),
        ("images plain = puppies as grey as blur|", ["images plain = puppies as grey as blurred"]),
        (f"{ASK}|", [f"{ASK}{clause}" for clause in ("keep<=", "kernels<=", "pearson>=", "error<=", "except", "as")]),
        ("split conv5:34 on puppies |", ["split conv5:34 on puppies into"]),
        ("defaults |", ["defaults keep<=", "defaults criterion="]),
        ("images cats = images/cats/* |", ["images cats = images/cats/* limit=", "images cats = images/cats/* seed="]),
        (f"{ASK}test=|", [f"{ASK}test=puppies"]),
        (f"{ASK}also=|", [f"{ASK}also=puppies"]),
        (f"{ASK}also=[puppies, bun|", [f"{ASK}also=[puppies, bundled.dogs"]),
        (f"{ASK}criterion=|", [f"{ASK}criterion=snip", f"{ASK}criterion=each"]),
        (f"{ASK}criterion=each(snip, an|", [f"{ASK}criterion=each(snip, annealed"]),
        (f"{ASK}tests=|", [f"{ASK}tests=all", f"{ASK}tests=none", f"{ASK}tests=sufficiency"]),
        (f"{ASK}tests=[necessity, mi|", [f"{ASK}tests=[necessity, minimality"]),
        (f"{ASK}tests=[necessity(|", [f"{ASK}tests=[necessity(circuits="]),
        (f"{ASK}criterion=each(snip, force(|", [f"{ASK}criterion=each(snip, force(steps="]),
        (f"{ASK}criterion=force(|", [f"{ASK}criterion=force(steps="]),
        (f"{ASK}criterion=force(base=|", [f"{ASK}criterion=force(base=snip"]),
        (f"{ASK}ablation=|", [f"{ASK}ablation=zero", f"{ASK}ablation=mean"]),
        (f"{ASK}calibrate=|", [f"{ASK}calibrate=affine"]),
        (f"{ASK}{{\n    cri|", ["    criterion="]),
        ("target a = |", ["target a = concept", "target a = vector"]),
        ("target a = concept(|", ["target a = concept(puppies", "target a = concept(bundled.dogs"]),
        ("preserve concept(drawn/|", ["preserve concept(drawn/one.png", "preserve concept(drawn/cats/*"]),
        ("target a = concept(puppies |", ["target a = concept(puppies against", "target a = concept(puppies except"]),
        ("target a = concept(puppies against |", ["target a = concept(puppies against bundled.dogs"]),
        ("target a = concept(puppies against [|", ["target a = concept(puppies against [bundled.dogs"]),
        ("target a = concept(a/* against b/*, |", ["target a = concept(a/* against b/*, penalty="]),
        ("target a = concept(a/* against b/*) |", ["target a = concept(a/* against b/*) in"]),
        ('preserve vector("v.npy") |', ['preserve vector("v.npy") in']),
        ("preserve concept(a/* against b/*) in |", ["preserve concept(a/* against b/*) in conv5"]),
        ("preserve concept(a/* against b/*) in conv5 |", ["preserve concept(a/* against b/*) in conv5 on"]),
        ("preserve concept(a/* against b/*) in conv5@|", ["preserve concept(a/* against b/*) in conv5@center"]),
        (
            "circuit b = preserve concept(a/* against b/*) in conv5 on a/* keep<=1%\nexpect b.|",
            ["expect b.probe_accuracy"],
        ),
        ("compare |", ["compare face"]),
        ("compare face[|", ["compare face[keep="]),
        ("expect |", ["expect face"]),
        ("expect face.|", ["expect face.pearson", "expect face.train", "expect face.kept"]),
        ("expect face[keep=0.05].test.|", ["expect face[keep=0.05].test.pearson"]),
        ('include "|', ['include "shared.circuit']),
        ('images a = "drawn/|', ['images a = "drawn/one.png']),
    ],
)
def test_words_at_the_cursor(tmp_path: Path, text: str, expected: list[str]) -> None:
    tmp_path.joinpath("drawn", "cats").mkdir(parents=True)
    tmp_path.joinpath("drawn", "one.png").touch()
    tmp_path.joinpath("drawn", "notes.doc").touch()
    tmp_path.joinpath("shared.circuit").touch()
    words = offered(tmp_path, text)
    assert [word for word in expected if word not in words] == []
    assert not any("notes" in word for word in words)


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        ("# pres|", "# preserve"),
        (f"{ASK}keep<=5% |", f"{ASK}keep<=5% keep<="),
        (f"{ASK}|", f"{ASK}limit="),
        ("images cats = images/cats/* |", "images cats = images/cats/* keep<="),
        ("preserve |", "preserve on"),
        ("preserve conv5:34 on |", "preserve conv5:34 on keep<="),
        ("compare |", "compare puppies"),
        ('include "|', 'include "drawn/one.png'),
    ],
)
def test_words_that_do_not_belong_at_the_cursor(tmp_path: Path, text: str, absent: str) -> None:
    assert absent not in offered(tmp_path, text)


def test_words_are_explained(tmp_path: Path) -> None:
    words = offered(tmp_path, f"{ASK}|")
    assert words[f"{ASK}keep<="].documentation.value.startswith("Keep at most this share of the relevant kernels.")
    assert offered(tmp_path, "preserve |")["preserve conv5:"].detail == "64 channels"


def test_names_of_included_files_have_their_namespace(tmp_path: Path) -> None:
    tmp_path.joinpath("shared.circuit").write_text("images cats = images/cats/*\ntarget nose = conv5:2\n")
    include = 'include "shared.circuit" as other\n'
    assert "preserve conv5:3 on other.cats" in offered(tmp_path, f"{include}preserve conv5:3 on |")
    assert "preserve other.nose" in offered(tmp_path, f"{include}preserve |")
