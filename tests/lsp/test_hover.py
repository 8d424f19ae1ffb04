"""Hover, by the place of the cursor: before `|` in the text."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from circuitlang.lsp.documents import Documents
from circuitlang.lsp.hover import hover

SPEC = """images dogs = drawn/* limit=3
target ear = conv5:3
circuit face = preserve conv5:34 on dogs keep<=each(1%, 5%) criterion=force(steps=3)
expect face.pearson >= 0.9
"""


@pytest.fixture
def documents(tmp_path: Path) -> Documents:
    tmp_path.joinpath("drawn").mkdir()
    for name in ("b.png", "a.png", "c.png", "d.png"):
        tmp_path.joinpath("drawn", name).touch()
    return Documents()


def at(documents: Documents, folder: Path, text: str) -> tuple[str, str]:
    """Return what is said at the cursor, and the words that it is said of."""
    uri = folder.joinpath("spec.circuit").as_uri()
    before, _, after = text.partition("|")
    documents.open(uri, before + after)
    analysis = documents.analysis(uri)
    shown = hover(analysis, len(before))
    if shown is None or shown.range is None:
        return "", ""
    lines = analysis.source.text.split("\n")
    assert shown.range.start.line == shown.range.end.line
    return shown.contents.value, lines[shown.range.start.line][shown.range.start.character : shown.range.end.character]


def test_images_on_the_hub_are_not_looked_up(
    documents: Documents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "create_connection", None)
    address = "hf://datasets/you/animals@v1/dogs/*.png"
    text = SPEC.replace("drawn/*", address)
    for place in ("on do|gs", f"{address[:9]}|"):
        shown, _ = at(documents, tmp_path, text.replace(place.replace("|", ""), place, 1))
        assert "on the Hugging Face Hub" in shown


@pytest.mark.parametrize(
    ("place", "word", "texts"),
    [
        ("con|v5:34", "conv5", ["**conv5** of bundled.doodle: 64 channels", "kernels of 3x3"]),
        ("conv5:3|4", "34", ["64 channels"]),
        ("crit|erion=", "criterion", ["a clause", "The rule that scores kernels"]),
        ("for|ce(", "force", ["a criterion", "| `steps` |"]),
        ("pres|erve", "preserve", ["a statement", "preserves a target"]),
        ("on do|gs", "dogs", ["images dogs = drawn/* limit=3", "3 images: "]),
        ("= drawn|/", "drawn/*", ["4 images: `a.png`, `b.png`, `c.png`, `d.png`"]),
        ("expect fa|ce", "face.pearson", ["circuit face = preserve", "2 circuits", "no result in `runs`"]),
        ("circuit fac|e", "face", ["2 circuits"]),
    ],
)
def test_what_a_word_stands_for(documents: Documents, tmp_path: Path, place: str, word: str, texts: list[str]) -> None:
    assert SPEC.count(place.replace("|", "")) >= 1
    shown, of = at(documents, tmp_path, SPEC.replace(place.replace("|", ""), place, 1))
    assert of == word
    assert [text for text in texts if text not in shown] == []


def test_nothing_is_said_of_comments_and_spaces(documents: Documents, tmp_path: Path) -> None:
    assert at(documents, tmp_path, "# pres|erve\n") == ("", "")
    assert at(documents, tmp_path, "|\n") == ("", "")


def test_a_pattern_without_images_says_why(documents: Documents, tmp_path: Path) -> None:
    shown, _ = at(documents, tmp_path, "preserve conv5:34 on drown/|* keep<=5%\n")
    assert shown.startswith("'drown' does not exist")


def test_a_model_that_was_never_loaded_can_be_looked_at(documents: Documents, tmp_path: Path) -> None:
    shown, _ = at(documents, tmp_path, "model resnet18(num_classes=77)\npreserve lay|er1:3 on drawn/* keep<=5%\n")
    assert "circuitlang layers 'torchvision.resnet18(num_classes=77)'" in shown


RUN = "circuit face = preserve conv5:34 on images/dogs/* keep<=each(5%, 10%) criterion=magnitude\n"


@pytest.mark.slow
def test_the_last_result_of_each_circuit(here: Path, standard_run: Callable[..., None]) -> None:
    standard_run(RUN, name="spec.circuit")
    ended, documents = r"- face-0\.05: [a-z ]+, r \.\d\d, 338 kernels", Documents()
    shown, _ = at(documents, here, RUN.replace("fa", "f|a", 1))
    assert re.search(rf"{ended}\n- face-0\.1: [a-z ]+, r 1?\.\d\d, 676 kernels$", shown)
    shown, _ = at(documents, here, RUN.replace("fa", "f|a", 1).replace("conv5:34", "conv5:35"))
    assert re.search(rf"{ended} \(of an earlier form of the spec\)", shown)
    here.joinpath("runs", "spec", "face-0.1", "circuit.json").write_text("{")
    shown, _ = at(documents, here, RUN.replace("fa", "f|a", 1))
    assert re.search(rf"{ended}$", shown)


@pytest.mark.parametrize(
    ("place", "word", "says"),
    [
        ("con|cept(", "concept", "by a linear probe"),
        ("agai|nst", "against", "told from"),
        ("pena|lty", "penalty", "L2 penalty"),
        ("(do|gs", "dogs", "4 images: "),
        ("drawn/a|", "drawn/a*", "1 image: `a.png`"),
        ("in co|nv5", "conv5", "64 channels"),
    ],
)
def test_a_concept_is_explained(documents: Documents, tmp_path: Path, place: str, word: str, says: str) -> None:
    text = "images dogs = drawn/*\npreserve concept(dogs against drawn/a*, penalty=1) in conv5 on dogs keep<=1%\n"
    shown, of = at(documents, tmp_path, text.replace(place.replace("|", ""), place, 1))
    assert of == word
    assert says in shown
