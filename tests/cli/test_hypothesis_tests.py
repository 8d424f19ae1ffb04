"""`tests=`: from the spec to the plan, the run, its files and its reports."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from benchmarks.sweep import counted
from circuitlang import pipeline
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.engine.evaluation.circuit_claim import derived_seed
from circuitlang.engine.images.hashed_images import HashedImages
from circuitlang.engine.runtime.options import Options
from circuitlang.engine.visuals import amounts
from circuitlang.plan.clauses import Choice
from circuitlang.plan.normalize import fingerprint
from circuitlang.plan.yaml import read_plan, write_plan
from circuitlang.plugins.hypothesis_tests import TESTS
from circuitlang.results.assertions import failed_assertions
from circuitlang.results.reader import read, read_summary
from tests.helpers.path_parts import unmeasured_parts
from tests.helpers.specs import compiled, findings

LINE = "preserve conv5:1 on a/* kernels<=7 criterion=snip"
RUN = (
    "circuit face = preserve conv5:34 on images/dogs/* kernels<=20 criterion=magnitude"
    " tests=[sufficiency(circuits=6), necessity(circuits=5), minimality(references=4), equivalence]\n"
)


def names(clause: str) -> list[str]:
    return [choice.name for choice in compiled(f"{LINE} {clause}").plan.circuits[0].tests]


def test_none_all_one_and_several():
    assert names("") == names("tests=none") == []
    assert names("tests=all") == sorted(TESTS.declarations)
    assert names("tests=necessity") == ["necessity"]
    assert names("tests=[sufficiency, equivalence]") == ["equivalence", "sufficiency"]
    (circuit,) = compiled(f"{LINE} tests=[sufficiency(circuits=999), equivalence]").plan.circuits
    assert circuit.tests == [Choice("equivalence"), Choice("sufficiency", {"circuits": 999})]
    assert len(compiled(f"{LINE} tests=each(none, necessity)").plan.circuits) == 2


@pytest.mark.parametrize(
    ("clause", "code", "cure"),
    [
        ("tests=sufficient", "E130", "did you mean 'sufficiency'?"),
        ("tests=[necessity, necessity]", "E206", ""),
        ("tests=[all]", "E130", "write tests=all"),
        ('tests="necessity"', "E202", "write necessity"),
        ("tests=necessity(circuit=5)", "E105", "did you mean 'circuits'?"),
        ("tests=necessity(circuits=0)", "E202", ""),
        ("tests<=necessity", "E201", ""),
    ],
)
def test_mistakes(clause, code, cure):
    ((found, says),) = findings(f"{LINE} {clause}")
    assert found == code
    assert not cure or cure in says


def test_plans_without_tests_keep_their_hashes_and_tests_have_no_say_in_scores():
    plain, tested = compiled(LINE).plan, compiled(f"{LINE} tests=all").plan
    # As they were before the clause.
    identity = "bb316d6f59b996cc32862068a34147aaa1099041c613307e0f9fdea49cf75666"
    assert plain.identity(plain.circuits[0]) == identity
    assert fingerprint(plain) == "b68d2f3cc9dd6dd9be9b9c5cb378d3d6aab79c65804dd3f3ebde4fc9571c18fd"
    assert plain.circuits[0].id == tested.circuits[0].id
    assert plain.basis(plain.circuits[0]) == tested.basis(tested.circuits[0])
    assert "tests" not in write_plan(plain)
    assert read_plan(Source("plan.yaml", write_plan(tested)))[0] == tested
    assert tested.identity(tested.circuits[0]) != identity
    assert fingerprint(tested) != fingerprint(plain)


def test_what_is_expected_of_a_test_that_is_not_asked_for_is_a_mistake():
    spec = f"circuit face = {LINE} tests=necessity\n"
    (expectation,) = compiled(f"{spec}expect face.necessity.p <= 0.05").plan.expectations
    assert expectation.measure == "tests.necessity.p"
    # A word that was there before: the error without the circuit.
    assert compiled(f"{spec}expect face.necessity >= 1").plan.expectations[0].measure == "necessity"
    assert findings(f"{spec}expect face.sufficiency.p <= 0.05") == [
        ("E116", "add tests=sufficiency where face is preserved")
    ]
    ((code, cure),) = findings(f"{spec}expect face.sufficiency <= 0.05")
    assert (code, "sufficiency.p" in cure) == ("E116", True)


@pytest.mark.slow
def test_a_run_tests_as_much_as_its_plan_says_and_reports_it(here, with_pages, monkeypatch):
    monkeypatch.setattr(amounts, "STEPS", 1)
    spared = unmeasured_parts(monkeypatch)
    spec = compiled(f"{RUN}expect face.sufficiency.p <= 1\nexpect face.minimality.statistic >= 2")
    total = pipeline.forecast(spec, here / "runs").total
    without = pipeline.forecast(compiled(RUN.partition(" tests=")[0]), here / "other").total
    # Each on the one image that is held out: random circuits, ablated ones and the circuit ablated, and inflated
    # circuits with and without their kernel, beside one circuit less of each of its 20 kernels.
    assert total.forwards - without.forwards == total.forwarded - without.forwarded == 6 + (5 + 1) + (2 * 4 + 20)
    with counted() as count:
        pipeline.run_compiled(spec, here / "runs", Options(visualise=False))
    # One image is made to excite the feature in the network, which begins with one of sixteen.
    assert (count.forward + sum(spared), count.backward) == (total.forwarded + 17, total.returned + 1)
    folder = here / "runs" / "face"
    summary = read_summary(folder)
    numbers = json.loads((folder / "metrics.json").read_text())
    shown = CliRunner().invoke(main, ["show", "--full", str(folder)]).output
    page = (folder / "report.html").read_text()
    for name, outcome in summary.tests.items():
        assert numbers[f"tests.{name}.p"] == pytest.approx(outcome.p, abs=1e-6)
        assert numbers[f"tests.{name}.statistic"] == pytest.approx(outcome.statistic, abs=1e-6)
        assert f'<th scope="row">{name}</th>' in page
        assert outcome.verdict in page
        assert f" {name} " in shown
    (failed,) = failed_assertions(spec.plan, {"face": summary}, spec.origins)
    assert failed.label.startswith("tests.minimality.statistic is ")
    assert sorted([*summary.tests, "stability"]) == sorted(TESTS.declarations)
    assert msgspec.json.decode((folder / "circuit.json").read_bytes())["tests"].keys() == summary.tests.keys()


# A one-pass criterion takes one pass for all halvings and resamples, any other all of its passes for each of them.
@pytest.mark.slow
@pytest.mark.parametrize(("criterion", "passes"), [("snip", 1), ("gn", 1), ("force(steps=2)", 2 * 2)])
def test_stability_is_that_of_circuits_found_on_halves_of_the_images(here, monkeypatch, criterion, passes):
    """The same as by two specs, each with the images of one half, and as many passes as the plan says."""
    ask = f"preserve conv5:34 on {{}} kernels<=60 criterion={criterion} holdout=0"
    spec = compiled(f"circuit face = {ask.format('images/dogs/*')} tests=stability(halvings=2)")
    plain = compiled(f"circuit face = {ask.format('images/dogs/*')}")
    total, without = (pipeline.forecast(one, here / "runs").total for one in (spec, plain))
    paths = sorted(Path("images/dogs").iterdir())
    images = HashedImages(tuple(paths), tuple(sha256(path.read_bytes()).hexdigest() for path in paths))
    halvings = [images.split(0.5, derived_seed(0, number)) for number in range(2)]
    with counted() as alone:
        pipeline.run_compiled(plain, here / "plain")
    with counted() as tested:
        pipeline.run_compiled(spec, here / "runs")
    # The scores of the circuit itself are there.
    own = 2 if criterion.startswith("force") else 1
    assert tested.backward == alone.backward - own * 5 + passes * 5
    assert total.forwarded - without.forwarded == total.returned - without.returned == passes * 5
    assert len({tuple(half.digests) for pair in halvings for half in pair}) == 4
    overlaps, circuits = [], []
    for number, pair in enumerate(halvings):
        assert sorted(path for half in pair for path in half.paths) == sorted(Path("images/dogs").iterdir())
        sets = [f"[{', '.join(f'images/dogs/{path.name}' for path in half.paths)}]" for half in pair]
        text = "".join(f"circuit half{place} = {ask.format(images)}\n" for place, images in enumerate(sets))
        pipeline.run_compiled(compiled(text), here / f"halves{number}")
        first, second = (kernels_of(here / f"halves{number}" / f"half{place}") for place in (0, 1))
        overlaps.append(len(first & second) / len(first | second))
        circuits += [first, second]
    result = read(here / "runs" / "face")
    outcome = result.summary.tests["stability"]
    assert outcome.statistic == pytest.approx(sum(overlaps) / 2)
    assert 0 < outcome.statistic < 1
    numbers = json.loads((here / "runs" / "face" / "metrics.json").read_text())
    if criterion.startswith("force"):
        shares = [
            [
                sum((place, target, source) in circuit for circuit in circuits) / 4
                for target, source in zip(*ends, strict=True)
            ]
            for place, ends in enumerate((own.target.tolist(), own.source.tolist()) for own in result.circuit.kernels)
        ]
        assert [layer.shares for layer in result.summary.layers] == shares
        assert outcome.bootstrap is msgspec.UNSET
    else:
        # Shares of a hundred resamples, of which some kernels are in a few.
        assert all(round(100 * share, 6) % 1 == 0 for layer in result.summary.layers for share in layer.shares)
        assert outcome.statistic < outcome.bootstrap < 1
        assert numbers["tests.stability.bootstrap"] == pytest.approx(outcome.bootstrap, abs=1e-6)
    total_share = sum(sum(layer.shares) for layer in result.summary.layers)
    assert outcome.share == pytest.approx(total_share / 60)
    assert numbers["tests.stability.share"] == pytest.approx(outcome.share, abs=1e-6)
    assert b"shares" not in (here / "plain" / "face" / "circuit.json").read_bytes()


def kernels_of(folder: Path) -> set[tuple[int, int, int]]:
    kernels = read(folder).circuit.kernels
    return {
        (place, target, source)
        for place, layer in enumerate(kernels)
        for target, source in zip(layer.target.tolist(), layer.source.tolist(), strict=True)
    }
