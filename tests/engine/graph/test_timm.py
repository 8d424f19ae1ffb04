"""Networks of timm: a few families always, all of them in the nightly tests, and the table of the docs."""

from __future__ import annotations

import pytest

from tests.helpers.timm_families import FAMILIES
from tests.helpers.timm_table import BEGIN, END, PAGE, UNMEASURED, in_a_process, recorded, summary, verdict

# Small and quick, each of another kind: plain, gated, inverted bottlenecks, attention, windows of changing size.
FEW = ("resnet", "starnet", "efficientnet", "mambaout", "vision_transformer")
KINDS = ("right", "refused", "wrong", "not done in time", UNMEASURED)


@pytest.mark.parametrize("family", FEW)
def test_a_family_is_right(family: str) -> None:
    assert verdict(family).found == "right"


@pytest.mark.nightly
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_right_or_refused(family: str) -> None:
    """What the table calls right stays right, and nothing is wrong."""
    found = in_a_process(family)
    assert found.kind == "right" or (found.kind == "refused" and recorded()[family].kind != "right"), found.row


def test_the_table_has_a_verdict_on_every_family() -> None:
    verdicts = recorded()
    assert list(verdicts) == list(FAMILIES)
    for family, each in verdicts.items():
        assert each.kind in KINDS
        assert each.row in PAGE.read_text(encoding="utf-8"), f"{family}: another model or size than the list's"


def test_the_table_counts_its_verdicts() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert summary(recorded()) in text[text.index(BEGIN) : text.index(END)]
