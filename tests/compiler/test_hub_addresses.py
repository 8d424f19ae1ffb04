"""Addresses on the Hub in specs: checked where they stand, without the Hub."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import circuitlang
from circuitlang.base.diagnostics import InputError
from circuitlang.base.hub_address import hub_file, without_revision


def findings(text: str) -> list[tuple[str, int]]:
    """The codes of the mistakes of a spec, and where they begin."""
    with pytest.raises(circuitlang.SpecError) as caught:
        circuitlang.compile(text)
    return [(finding.code, finding.span.start if finding.span else -1) for finding in caught.value.findings]


@pytest.mark.parametrize(
    ("text", "repo", "kind", "revision", "path"),
    [
        ("hf://u/r/net.safetensors", "u/r", "model", None, "net.safetensors"),
        ("hf://u/r@v1.0/a/net@2.pt", "u/r", "model", "v1.0", "a/net@2.pt"),
        ("hf://datasets/u/r@refs/pr/3/**/*.png", "u/r", "dataset", "refs/pr/3", "**/*.png"),
    ],
)
def test_addresses_of_files(text: str, repo: str, kind: str, revision: str | None, path: str) -> None:
    file = hub_file(text)
    assert (file.address.repo, file.address.kind, file.address.revision, file.path) == (repo, kind, revision, path)
    assert str(file) == text
    assert without_revision(text) == str(file.at(None))
    assert hub_file(str(file.at("0" * 40))).address.is_pinned


@pytest.mark.parametrize(
    "text",
    ["hf://", "hf://u", "hf://u/r", "hf://u/r/", "hf://u/r@v1", "hf://datasets/u/r", "hf://datasets/u/r.png",
     "hf://spaces/u/r/f", "hf://u/r//f", "hf://u/r/../f", "hf://u/r/a/..", "hf://u/r/./f", "hf://u/r@v 1/f",
     "hf://u/r/dogs/", "hf://u/r@a@b/f", "hf://u--x/r/f", "hf://u/r/a\\b", "https://huggingface.co/u/r/f"],
)  # fmt: skip
def test_other_texts_are_refused_where_they_stand(text: str) -> None:
    assert findings(f'images dogs = "{text}"\npreserve conv5:34 on dogs keep<=10%') == [("E386", 14)]
    assert findings(f'model resnet18(weights="{text}")\npreserve layer4:34 on a/* keep<=10%') == [("E386", 23)]


@pytest.mark.parametrize(
    "line",
    ['include "hf://u/r/a.circuit"', 'model python("hf://u/r/net.py:build")',
     'preserve vector("hf://u/r/sae.safetensors", row=1) in conv5 on bundled.dogs keep<=10%'],
)  # fmt: skip
def test_only_weights_and_images_are_on_the_hub(line: str) -> None:
    assert [code for code, _ in findings(line)][:1] == ["E137"]


def test_weights_are_one_file() -> None:
    text = 'model resnet18(weights="hf://u/r/*.safetensors")\npreserve layer4:34 on bundled.dogs keep<=10%'
    assert findings(text) == [("E386", 23)]


def test_an_address_stands_bare_or_in_quotes() -> None:
    plans = [
        circuitlang.compile(
            f"model resnet18(weights={quote}hf://u/r@v1/w.pth{quote})\nimages a = {quote}hf://u/r/*{quote}"
        )
        for quote in ("", '"')
    ]
    assert plans[0].model.addresses == plans[1].model.addresses == ["hf://u/r@v1/w.pth"]
    assert plans[0].model.key == "torchvision.resnet18"


_PARTS = ["hf://", "datasets/", "u", "r", "/", "@", "refs/pr/1", "..", "*", "\n", "é", "-", "."]


@given(st.lists(st.sampled_from(_PARTS)))
def test_any_text_is_an_address_or_a_finding(parts: list[str]) -> None:
    text = "".join(parts)
    codes: list[str] = []
    try:
        file = hub_file(text)
    except InputError as error:
        codes = [finding.code for finding in error.findings]
    if codes:
        assert codes == ["E386"]
        assert without_revision(text) == text
        return
    assert str(file) == text
    assert hub_file(without_revision(text)) == file.at(None)
    assert not {"", ".", ".."} & {*file.parts}
