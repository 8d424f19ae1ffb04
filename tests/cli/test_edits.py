"""Edits: from the spec to the plan, the run, its files, its reports and what is expected."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as Xml

import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from circuitlang import pipeline
from circuitlang.base.diagnostics import CircuitError, InputError, SpecError
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.engine.circuits.interventions import EditedNetwork
from circuitlang.engine.models.sources.bundled import bundled
from circuitlang.engine.runtime.jobs import prepare
from circuitlang.engine.runtime.options import Options
from circuitlang.plan.diff import Side, difference
from circuitlang.plan.normalize import fingerprint
from circuitlang.plan.yaml import read_plan, write_plan
from circuitlang.results.edits import read_edit
from circuitlang.results.run_listener import OutcomeList
from tests.helpers.specs import compiled, findings

FACE = "circuit face = preserve conv5:34 on images/dogs/* kernels<=20 criterion=magnitude\n"
LESION = 'edit lesion = face scale=0 on images/dogs/* measure conv5:34, class("dogs"), classes\n'
CUT = "edit cut = conv5:34 <- conv4:45 scale=0 on images/dogs/* measure conv5:34\n"
SWAPPED = "edit swapped = conv4:[45, 53] patch=images/dogs/1.png on images/dogs/* measure conv5:34@max\n"


def run(spec: str, folder, **options) -> OutcomeList:
    heard = OutcomeList()
    pipeline.run_compiled(compiled(spec), folder, Options(visualise=False, listener=heard, **options))
    return heard


def call(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    return result.output


def test_plans_without_edits_keep_their_hashes_and_files():
    plain, more = compiled(FACE).plan, compiled(FACE + LESION).plan
    assert "edits" not in write_plan(plain)
    assert b"edits" not in msgspec.json.encode(plain)
    assert fingerprint(plain) != fingerprint(more)
    assert plain.identity(plain.circuits[0]) == more.identity(more.circuits[0])
    assert fingerprint(compiled(FACE + LESION.replace("lesion", "without")).plan) != fingerprint(plain)


def test_a_plan_is_read_back():
    spec = FACE + LESION + CUT + SWAPPED + "expect lesion[conv5:34].change <= -0.1\nexpect cut.pearson <= 1\n"
    spec += 'group "dog face" = conv4:[45, 53]\nedit named = "dog face" scale=2 on images/dogs/* measure classes\n'
    plan = compiled(spec).plan
    assert read_plan(Source("plan.yaml", write_plan(plan)))[0] == plan
    assert [(one.edit, one.measure) for one in plan.expectations] == [
        ("lesion", "conv5:34.change"),
        ("cut", "conv5:34.pearson"),
    ]


@pytest.mark.parametrize(
    ("before", "after", "code", "says"),
    [
        ("name: lesion", "name: ../x", "E311", "can't be part of the name of a folder"),
        ("name: lesion", "name: a/b", "E311", "can't be part of the name of a folder"),
        ("name: cut", "name: lesion", "E311", "occurs twice"),
        ("circuit: face", "circuit: nobody", "E115", "unknown circuit 'nobody'"),
        ("  patch: images/dogs/1.png", "  patch: images/others/*", "E101", "unknown image set 'images/others/*'"),
        ("scale: 0.0\n  images: images/dogs/*", "scale: 0.0\n  images: nowhere", "E101", "unknown image set 'nowhere'"),
        ("  scale: 0.0\n", "", "E216", "needs a scale or a patch"),
        ("  patch: images/dogs/1.png\n", "  patch: images/dogs/1.png\n  scale: 1\n", "E216", "and not both"),
        ("    - 45\n", "    - 53\n", "E311", "has no channels, or one twice"),
        ("edit: lesion", "edit: nothing", "E115", "unknown edit 'nothing'"),
        ("circuits: []\n  measure", "circuits: [face]\n  measure", "E311", "about circuits, or about an edit"),
        ("scale: 0.0", "scale: .nan", "E311", "a number is not finite"),
        ("kind: kernel", "kind: module", "E311", "invalid value 'module'"),
        ("source: 7", "source: seven", "E311", "expected `int`"),
    ],
)  # fmt: skip
def test_a_plan_with_a_mistake_is_refused(before, after, code, says):
    spec = FACE + LESION + CUT.replace("conv4:45", "conv4:7") + SWAPPED + "expect lesion[conv5:34].change <= -0.1\n"
    text = write_plan(compiled(spec).plan)
    assert before in text
    with pytest.raises(SpecError) as caught:
        read_plan(Source("plan.yaml", text.replace(before, after)))
    finding = next(one for one in caught.value.findings if one.code == code)
    assert says in finding.message
    assert finding.span


@pytest.mark.slow
def test_a_run_measures_edits_and_does_not_measure_them_again(here, with_pages):
    heard = run(FACE + LESION + CUT + SWAPPED, here / "runs")
    assert [(status.name, status.cached) for status in heard.edits] == [
        ("lesion", False), ("cut", False), ("swapped", False),
    ]  # fmt: skip
    lesion = read_edit(here / "runs" / "edit-lesion")
    assert (lesion.edited, lesion.noun, lesion.images, lesion.target) == (20, "kernel", 5, "conv5:34")
    assert lesion.responses[0].change is not None
    assert lesion.responses[0].change < -0.1
    assert lesion.responses[0].interval is not None
    assert lesion.responses[0].interval[0] < lesion.responses[0].change < lesion.responses[0].interval[1]
    assert "pearson" in lesion.responses[0].fidelity.intervals
    assert lesion.classes is not None
    assert sum(changed.top[0] for changed in lesion.classes.changed) == 5
    index = (here / "runs" / "index.html").read_text()
    assert 'href="edit-lesion/report.html"' in index
    for name in ("lesion", "cut", "swapped"):
        assert {path.name for path in (here / "runs" / f"edit-{name}").iterdir()} == {
            "SHA256SUMS", "edit.json", "report.html", "report.txt",
        }  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in (here / "runs").glob("edit-*/*")}
    again = run(FACE + LESION + CUT + SWAPPED, here / "runs")
    assert [status.cached for status in again.edits] == [True, True, True]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    # Another scale is another edit, and a damaged file is made again.
    (here / "runs" / "edit-cut" / "report.txt").write_text("")
    last = run(FACE + LESION.replace("scale=0", "scale=0.5") + CUT + SWAPPED, here / "runs")
    assert [status.cached for status in last.edits] == [False, False, True]
    halved = read_edit(here / "runs" / "edit-lesion").responses[0].change
    assert halved is not None
    assert lesion.responses[0].change < halved < 0


def test_an_edit_is_measured_again_when_its_circuit_changes(here, numbers_alone):
    run(FACE + LESION, here / "runs")
    first = read_edit(here / "runs" / "edit-lesion")
    heard = run(FACE.replace("kernels<=20", "kernels<=40") + LESION, here / "runs")
    assert [status.cached for status in heard.edits] == [False]
    second = read_edit(here / "runs" / "edit-lesion")
    assert (first.edited, second.edited) == (20, 40)


def test_a_kept_single_weight_is_edited_alone(here, numbers_alone):
    spec = FACE.replace("criterion=magnitude", "criterion=magnitude structure=weight")
    run(spec + LESION, here / "runs")
    lesion = read_edit(here / "runs" / "edit-lesion")
    assert (lesion.noun, lesion.edited) == ("weight", 20)


def test_a_group_that_is_renamed_is_not_measured_again(here, numbers_alone):
    spec = 'group "dog face" = conv4:[45, 53]\nedit lesion = "dog face" scale=0 on images/dogs/* measure conv5:34\n'
    run(spec, here / "runs")
    heard = run(spec.replace("dog face", "snout"), here / "runs")
    assert [status.cached for status in heard.edits] == [True]
    assert 'edit lesion = "snout"' in read_edit(here / "runs" / "edit-lesion").plan.statement


def test_a_run_of_edits_alone(here, with_pages):
    (here / "alone.circuit").write_text(CUT + SWAPPED)
    said = call("run", "alone.circuit", "--out", "out")
    assert "edit cut" in said
    assert "Without the kernel conv5:34 <- conv4:45" in said
    assert "finished before" in call("run", "alone.circuit", "--out", "out")
    shown = call("show", "out/alone")
    assert "edit cut" in shown
    assert "edit swapped" in shown
    assert "edit swapped" in call("show", "out/alone/edit-swapped")
    assert "edit swapped" in call("show", "edit-swapped", "--out", "out")
    assert call("check", "alone.circuit") == "alone.circuit: 0 circuits and 2 edits, no mistakes\n"
    events = [json.loads(line) for line in call("run", "alone.circuit", "--progress", "json").splitlines()]
    edited = [event for event in events if event["event"] == "edited"]
    assert [(event["name"], event["state"]) for event in edited] == [("cut", "finished"), ("swapped", "finished")]


def test_expectations_about_edits(here, numbers_alone):
    (here / "run.circuit").write_text(
        FACE + LESION + "expect lesion[conv5:34].change <= -0.05\nexpect lesion.same_top >= 1.5\n"
        "expect lesion[conv5:34].pearson.low <= 1\n"
    )
    said = call("run", "run.circuit", "--junit", "junit.xml", "--summary", "summary.json", code=1)
    assert "error[E330]: lesion is not as expected" in said
    assert "expected >= 1.5" in said
    suite = Xml.parse(here / "junit.xml").getroot()[0]
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert cases["lesion"].get("classname") == "run.edits"
    assert cases["lesion: same_top >= 1.5"].find("failure") is not None
    assert cases["lesion: conv5:34.change <= -0.05"].find("failure") is None
    summary = json.loads((here / "summary.json").read_text())
    (edit,) = summary["edits"]
    assert (edit["name"], edit["state"]) == ("lesion", "measured")
    assert edit["numbers"]["conv5:34.change"] < -0.05
    assert not summary["passed"]


def test_the_plan_counts_the_images_that_go_through_the_network(here, numbers_alone, monkeypatch):
    spec = compiled(LESION.replace("face", "conv4:[45, 53]") + CUT + SWAPPED)
    planned = pipeline.forecast(spec, here / "runs").total.forwarded
    passed, original = [], EditedNetwork.values

    def values(self, images: torch.Tensor, others: torch.Tensor | None = None):
        passed.append(len(images) + (0 if others is None else len(others)))
        return original(self, images, others)

    monkeypatch.setattr(EditedNetwork, "values", values)
    pipeline.run_compiled(spec, here / "runs")
    assert sum(passed) == planned == 2 * 5 + 2 * 5 + 3 * 5
    there = pipeline.forecast(spec, here / "runs")
    assert [edit.state for edit in there.edits] == ["finished"] * 3
    assert there.total.forwarded == 0


def test_an_edit_waits_for_its_circuit(here, numbers_alone):
    (here / "run.circuit").write_text(FACE + FACE.replace("face", "other") + LESION)
    said = call("run", "run.circuit", "--only", "other")
    assert "edit lesion waits for face" in said


def test_a_packed_run_refuses_edits(here):
    with pytest.raises(InputError) as caught:
        pipeline.run_compiled(compiled(FACE + LESION), here / "runs", Options(packed=True))
    (finding,) = caught.value.findings
    assert (finding.code, finding.message) == ("E368", "a packed run can't have edits")
    assert finding.span


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("edit cut = conv5:34 <- conv2:7 scale=0 on images/dogs/* measure conv5:34", "E132", "conv5:34 <- conv2:7"),
        ("edit cut = conv1:0 <- image:7 scale=0 on images/dogs/* measure conv5:34", "E111", "conv1:0 <- image:7"),
        ("edit cut = conv1:0 scale=0 on images/dogs/* measure class(99)", "E126", "99"),
        ("edit cut = conv1:0 scale=0 on images/nothing/* measure conv5:34", "E302", "images/nothing/*"),
        ("edit cut = conv1:0 scale=0 on images/dogs/* measure conv5:34@(90, 1)", "E125", "34"),
    ],
)
def test_what_only_the_network_and_the_files_tell(here, line, code, words):
    with pytest.raises(CircuitError) as caught:
        pipeline.run_compiled(compiled(line), here / "runs")
    (finding,) = caught.value.findings
    assert finding.code == code
    assert finding.span
    assert finding.span.text == words


def test_a_word_of_the_language():
    assert "measure what becomes of features" in call("explain", "edit")


def test_mistakes_of_a_spec_are_found_together():
    found = findings(
        "edit a = nobody scale=0 on images/dogs/* measure conv9:1\nedit b = conv4:3 on cats measure classes\n"
    )
    assert sorted(code for code, _ in found) == ["E101", "E102", "E115", "E216"]


def test_what_differs_between_two_plans():
    def lines(before: str, after: str) -> list[tuple[str, str, str, list[tuple[str, str, str]]]]:
        sides = (Side(plan.plan, plan.origins, plan.folder) for plan in (compiled(before), compiled(after)))
        return [
            (
                part.part,
                part.kind,
                part.before or part.after,
                [(one.name, one.before, one.after) for one in part.changes],
            )
            for part in difference(*sides)[0]
        ]

    spec = FACE + LESION + CUT
    assert lines(spec, spec.replace("scale=0", "  scale=0.0")) == []
    assert lines(spec, FACE + LESION) == [("edit", "removed", "cut", [])]
    assert lines(FACE, FACE + LESION) == [("edit", "added", "lesion", [])]
    changed = spec.replace("conv4:45", "conv4:53").replace("cut = conv5:34", "cut = conv5:3")
    assert lines(spec, changed) == [
        ("edit", "changed", "cut", [("part", "conv5:34 <- conv4:45", "conv5:3 <- conv4:53")])
    ]
    assert lines(spec, spec.replace(", classes", "")) == [("edit", "changed", "lesion", [("classes", "true", "false")])]
    expected = "expect lesion[conv5:34].change <= -0.5\n"
    (last,) = lines(spec + expected, spec + expected.replace("-0.5", "-0.9"))
    assert last == ("expectation", "changed", "lesion.conv5:34.change", [("value", "<= -0.5", "<= -0.9")])


def test_a_lock_holds_edits(here):
    spec = here / "run.circuit"
    spec.write_text(FACE + CUT)
    call("lock", "run.circuit")
    spec.write_text(FACE + CUT.replace("scale=0", "scale=0.5"))
    said = call("run", "run.circuit", "--locked", code=1)
    assert "what is compared, edited or expected has changed" in said


def float64_maps(images, kept: float = 1.0) -> np.ndarray:
    """The maps of conv5 in float64, channels 45 and 53 of conv4 multiplied by a factor, by hooks on the network."""
    model, seen = bundled("doodle", {}, Path).module.double().eval(), []

    def scaled(_module, _inputs, y):
        factor = torch.ones(y.shape[1], dtype=y.dtype)
        factor[[45, 53]] = kept
        return y * factor[:, None, None]

    hooks = [
        model.conv4.register_forward_hook(scaled),
        model.conv5.register_forward_hook(lambda _m, _i, y: seen.append(y)),
    ]
    with torch.no_grad():
        for batch in images.batches(""):
            model(batch.double())
    for hook in hooks:
        hook.remove()
    return torch.cat(seen).numpy()


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_a_direction_from_a_file_is_measured_with_its_bias_and_relu(here, rectified, named):
    weights = np.random.default_rng(0).normal(size=64).astype(np.float32)
    np.save(here / "v.npy", weights)
    vector = f'vector("v.npy", bias=-0.25{", activation=relu" if rectified else ""}) in conv5'
    measured = "v" if named else vector
    spec = f"target v = {vector}\n" if named else ""
    spec += f"edit swap = conv4:[45, 53] scale=0.5 on images/dogs/* measure {measured}, conv5:3\n"
    spec += f"expect swap[{measured}].change <= 9\n"
    run(spec, here / "runs")
    plan = compiled(spec)
    images = prepare(plan.plan, here, plan.origins, Options()).sets["images/dogs/*"][0]
    response = read_edit(here / "runs" / "edit-swap").responses[0]
    assert response.target == "vector(v.npy) in conv5"
    for mean, kept in ((response.before, 1.0), (response.after, 0.5)):
        maps = np.einsum("nchw,c->nhw", float64_maps(images, kept), weights.astype(np.float64)) - 0.25
        assert mean == pytest.approx((maps.clip(0) if rectified else maps).mean(), rel=1e-4)
    assert response.change == pytest.approx((response.after - response.before) / abs(response.before))
