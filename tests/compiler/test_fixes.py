"""Fixes of mistakes, and that they leave fewer of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from circuitlang.base.diagnostics import Finding, SpecError
from circuitlang.base.source import Source
from circuitlang.compiler.fixes import fix_source
from circuitlang.pipeline import compile_source
from tests.compiler.test_slips import BLOCKS, spec


def check(source: Source) -> Sequence[Finding]:
    try:
        return compile_source(source).warnings
    except SpecError as error:
        return error.findings


def fixed(text: str) -> tuple[str, int]:
    source, count = fix_source(Source("a.circuit", text), check)
    return source.text, count


ON = "preserve conv5:34 on images/dogs/*"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("preserve conv9:34 on images/dogs/* keep<=5%", "preserve conv5:34 on images/dogs/* keep<=5%"),
        (f"{ON} keep<=5% criterion=snpi", f"{ON} keep<=5% criterion=snip"),
        (f"{ON} keep<=5% ablation=meen", f"{ON} keep<=5% ablation=mean"),
        (f"{ON} keep<=5% criterion=force(step=3)", f"{ON} keep<=5% criterion=force(steps=3)"),
        (f"{ON} keep<=5% criterion=force(3)", f"{ON} keep<=5% criterion=force(steps=3)"),
        (f"{ON} kep<=5%", f"{ON} keep<=5%"),
        (f"{ON} keep=5%", f"{ON} keep<=5%"),
        (f"{ON} keep<=5", f"{ON} keep<=5%"),
        (f"{ON} keep<=.1", f"{ON} keep<=0.1"),
        (f"{ON} keep 5%", f"{ON} keep<=5%"),
        (f"{ON} keep<=5% method=snip", f"{ON} keep<=5% criterion=snip"),
        (f"{ON} keep<=5% refill=false", f"{ON} keep<=5% refill=none"),
        ("preserve conv5[34] on images/dogs/* keep<=5%", f"{ON} keep<=5%"),
        ("preserve conv5 : 34 on images/dogs/* keep<=5%", f"{ON} keep<=5%"),
        ("preserve conv5:34 for images/dogs/* keep<=5%", f"{ON} keep<=5%"),
        ("preserv conv5:34 on images/dogs/* keep<=5%", f"{ON} keep<=5%"),
        (f"images dogs = images/dogs/*\n{ON.replace('images/dogs/*', 'dgos')} keep<=5%",
         f"images dogs = images/dogs/*\n{ON.replace('images/dogs/*', 'dogs')} keep<=5%"),
        (f"circuit face = {ON} keep<=5%\nexpect fase.pearson >= 0.9",
         f"circuit face = {ON} keep<=5%\nexpect face.pearson >= 0.9"),
    ],
)  # fmt: skip
def test_a_mistake_is_fixed(wrong: str, right: str) -> None:
    assert fixed(wrong) == (right, 1)


def test_all_of_a_file_are_fixed_and_the_rest_stays() -> None:
    wrong = f"# Two, and one that nobody can guess.\n{ON} kep<=5% criterion=snpi\npreserve conv5:35 on images/cats/*\n"
    right = wrong.replace("kep", "keep").replace("snpi", "snip")
    assert fixed(wrong) == (right, 2)
    assert fixed(right) == (right, 0)


def test_what_newcomers_write() -> None:
    """A fix leaves fewer mistakes, whichever it is, and many of the slips are gone altogether."""
    sound = 0
    for block in BLOCKS:
        before = check(Source("a.circuit", spec(block)))
        text, count = fixed(spec(block))
        after = check(Source("a.circuit", text))
        assert len(after) <= len(before) - count
        sound += not after
    assert sound >= 60
