"""Circuits of a class: what they do to the network's classification, in files, reports and expectations."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from benchmarks.sweep import counted
from circuitlang import pipeline
from circuitlang.base.diagnostics import InputError
from circuitlang.cli.main import main
from circuitlang.engine.runtime.options import Options
from circuitlang.engine.visuals import amounts
from circuitlang.reporting.text.verdict_sentences import classification
from circuitlang.results.assertions import failed_assertions
from circuitlang.results.reader import read_summary
from circuitlang.results.types import ClassChange
from tests.helpers.path_parts import unmeasured_parts
from tests.helpers.specs import compiled, findings

RUN = 'circuit dogs = preserve class("dogs") on images/dogs/* keep<=5% criterion=snip\n'


@pytest.mark.slow
def test_a_run_reports_the_classification(here, with_pages, monkeypatch):
    monkeypatch.setattr(amounts, "STEPS", 1)
    spared = unmeasured_parts(monkeypatch)
    spec = compiled(f"{RUN}expect dogs.class.agreement >= 0\nexpect dogs.class.circuit >= 1\n")
    total = pipeline.forecast(spec, here / "runs").total
    with counted() as count:
        pipeline.run_compiled(spec, here / "runs", Options(visualise=False))
    assert (count.forward + sum(spared), count.backward) == (total.forwarded + 17, total.returned + 1)
    folder = here / "runs" / "dogs"
    summary, numbers = read_summary(folder), json.loads((folder / "metrics.json").read_text())
    assert summary.classes
    for name in ("agreement", "network", "circuit"):
        assert numbers[f"class.{name}"] == pytest.approx(getattr(summary.classes, name), abs=1e-6)
    assert 0 < summary.classes.network < 1
    (failed,) = failed_assertions(spec.plan, {"dogs": summary}, spec.origins)
    assert failed.label.startswith("class.circuit is ")
    shown = " ".join(CliRunner().invoke(main, ["show", "--full", str(folder)]).output.split())
    same = f"top class stays the same on {summary.classes.agreement:.0f} of 1 images, and the mean probability of"
    assert same in shown
    assert same in (folder / "report.html").read_text()
    pairs = [("dogs", "cats", 3), ("dogs", "birds", 2), ("fish", "cats", 1), ("fish", "birds", 1)]
    confusion = [ClassChange(network=one, taken_for=other, images=images) for one, other, images in pairs]
    sentence = classification(replace(summary, classes=replace(summary.classes, confusion=confusion)))
    assert (
        "(it changes from dogs to cats on 3, from dogs to birds on 2, from fish to cats on 1 and otherwise on 1)"
        in sentence
    )
    # A whole circuit, but for kernels of score zero, leaves everything as it is.
    whole = compiled(RUN.replace("keep<=5%", "keep<=1"))
    pipeline.run_compiled(whole, here / "whole", Options(visualise=False))
    classes = read_summary(here / "whole" / "dogs").classes
    assert classes
    assert (classes.agreement, classes.circuit) == (1, pytest.approx(classes.network, abs=0.01))


@pytest.mark.slow
def test_other_targets_have_no_class(here):
    for name, target in (("margin", 'class("dogs") - class("cats")'), ("channel", "conv5:34")):
        spec = RUN.replace('class("dogs")', target).replace("circuit dogs", f"circuit {name}")
        assert findings(f"{spec}expect {name}.class.agreement >= 1") == [("E116", "preserve class(NUMBER)")]
        pipeline.run_compiled(compiled(spec), here / "runs")
        assert not read_summary(here / "runs" / name).classes
        assert b'"classes": {' not in (here / "runs" / name / "circuit.json").read_bytes()


def test_a_probability_that_cannot_be(here):
    pipeline.run_compiled(compiled(RUN), here / "runs")
    folder = here / "runs" / "dogs"
    content = json.loads((folder / "circuit.json").read_text())
    content["classes"]["network"] = 2.0
    (folder / "circuit.json").write_text(json.dumps(content))
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(InputError) as caught:
        read_summary(folder)
    assert "probability of its class" in caught.value.findings[0].label


@pytest.mark.slow
def test_outputs_that_are_no_numbers_are_not_compared(here):
    """A circuit's module has one output, a map."""
    pipeline.run_compiled(
        compiled("circuit face = preserve conv5:34 on images/dogs/* keep<=5% criterion=snip"), here / "runs"
    )
    module = 'model file("runs/face/module.pt2")\n'
    spec = compiled(f"{module}circuit inner = preserve class(0) on images/dogs/* keep<=50% criterion=snip")
    plain = compiled(f"{module}circuit inner = preserve conv5:0 on images/dogs/* keep<=50% criterion=snip")
    costs = [pipeline.forecast(one, here / "other").total.forwards for one in (spec, plain)]
    assert costs[0] == costs[1]
    pipeline.run_compiled(spec, here / "runs")
    summary = read_summary(here / "runs" / "inner")
    assert not summary.classes
