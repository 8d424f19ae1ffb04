"""Damaged specs end in a plan or in findings, each at a place; so do `fmt` and the renderers of findings."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from circuitlang.base.diagnostics import CircuitError
from circuitlang.base.printable import is_hidden
from circuitlang.base.source import Source
from circuitlang.compiler.formatter import format_source
from circuitlang.compiler.highlighter import highlight
from circuitlang.pipeline import check_file, compile_source
from circuitlang.plan.yaml import read_plan, write_plan
from circuitlang.reporting.diagnostics import MACHINE, render
from tests.compiler.test_language import MORE, ODDITIES, SPEC, WORDS
from tests.helpers.fuzzing import all_night, damaged, survives

GOOD = SPEC + MORE
TOKEN = re.compile(r"\w+|\s+|.", re.DOTALL)
# What stands for a lot, or is longer than anything.
LARGE = (
    "0..9000000",
    "each(1, 2, 3, 4, 5, 6, 7, 8, 9)",
    "9" * 5000,
    "1e400",
    "a" * 5000,
    "[" * 60,
    "\x1b[2J",
    "\u202e",
    "\0",
)


def rearranged(text: str, number: int, seed: int) -> Iterator[str]:
    """Yield versions of a text with words dropped, doubled, exchanged, or replaced by others of the language."""
    dice = random.Random(seed)
    words = [*WORDS, *ODDITIES, *LARGE]
    for _ in range(number):
        tokens = TOKEN.findall(text)
        for _ in range(dice.randint(1, 5)):
            at, other = dice.randrange(len(tokens)), dice.randrange(len(tokens))
            kind = dice.randrange(5)
            if kind == 0:
                tokens[at] = ""
            elif kind == 1:
                tokens[at] *= 2
            elif kind == 2:
                tokens[at], tokens[other] = tokens[other], tokens[at]
            elif kind == 3:
                tokens[at] = dice.choice(words)
            else:
                tokens[at] = f"{tokens[at]} {dice.choice(words)}"
        yield "".join(tokens)


def answered(error: CircuitError) -> None:
    """Every finding has a place, and can be shown in every way."""
    for finding in error.findings:
        assert finding.span is not None
        assert 0 <= finding.span.start <= finding.span.end <= len(finding.span.source.text) + 1
    assert not any(is_hidden(each) for each in render(error.findings).plain if each != "\n")
    assert all(style(error.findings) for style in MACHINE.values())


def read(text: str) -> None:
    """Everything that is done with a spec before a model is needed."""
    source = Source("spec.circuit", text)
    survives(lambda: format_source(source))
    assert "".join(part for _, part in highlight(text)) == text
    try:
        compiled = compile_source(source)
    except CircuitError as error:
        answered(error)
        raise
    assert read_plan(Source("plan.yaml", write_plan(compiled.plan)))[0] == compiled.plan


def test_the_spec_is_sound():
    assert survives(lambda: read(GOOD))


@pytest.mark.slow
def test_words_of_a_spec_in_any_order_are_answered():
    results = [survives(lambda text=text: read(text)) for text in rearranged(GOOD, 100, seed=1)]
    assert not all(results)


def test_bytes_of_a_spec_are_answered(tmp_path):
    for number, content in enumerate(damaged(GOOD.encode(), 150, seed=2)):
        path = tmp_path / f"{number}.circuit"
        path.write_bytes(content)
        assert check_file(path).path == path


def test_an_included_file_may_be_damaged(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("spec.circuit").write_text('include "sets.circuit" as s\npreserve conv1:0 on s.dogs kernels<=3\n')
    for content in damaged(GOOD.encode(), 60, seed=3):
        Path("sets.circuit").write_bytes(content)
        assert check_file(Path("spec.circuit")).findings is not None


@pytest.mark.nightly
def test_specs_all_night(tmp_path):
    path = tmp_path / "night.circuit"
    for seed in all_night():
        for text in rearranged(GOOD, 50, seed):
            survives(lambda text=text: read(text))
        for content in damaged(GOOD.encode(), 50, seed):
            path.write_bytes(content)
            check_file(path)
