"""Verdicts on circuits, from numbers that are made up, and the words of their headlines."""

from __future__ import annotations

import io
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from msgspec.structs import replace
from rich.console import Console

from circuitlang.base.source import Source
from circuitlang.pipeline import compile_source
from circuitlang.reporting.ci.junit import junit
from circuitlang.reporting.ci.record import Done, Record
from circuitlang.reporting.ci.run_summary import run_summary
from circuitlang.reporting.formats.metrics import metrics
from circuitlang.reporting.html.run_index import index
from circuitlang.reporting.terminal.circuit_report import brief, render
from circuitlang.reporting.text import circuit_sentences, verdict_sentences
from circuitlang.results.types import ChannelSources, Circuit, Fidelity, Result, Summary
from circuitlang.results.verdict import PARTLY, PRESERVED, verdict
from tests.helpers.fake_results import invented

SPEC = "circuit face = preserve conv5:34 on images/dogs/* keep<=10% criterion={}{}"


def measured(pearson: float, error: float = 0.3, r2: float = 0.6, width: float = 0.01) -> Fidelity:
    numbers = {"error": error, "pearson": pearson, "r2": r2}
    return Fidelity(images=8, metrics=numbers, intervals={"pearson": (pearson - width, pearson + width)})


def summary(
    judged: Fidelity, random: float = 0.1, magnitude: float = 0.2, criterion: str = "snip", clauses: str = ""
) -> Summary:
    plan = compile_source(Source("spec.circuit", SPEC.format(criterion, clauses))).plan
    baselines = {"random": measured(random), "magnitude": measured(magnitude)}
    return replace(invented(plan)["face"], train=judged, test=judged, baselines=baselines)


