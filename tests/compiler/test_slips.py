"""Natural slips of newcomers, and the cure for each.

`slips.txt` has a spec a block, and below it, after `=`, the code of each mistake in it and its help line.
`pytest --update-golden` writes what is said now; read the diff before committing it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from circuitlang.base.diagnostics import Finding, SpecError
from circuitlang.base.source import Source
from circuitlang.compiler.parser import parse
from circuitlang.pipeline import compile_source

PATH = Path(__file__).parent / "slips.txt"
BLOCKS = PATH.read_text(encoding="utf-8").rstrip("\n").split("\n\n")


def spec(block: str) -> str:
    return "\n".join(line for line in block.splitlines() if not line.startswith("= "))


def mistakes(text: str) -> tuple[Finding, ...]:
    with pytest.raises(SpecError) as caught:
        compile_source(Source("slip.circuit", text))
    return caught.value.findings


def block_of(text: str) -> str:
    return "\n".join([text, *(f"= {finding.code} {finding.help}" for finding in mistakes(text))])


def test_the_cures_are_as_written(request: pytest.FixtureRequest) -> None:
    made = [block_of(spec(block)) for block in BLOCKS]
    if request.config.getoption("--update-golden"):
        PATH.write_text("\n\n".join(made) + "\n", encoding="utf-8")
        return
    assert made == BLOCKS


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0])
def test_every_slip_has_a_cure(block: str) -> None:
    assert all(finding.help for finding in mistakes(spec(block)))


def test_there_are_many() -> None:
    assert len(BLOCKS) == len(set(map(spec, BLOCKS))) >= 200


CLAUSES = "keep 10%", "criteria=snip", "hold=20%", "seed: 3", "refill=false", "pearson=0.9", "calibrate", "limit=20"


@pytest.mark.parametrize("first", CLAUSES)
@pytest.mark.parametrize("second", CLAUSES)
def test_a_mistake_does_not_hide_another_of_its_statement(first: str, second: str) -> None:
    if first == second:
        return
    text = f"preserve conv5:34 on images/dogs/* {first} {second} kernels<=3"
    alone = [mistakes(f"preserve conv5:34 on images/dogs/* {clause} kernels<=3") for clause in (first, second)]
    assert {each.message for each in mistakes(text)} >= {
        each.message for findings in alone for each in findings[:1]
    } - {
        # It names the word that follows.
        "'kernels' is not expected here"
    }
    assert len(mistakes(text)) == 2


def test_what_follows_from_a_clause_that_is_left_out_is_not_reported() -> None:
    """Not the size that is missing, nor that two circuits are the same."""
    text = "circuit a = preserve conv5:34 on images/dogs/* keep 10%\nexpect a.pearson >= 0.5\ncompare a[keep=1%], a"
    assert [finding.code for finding in mistakes(text)] == ["E005"]
    twice = "preserve conv5:34 on images/dogs/* kernels<=3 {}\n"
    assert [finding.code for finding in mistakes(twice.format("seed 1") + twice.format("seed 2"))] == ["E005"] * 2


def test_the_places_of_clauses_are_kept() -> None:
    text = "# é\npreserve conv5:34 on images/dogs/* keep 10% hold=20%"
    assert [finding.span.text for finding in mistakes(text) if finding.span] == ["10%", "hold"]


def test_a_statement_is_read_without_what_is_wrong_only_in_its_clauses() -> None:
    assert parse(Source("a", "preserve conv5:34 on images/dogs/* keep 10%")).statements
    assert not parse(Source("a", "preserve conv5[34] on images/dogs/* keep 10%")).statements
