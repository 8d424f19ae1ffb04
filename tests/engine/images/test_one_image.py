"""A circuit of a particular picture: a set of one, of which nothing is held out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import circuitlang
from circuitlang.reporting.text.circuit_sentences import notes, where


@pytest.fixture
def one(here: Path) -> Path:
    """A folder with one picture in it, to stand in."""
    shutil.copy(here / "images" / "dogs" / "0.png", here / "one.png")
    return here


@pytest.mark.parametrize("written", ["./one.png", '"one.png"', "[./one.png]", "./one.png contrast=images/dogs/*"])
def test_it_is_found_and_measured_on_the_same(one: Path, written: str):
    (circuit,) = circuitlang.run(f"preserve conv5:34 on {written} kernels<=100 criterion=snip")
    summary = circuit.summary
    assert (summary.train.images, summary.test) == (1, None)
    assert summary.train.intervals == {}
    assert where(summary) == "on the image it was found on"
    said = " ".join(notes(summary))
    assert "the circuit was found and measured on one image" in said
    assert "pearson_demeaned is 0" in said
    assert "found and measured on one image" in (circuit.folder / "report.txt").read_text().replace("\n", " ")


def test_others_may_be_what_it_is_measured_on(one: Path):
    (circuit,) = circuitlang.run("preserve conv5:34 on ./one.png kernels<=100 criterion=snip test=images/dogs/*")
    assert where(circuit.summary) == "on 4 held-out images"
    assert "one image" not in " ".join(notes(circuit.summary))


def test_the_kernels_that_matter_in_it_are_its_own(one: Path):
    """Two pictures have two circuits, and each keeps its own picture better than the other's does."""
    shutil.copy(one / "images" / "dogs" / "1.png", one / "two.png")
    spec = "circuit {0} = preserve conv5:34 on ./{0}.png kernels<=60 criterion=snip test=./one.png\n"
    own, other = circuitlang.run(spec.format("one") + spec.format("two"))
    assert circuitlang.compare(own, other).iou[0, 1] < 1
    assert own.metrics["train.error"] < other.metrics["test.error"]
    # What it was found on is not held out, whatever it is called.
    assert own.summary.test is None


@pytest.mark.parametrize("target", ["conv5:34@center", 'class("dogs")'])
def test_a_single_number_can_be_preserved(one: Path, target: str):
    """By the default criterion too, whose variance it has not."""
    (circuit,) = circuitlang.run(f"preserve {target} on ./one.png sparsity<=20%")
    summary = circuit.summary
    assert (summary.responses, summary.unheard) == (1, False)
    assert all(layer.effective for layer in summary.layers)
    assert summary.train.metrics["error"] < 0.5 < summary.baselines["random"].metrics["error"]
    assert "measured on one number: too few for a correlation" in " ".join(notes(summary))


@pytest.mark.slow
def test_a_correlation_of_two_numbers_says_nothing(here: Path):
    (circuit,) = circuitlang.run('preserve class("dogs") on images/dogs/* sparsity<=5% criterion=snip holdout=40%')
    assert (circuit.summary.judged.images, circuit.summary.responses) == (2, 2)
    assert "measured on 2 numbers: too few for a correlation" in " ".join(notes(circuit.summary))
    (other,) = circuitlang.run("preserve conv5:34 on images/dogs/* sparsity<=5% criterion=snip holdout=40%")
    assert "too few for a correlation" not in " ".join(notes(other.summary))