CASES = {
    "preserved": (summary(measured(0.95)), "preserved"),
    "at the threshold": (summary(measured(PRESERVED)), "preserved"),
    "just below": (summary(measured(np.nextafter(PRESERVED, 0))), "partly"),
    "partly": (summary(measured(PARTLY)), "partly"),
    "little": (summary(measured(np.nextafter(PARTLY, 0))), "not preserved"),
    "nothing": (summary(measured(0.0, r2=0.0)), "not preserved"),
    "the contrary": (summary(measured(-0.95, r2=0.0)), "not preserved"),
    "no number": (summary(measured(float("nan"))), "not preserved"),
    "as bad as silence": (summary(measured(0.95, error=1.0)), "worse than silence"),
    "worse than the mean": (summary(measured(0.95, r2=-0.01)), "worse than silence"),
    "as the mean": (summary(measured(0.95, r2=0.0)), "preserved"),
    "as random": (summary(measured(0.95), random=0.94), "no better than a baseline"),
    "as magnitude": (summary(measured(0.95), magnitude=0.94), "no better than a baseline"),
    "below magnitude": (summary(measured(0.7), magnitude=0.94), "no better than a baseline"),
    "just above": (summary(measured(0.95), magnitude=0.929), "preserved"),
    "little, as random": (summary(measured(0.1), random=0.1), "not preserved"),
    "magnitude itself": (summary(measured(0.95), magnitude=0.95, criterion="magnitude"), "preserved"),
    "magnitude, as random": (summary(measured(0.95), random=0.95, criterion="magnitude"), "no better than a baseline"),
    "its own bound": (summary(measured(0.95), clauses=" pearson>=0.97"), "partly"),
    "a lower bound": (summary(measured(0.4), clauses=" pearson>=0.3"), "preserved"),
    "a bound of another metric": (summary(measured(0.95), clauses=" r2>=0.97"), "preserved"),
    "constant": (replace(summary(measured(0.0, error=0.0, r2=0.0)), unheard=True), "constant"),
    "one number": (replace(summary(measured(0.0, error=0.05, r2=-1.0)), responses=1), "preserved"),
    "two numbers, no better": (replace(summary(measured(1.0, error=0.4)), responses=2), "no better than a baseline"),
    "one number, in part": (replace(summary(measured(0.0, error=0.2, r2=-1.0)), responses=1), "partly"),
    "one number, little": (replace(summary(measured(1.0, error=0.6)), responses=1), "not preserved"),
    "three numbers": (replace(summary(measured(0.0, error=0.05)), responses=3), "not preserved"),
    "contrasted": (
        summary(measured(0.95), magnitude=0.94, criterion="taylor", clauses=" contrast=images/cats/*"),
        "preserved",
    ),
    "contrasted, partly": (
        summary(measured(0.6), magnitude=0.94, criterion="taylor", clauses=" contrast=images/cats/*"),
        "partly",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_verdict_follows_from_the_numbers(name: str) -> None:
    made, expected = CASES[name]
    assert verdict(made) == expected


def test_a_single_image_has_no_interval() -> None:
    judged = replace(measured(0.95), images=1, intervals={})
    even = replace(summary(judged), baselines={"random": judged})
    assert verdict(even) == "no better than a baseline"
    less = replace(judged, metrics=judged.metrics | {"pearson": 0.949})
    assert verdict(replace(even, baselines={"random": less})) == "preserved"


def test_what_is_not_held_out_is_judged_in_sample() -> None:
    made = summary(measured(0.95))
    assert verdict(replace(made, train=measured(0.2))) == "preserved"
    assert verdict(replace(made, train=measured(0.2), test=None)) == "not preserved"


CURVE = "a look at the curve (keep<=each(5%, 10%, 20%, 50%))"
ANNEALED = "criterion=annealed (which keeps most at small sizes)"
NOTES = {
    "partly": "Preserved would be pearson 0.9 or more, the threshold. Try a larger size (keep<=20%), "
    f"calibrate=affine (which refits scales and offsets), {ANNEALED} or {CURVE}.",
    "its own bound": "Preserved would be pearson 0.97 or more, the bound of its statement. Try a larger size "
    f"(keep<=20%), calibrate=affine (which refits scales and offsets), {ANNEALED} or {CURVE}.",
    "as bad as silence": "No output at all, or the feature's mean, would be nearer to the feature: error 1.000 and r2 "
    "0.600. Try a larger size (keep<=20%), calibrate=affine (which refits scales and offsets), "
    f"{ANNEALED} or {CURVE}.",
    "as magnitude": "A circuit of the same size by another rule reaches as much: pearson of magnitude 0.940. Try a "
    f"smaller size (where criteria differ), {ANNEALED} or {CURVE}.",
    "contrasted, partly": "Preserved would be pearson 0.9 or more, the threshold. Try a larger size (keep<=20%), "
    "calibrate=affine (which refits scales and offsets), criterion=annealed (which keeps most at small sizes) or "
    f"{CURVE}.",
    "constant": "Nothing to preserve: conv5:34 is constant on these images. Try other images, or another feature.",
}


@pytest.mark.parametrize("name", NOTES)
def test_what_is_not_preserved_comes_with_what_to_try(name: str) -> None:
    assert circuit_sentences.notes(CASES[name][0])[0] == NOTES[name]


def test_a_circuit_that_fits_its_own_images_wants_more_of_them() -> None:
    made = summary(measured(0.3))
    overfit = replace(made, train=measured(0.51))
    said = "On the 8 images that it was found on, pearson is 0.510: it fits these. Try more images to find it on, "
    assert said + "a larger size (keep<=20%)" in circuit_sentences.notes(overfit)[0]
    for other in (replace(made, train=measured(0.49)), replace(overfit, test=None), replace(overfit, responses=2)):
        assert "more images" not in circuit_sentences.notes(other)[0]


@pytest.mark.parametrize("name", [name for name, (_, word) in CASES.items() if word == "preserved"])
def test_what_is_preserved_needs_no_advice(name: str) -> None:
    made, _ = CASES[name]
    assert verdict_sentences.reason(made) == verdict_sentences.advice(made) == ""
    assert circuit_sentences.remarks(made) == ("against images/cats/*" if made.plan.contrast else "")


@pytest.mark.parametrize("name", CASES)
def test_only_what_is_preserved_is_kept(name: str) -> None:
    """No screen says that kernels keep a feature that they don't keep."""
    made, word = CASES[name]
    nothing = ChannelSources(*(np.zeros(0, np.int64),) * 3)
    result = Result(replace(made, kept=0), Circuit((), (), nothing))
    paper = io.StringIO()
    Console(file=paper, width=200, color_system=None).print(render(result))
    first = paper.getvalue().splitlines()[1]
    assert first.startswith(f"│ {verdict_sentences.title(made)}: conv5:34 of doodle")
    assert ("keep it at" in paper.getvalue()) == (word == "preserved")
    assert brief(made, False).plain.startswith(f"face  {verdict_sentences.title(made)}, ")
    assert json.loads(metrics(result)["metrics.json"])["verdict"] == word


def test_programs_read_the_verdict() -> None:
    made, word = CASES["as magnitude"]
    record = Record("spec", ("face", "gone"), {"face": Done(made, 1.0, False)})
    (known, unknown) = json.loads(run_summary(record))["circuits"]
    assert (known["verdict"], unknown["verdict"]) == (word, None)
    properties = ElementTree.fromstring(junit(record)).findall(".//property")
    assert [each.attrib for each in properties] == [{"name": "verdict.face", "value": word}]


def test_the_index_has_verdicts_and_what_fails() -> None:
    text = SPEC.format("snip", "") + "\nexpect face.pearson >= 0.9\nexpect face.error <= 0.5"
    plan = compile_source(Source("spec.circuit", text)).plan
    made, _ = CASES["partly"]
    page = index("spec", plan, {"face": replace(made, plan=plan.circuits[0])}).decode()
    assert "1 circuit</span>: 1 partly preserved." in page
    assert "<dt>face</dt><dd>test.pearson is 0.5, expected &gt;= 0.9</dd>" in page
    assert page.count("expected &gt;= 0.9") == 1
    assert "test.error is" not in page
    good = index("spec", plan, {"face": replace(CASES["preserved"][0], plan=plan.circuits[0])}).decode()
    assert "Failed expectations" not in good


def test_a_failed_bound_stands_on_the_page_of_the_circuit() -> None:
    notes = circuit_sentences.notes(CASES["its own bound"][0])
    assert "The circuit fails a bound of its statement: test.pearson is 0.95, expected >= 0.97." in notes
    assert not any("bound of its statement:" in note for note in circuit_sentences.notes(CASES["a lower bound"][0]))
