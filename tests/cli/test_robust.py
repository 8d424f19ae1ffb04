"""`robust=`: from the spec to the plan, the run, its files and its reports."""

from __future__ import annotations

import json

import msgspec
import pytest
from click.testing import CliRunner

from benchmarks.sweep import counted
from circuitlang import pipeline
from circuitlang.base.diagnostics import InputError
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.engine.runtime.options import Options
from circuitlang.engine.visuals import amounts
from circuitlang.plan.normalize import fingerprint
from circuitlang.plan.yaml import read_plan, write_plan
from circuitlang.results.reader import read_summary
from tests.helpers.path_parts import unmeasured_parts
from tests.helpers.specs import compiled, findings

LINE = "preserve conv5:1 on a/* kernels<=7 criterion=snip"
RUN = "circuit face = preserve conv5:34 on images/dogs/* kernels<=20 criterion=magnitude"
ALL = ["zero", "mean", "resample", "optimal", "blur"]


def ways(clause: str):
    return compiled(f"{LINE} {clause}").plan.circuits[0].robust


def test_none_all_one_and_several():
    assert ways("") is ways("robust=none") is msgspec.UNSET
    assert ways("robust=all") == ALL
    assert ways("robust=blur") == ["blur"]
    assert ways("robust=[blur, zero]") == ["zero", "blur"]
    assert len(compiled(f"{LINE} robust=each(mean, blur)").plan.circuits) == 2


@pytest.mark.parametrize(
    ("clause", "code", "cure"),
    [
        ("robust=resampled", "E212", "did you mean 'resample'?"),
        ("robust=[blur, blur]", "E206", ""),
        ("robust=[blur, 3]", "E212", ""),
        ("robust<=blur", "E201", "write robust=blur"),
    ],
)
def test_mistakes(clause, code, cure):
    ((found, says),) = findings(f"{LINE} {clause}")
    assert found == code
    assert not cure or cure in says


def test_plans_without_it_keep_their_hashes_and_files():
    plain, more = compiled(LINE).plan, compiled(f"{LINE} robust=all").plan
    # As it was before the clause.
    assert plain.identity(plain.circuits[0]) == "bb316d6f59b996cc32862068a34147aaa1099041c613307e0f9fdea49cf75666"
    assert fingerprint(plain) == "b68d2f3cc9dd6dd9be9b9c5cb378d3d6aab79c65804dd3f3ebde4fc9571c18fd"
    assert plain.circuits[0].id == more.circuits[0].id
    assert plain.basis(plain.circuits[0]) == more.basis(more.circuits[0])
    assert "robust" not in write_plan(plain)
    assert b"robust" not in msgspec.json.encode(plain.circuits[0])
    assert read_plan(Source("plan.yaml", write_plan(more)))[0] == more
    assert fingerprint(more) != fingerprint(plain)


def test_what_is_expected():
    spec = f"circuit face = {LINE} robust=[blur, mean]\n"
    plan = compiled(f"{spec}expect face.robust.blur.pearson >= 0.5\nexpect face.robust.mean.r2.low >= 0\n").plan
    assert [expectation.measure for expectation in plan.expectations] == ["robust.blur.pearson", "robust.mean.r2.low"]
    assert findings(f"{spec}expect face.robust.resample.r2 >= 0\n") == [
        ("E116", "add robust=resample where face is preserved")
    ]
    ((code, _),) = findings(f"{spec}expect face.robust.blurr.r2 >= 0\n")
    assert code == "E116"


# Images beside those that are planned, with the clause and without it: `test_hypothesis_tests.py` says of which kind.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("clauses", "beside"),
    [("", 17), (" ablation=mean", 21), (" calibrate=bias", 17), (" structure=weight", 17), (" holdout=0", 1)],
)
def test_a_run_measures_as_much_as_its_plan_says(here, with_pages, monkeypatch, clauses, beside):
    monkeypatch.setattr(amounts, "STEPS", 1)
    spared = unmeasured_parts(monkeypatch)
    chosen = "[zero, resample, optimal, blur]" if "weight" in clauses else "all"
    spec = compiled(f"{RUN}{clauses} robust={chosen}\n")
    total = pipeline.forecast(spec, here / "runs").total
    with counted() as count:
        pipeline.run_compiled(spec, here / "runs", Options(visualise=False))
    assert (count.forward + sum(spared), count.backward) == (total.forwarded + beside, total.returned + 1)


@pytest.mark.slow
def test_a_run_reports_it(here, with_pages):
    spec = compiled(f"{RUN} robust=all\nexpect face.robust.resample.pearson >= 2\n")
    pipeline.run_compiled(spec, here / "runs", Options(visualise=False))
    pipeline.run_compiled(compiled(f"{RUN} ablation=mean\n"), here / "mean", Options(visualise=False))
    folder = here / "runs" / "face"
    summary, numbers = read_summary(folder), json.loads((folder / "metrics.json").read_text())
    full, page = CliRunner().invoke(main, ["show", "--full", str(folder)]).output, (folder / "report.html").read_text()
    assert summary.robust
    assert list(summary.robust) == ALL
    # The circuit itself, and the same kernels with means.
    assert summary.robust["zero"] == summary.judged
    mean = read_summary(here / "mean" / "face").judged
    assert summary.robust["mean"].metrics == pytest.approx(mean.metrics, abs=1e-5)
    for way, fidelity in summary.robust.items():
        assert numbers[f"robust.{way}.pearson"] == pytest.approx(fidelity.metrics["pearson"], abs=1e-6)
        assert f'data-key="robust.{way}.pearson">{fidelity.metrics["pearson"]:.3f}<' in page
        assert f" {way} " in full


def test_resampling_is_left_out_where_there_is_no_other_image(here):
    one = RUN.replace("images/dogs/*", "images/dogs/0.png") + " robust=[zero, resample]\n"
    pipeline.run_compiled(compiled(one), here / "runs")
    summary = read_summary(here / "runs" / "face")
    assert summary.robust
    assert list(summary.robust) == ["zero"]
    shown = CliRunner().invoke(main, ["show", "--full", str(here / "runs" / "face")]).output
    assert " resample " in shown


def test_single_weights_have_no_mean(here):
    with pytest.raises(InputError) as caught:
        pipeline.run_compiled(compiled(f"{RUN} structure=weight robust=mean\n"), here / "runs")
    assert [finding.code for finding in caught.value.findings] == ["E320"]
