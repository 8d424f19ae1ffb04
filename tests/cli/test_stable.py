"""`stable>=`: from the spec to the plan, the run, its files, its diagram and its reports."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from click.testing import CliRunner

from benchmarks.sweep import counted
from circuitlang import pipeline
from circuitlang.base.diagnostics import CircuitError, InputError
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.engine.runtime.options import Options
from circuitlang.engine.visuals import amounts
from circuitlang.plan.clauses import Choice
from circuitlang.plan.normalize import fingerprint
from circuitlang.plan.yaml import read_plan, write_plan
from circuitlang.results.assertions import failed_assertions
from circuitlang.results.reader import read, read_summary
from circuitlang.results.stability import UNSTABLE
from tests.helpers.path_parts import unmeasured_parts
from tests.helpers.specs import compiled, findings

LINE = "preserve conv5:1 on a/* kernels<=7 criterion=snip"
RUN = "preserve conv5:34 on images/dogs/* kernels<=60 criterion=snip holdout=0"


def test_it_asks_for_the_test_that_measures_it():
    (alone,) = compiled(f"{LINE} stable>=90%").plan.circuits
    assert alone.stable == 0.9
    assert alone.tests == [Choice("stability", {"halvings": 3, "resamples": 100})]
    (both,) = compiled(f"{LINE} tests=[necessity(circuits=5), stability(halvings=9)] stable>=0.5").plan.circuits
    assert both.tests == [Choice("necessity", {"circuits": 5}), Choice("stability", {"halvings": 9, "resamples": 100})]
    assert [one.id for one in compiled(f"circuit face = {LINE} stable>=each(0.5, 1)").plan.circuits] == [
        "face-0.5",
        "face-1",
    ]
    assert compiled(f"{LINE} stable>=0.9").plan.circuits[0].id.endswith("stable0.9")


@pytest.mark.parametrize(
    ("clause", "code", "cure"),
    [
        ("stable=0.9", "E201", "write stable>=0.9"),
        ("stable>=90", "E203", "did you mean 90%?"),
        ("stable>=no", "E202", ""),
    ],
)
def test_mistakes(clause, code, cure):
    ((found, says),) = findings(f"{LINE} {clause}")
    assert found == code
    assert not cure or cure in says


def test_plans_without_it_keep_their_hashes_and_files():
    plain, more = compiled(LINE).plan, compiled(f"{LINE} stable>=0.9").plan
    # As it was before the clause.
    assert plain.identity(plain.circuits[0]) == "bb316d6f59b996cc32862068a34147aaa1099041c613307e0f9fdea49cf75666"
    assert fingerprint(plain) == "b68d2f3cc9dd6dd9be9b9c5cb378d3d6aab79c65804dd3f3ebde4fc9571c18fd"
    assert plain.basis(plain.circuits[0]) == more.basis(more.circuits[0])
    assert "stable" not in write_plan(plain)
    assert b"stable" not in msgspec.json.encode(plain.circuits[0])
    assert read_plan(Source("plan.yaml", write_plan(more)))[0] == more
    assert fingerprint(more) != fingerprint(plain)


@pytest.mark.slow
def test_a_run_keeps_stable_kernels_alone_and_reports_it(here, with_pages):
    ask = f"{RUN.replace('snip', 'annealed(passes=2)')} tests=stability(halvings=4)"
    expectations = "expect face.stability.share >= 0.8\nexpect plain.stability.share >= 0.99\n"
    spec = compiled(f"circuit plain = {ask}\ncircuit face = {ask} stable>=0.8\n{expectations}")
    pipeline.run_compiled(spec, here / "runs", Options(visualise=False))
    plain, face = read(here / "runs" / "plain"), read(here / "runs" / "face")
    failed = failed_assertions(spec.plan, {"plain": plain.summary, "face": face.summary}, spec.origins)
    assert [finding.circuit for finding in failed] == ["plain"]
    stable = {kernel for kernel, share in shares_of(plain).items() if share >= 0.8}
    assert 0 < len(stable) < 60
    # Those of them that are still connected.
    assert shares_of(face).keys() <= stable
    assert face.summary.kept == face.summary.effective == len(shares_of(face)) > 0
    assert face.summary.asked == 60
    for kernel, share in shares_of(face).items():
        assert share == shares_of(plain)[kernel]
    assert share_of(face) == pytest.approx(sum(shares_of(face).values()) / face.summary.kept, abs=1e-3)
    # Baselines are of its own size.
    same = compiled(f"circuit same = {RUN.replace('60', str(face.summary.kept)).replace('snip', 'random')}")
    pipeline.run_compiled(same, here / "same")
    assert read_summary(here / "same" / "same").judged.metrics == pytest.approx(
        face.summary.baselines["random"].metrics
    )
    shown = CliRunner().invoke(main, ["show", "--full", str(here / "runs" / "face")]).output
    note = f"60 kernels were allowed, but {face.summary.kept} of the best are in 80% of the circuits of other images."
    assert note in " ".join(shown.split())
    svg = (here / "runs" / "plain" / "diagram.svg").read_text()
    page = (here / "runs" / "plain" / "diagram.html").read_text()
    # The kernels of the image's colours are one edge.
    edges: dict[tuple[int, ...], list[float]] = {}
    for (place, target, source), share in shares_of(plain).items():
        edges.setdefault((place, target, source) if place else (place, target), []).append(share)
    few = sum(sum(shares) / len(shares) < UNSTABLE for shares in edges.values())
    assert few > 0
    assert len(re.findall(r'class="circuit-edge [^>]*stroke-dasharray', svg)) == few
    assert page.count('"unstable":true') == few
    for drawing, there in ((svg, True), (page, True), ((here / "runs" / "face" / "diagram.svg").read_text(), False)):
        assert ("in less than 50% of circuits of other images" in drawing) == there
    assert "in 100% of circuits of other images" in svg


def share_of(result) -> float:
    share = result.summary.tests["stability"].share
    assert isinstance(share, float)
    return share


def shares_of(result) -> dict[tuple[int, int, int], float]:
    return {
        (place, target, source): share
        for place, (layer, kernels) in enumerate(zip(result.summary.layers, result.circuit.kernels, strict=True))
        for target, source, share in zip(kernels.target.tolist(), kernels.source.tolist(), layer.shares, strict=True)
    }


# Passes over the images for the circuit itself and for its halvings, which share one for a one-pass criterion.
@pytest.mark.slow
@pytest.mark.parametrize(("criterion", "passes"), [("snip", 1 + 1), ("magnitude", 0), ("force(steps=2)", 2 + 2 * 2)])
def test_a_run_measures_as_much_as_its_plan_says(here, with_pages, monkeypatch, criterion, passes):
    monkeypatch.setattr(amounts, "STEPS", 1)
    spared = unmeasured_parts(monkeypatch)
    ask = RUN.replace("snip", criterion).replace(" holdout=0", "")
    spec = compiled(f"circuit face = {ask} stable>=0.5 tests=stability(halvings=2)\n")
    total, plain = (pipeline.forecast(one, here / "runs").total for one in (spec, compiled(f"circuit face = {ask}\n")))
    with counted() as count:
        pipeline.run_compiled(spec, here / "runs", Options(visualise=False))
    # One image is made to excite the feature in the network, which begins with one of sixteen.
    assert (count.forward + sum(spared), count.backward) == (total.forwarded + 17, total.returned + 1)
    own = {"snip": 1, "magnitude": 0}.get(criterion, 2)
    assert total.returned - plain.returned == 4 * (passes - own)


def test_where_it_cannot_be_measured(here):
    one = RUN.replace("images/dogs/*", "images/dogs/0.png")
    with pytest.raises(CircuitError) as caught:
        pipeline.run_compiled(compiled(f"circuit face = {one} stable>=0.5\n"), here / "runs")
    assert [(finding.code, finding.circuit) for finding in caught.value.findings] == [("E321", "face")]
    for structure in ("channel", "weight"):
        with pytest.raises(InputError) as refused:
            pipeline.run_compiled(compiled(f"{RUN} structure={structure} stable>=0.5\n"), here / "runs")
        assert [finding.code for finding in refused.value.findings] == ["E320"]
    text = write_plan(compiled(f"{RUN} stable>=0.5\n").plan)
    plan = here / "plan.yaml"
    asked = "    parameters:\n      halvings: 3\n      resamples: 100\n"
    plan.write_text(text.replace("name: stability", "name: equivalence").replace(asked, ""))
    result = CliRunner().invoke(main, ["run", str(plan)])
    assert "this version can't run stable without tests=stability" in result.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shares", "says"), [([2.0], "a share of layer conv5"), ([0.5] * 99, "shares of more kernels")]
)
def test_shares_that_cannot_be(here, shares, says):
    pipeline.run_compiled(compiled(f"circuit face = {RUN} tests=stability"), here / "runs")
    folder = here / "runs" / "face"
    content = json.loads((folder / "circuit.json").read_text())
    content["layers"][-1]["shares"] = shares
    (folder / "circuit.json").write_text(json.dumps(content))
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(InputError) as caught:
        read_summary(folder)
    assert says in str(caught.value.findings[0].label)
