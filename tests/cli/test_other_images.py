"""`also=`: from the spec to the plan, the run, its files and its reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.sweep import counted
from circuitlang import pipeline
from circuitlang.base.diagnostics import InputError, SpecError
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.engine.runtime.options import Options
from circuitlang.engine.visuals import amounts
from circuitlang.plan.normalize import fingerprint
from circuitlang.plan.yaml import read_plan, write_plan
from circuitlang.results.reader import read_summary
from tests.conftest import draw_pictures
from tests.helpers.path_parts import unmeasured_parts
from tests.helpers.specs import compiled, findings

SETS = "images cats = images/cats/*\nimages grey = images/dogs/* as grey\n"
ASK = "circuit face = preserve conv5:34 on images/dogs/* kernels<=20 criterion=magnitude"
RUN = f"{SETS}{ASK} also=[cats, grey]\n"


def sets(clause: str) -> list[str]:
    return compiled(f"{SETS}{ASK} {clause}").plan.circuits[0].also


def test_none_one_and_several():
    assert sets("") == []
    assert sets("also=cats") == ["cats"]
    assert sets("also=[grey, images/birds/*]") == ["grey", "images/birds/*"]
    assert len(compiled(f"{SETS}{ASK} also=each(cats, grey)").plan.circuits) == 2


@pytest.mark.parametrize(
    ("clause", "code", "cure"),
    [
        ("also=cat", "E101", "did you mean 'cats'?"),
        ("also=[cats, cats]", "E206", ""),
        ("also=3", "E202", ""),
        ("also<=cats", "E201", ""),
    ],
)
def test_mistakes(clause, code, cure):
    ((found, says),) = findings(f"{SETS}{ASK} {clause}")
    assert found == code
    assert not cure or cure in says


def test_plans_without_other_images_keep_their_hashes_and_other_images_have_no_say_in_scores():
    plain, more = compiled(SETS + ASK).plan, compiled(RUN).plan
    (own,), (also,) = plain.circuits, more.circuits
    assert own.id == also.id
    assert plain.basis(own) == more.basis(also)
    assert "also" not in write_plan(plain)
    assert list(more.images) == ["images/dogs/*", "cats", "grey"]
    assert read_plan(Source("plan.yaml", write_plan(more)))[0] == more
    # A set's name has no say, and its images do.
    renamed = compiled(RUN.replace("cats =", "felines =").replace("[cats", "[felines")).plan
    other = compiled(RUN.replace("as grey", "as blurred")).plan
    plans = plain, more, renamed, other
    identities = [plan.identity(plan.circuits[0]) for plan in plans]
    assert identities[1] == identities[2]
    assert len(set(identities)) == len({fingerprint(plan) for plan in plans}) == 3


def test_a_plan_that_names_no_such_set_is_a_mistake():
    text = write_plan(compiled(RUN).plan).replace("      - grey\n", "      - gray\n").replace("- grey", "- gray")
    with pytest.raises(SpecError) as caught:
        read_plan(Source("plan.yaml", text))
    assert [finding.message for finding in caught.value.findings] == ["unknown image set 'gray'"]


def test_what_is_expected_of_other_images():
    plan = compiled(f"{RUN}expect face.cats.pearson >= 0.5\nexpect face.also.grey.r2.low >= 0\n").plan
    assert [expectation.measure for expectation in plan.expectations] == ["also.cats.pearson", "also.grey.r2.low"]
    named_test = f"images test = images/cats/*\n{ASK} also=test\n"
    plan = compiled(f"{named_test}expect face.test.pearson >= 0\nexpect face.also.test.images >= 1\n").plan
    assert [expectation.measure for expectation in plan.expectations] == ["test.pearson", "also.test.images"]
    assert findings(f"{SETS}{ASK}\nexpect face.also.cats.error <= 1\n") == [
        ("E116", "add also=cats where face is preserved")
    ]
    # The mistake is in the sample, and not in the metric.
    for slip, cure in (("gray.r2", "grey.r2"), ("tset.r2", "test.r2"), ("cts.pearson.low", "cats.pearson")):
        assert findings(f"{RUN}expect face.{slip} >= 0\n") == [("E116", f"did you mean '{cure}'?")], slip


@pytest.fixture
def both(here: Path) -> Path:
    """A folder with images of five dogs and six cats, to stand in."""
    draw_pictures(here, "cats", 6)
    return here


@pytest.mark.slow
def test_a_run_measures_as_much_as_its_plan_says_and_reports_it(both, with_pages, monkeypatch):
    monkeypatch.setattr(amounts, "STEPS", 1)
    spared = unmeasured_parts(monkeypatch)
    spec = compiled(RUN)
    total = pipeline.forecast(spec, both / "runs").total
    without = pipeline.forecast(compiled(SETS + ASK), both / "other").total
    # The network and the circuit, on all cats and on the one dog that is held out, in grey.
    assert (total.forwards - without.forwards, total.forwarded - without.forwarded) == (4, 2 * (6 + 1))
    with counted() as count:
        pipeline.run_compiled(spec, both / "runs", Options(visualise=False))
    # One image is made to excite the feature in the network, which begins with one of sixteen.
    assert (count.forward + sum(spared), count.backward) == (total.forwarded + 17, total.returned + 1)
    folder = both / "runs" / "face"
    summary = read_summary(folder)
    assert {name: fidelity.images for name, fidelity in summary.also.items()} == {"cats": 6, "grey": 1}
    assert summary.provenance.also_images.keys() == summary.also.keys()
    numbers = json.loads((folder / "metrics.json").read_text())
    shown, full = (CliRunner().invoke(main, ["show", *more, str(folder)]).output for more in ([], ["--full"]))
    page = (folder / "report.html").read_text()
    for name, fidelity in summary.also.items():
        assert numbers[f"also.{name}.pearson"] == pytest.approx(fidelity.metrics["pearson"], abs=1e-6)
        assert f'data-key="also.{name}.pearson">{fidelity.metrics["pearson"]:.3f}<' in page
        assert f"on {name}" in shown
        assert f" {name} " in full


@pytest.mark.slow
def test_the_fidelity_is_that_of_the_same_circuit_judged_by_these_images(both):
    """Without a holdout, as other images to judge by leave none out."""
    spec = compiled(
        f"{SETS}{ASK} holdout=0 also=cats\ncircuit judged = preserve conv5:34 on images/dogs/* kernels<=20 "
        "criterion=magnitude test=cats\n"
    )
    pipeline.run_compiled(spec, both / "runs")
    face, judged = (read_summary(both / "runs" / name) for name in ("face", "judged"))
    assert judged.test is not None
    assert face.also == {"cats": judged.test}


def test_nothing_is_left_where_all_of_the_images_are_those_it_was_found_on(here):
    spec = compiled(f"{SETS}{ASK} holdout=0 also=grey")
    with pytest.raises(InputError) as caught:
        pipeline.run_compiled(spec, here / "runs")
    (finding,) = caught.value.findings
    assert (finding.code, finding.message) == ("E301", "nothing is left of grey to measure on")
    assert finding.span is not None
    assert finding.span.text == "also=grey"
