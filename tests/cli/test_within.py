"""`within=`: from the spec to the plan, the run, its files and its reports."""

from __future__ import annotations

from math import floor

import msgspec
import pytest
import torch
from click.testing import CliRunner

from benchmarks.sweep import counted
from circuitlang import pipeline
from circuitlang.base.diagnostics import SpecError
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.runtime.jobs import prepare
from circuitlang.engine.runtime.options import Options
from circuitlang.engine.runtime.work_selection import WorkSelection
from circuitlang.engine.visuals import amounts
from circuitlang.plan.yaml import read_plan, write_plan
from circuitlang.plugins.placements import Placement
from circuitlang.results.packed.circuits import PackedCircuits
from circuitlang.results.reader import read, read_summary
from circuitlang.results.run_listener import OutcomeList
from tests.helpers.path_parts import unmeasured_parts
from tests.helpers.specs import compiled, findings

FACE = "circuit face = preserve conv5:34 on images/dogs/* kernels<=60 criterion=snip\n"
ONE = "preserve conv5:34 on images/dogs/2.png criterion=snip"
WHY = f"{FACE}circuit why = {ONE} keep<=30% within=face\n"


def kernels_of(folder, connected: bool = False) -> set[tuple[int, int, int]]:
    circuit = read(folder).circuit
    return {
        (place, target, source)
        for place, layer in enumerate(circuit.kernels)
        for target, source, live in zip(layer.target.tolist(), layer.source.tolist(), layer.effective, strict=True)
        if live or not connected
    }


def test_the_plan_says_all_that_a_circuit_follows_from():
    plan = compiled(WHY).plan
    face, why = plan.circuits
    assert why.within == msgspec.structs.replace(face, statement="", origin={})
    assert [one.id for one in why.lineage] == ["why", "face"]
    assert read_plan(Source("plan.yaml", write_plan(plan)))[0] == plan
    other = compiled(WHY.replace("60", "61")).plan
    assert other.identity(other.circuits[1]) != plan.identity(why)
    # The other circuit's name has no say.
    renamed = compiled(WHY.replace("face", "snout")).plan
    assert renamed.identity(renamed.circuits[1]) == plan.identity(why)
    (unnamed,) = [one for one in compiled(f"{FACE}{ONE} keep<=30% within=face").plan.circuits if not one.name]
    assert unnamed.id == "conv5_34-snip-0.3-within_face"


@pytest.mark.parametrize(
    ("text", "code", "cure"),
    [
        (f"{FACE}{ONE} keep<=30% within=fase", "E115", "did you mean 'face'?"),
        (f"{FACE}{ONE} keep<=30% within=3", "E202", "as within=face"),
        (f"circuit why = {ONE} keep<=30% within=face\n{FACE}", "E141", "below"),
        (f"circuit why = {ONE} keep<=30% within=why", "E141", "below"),
        (FACE.replace("60", "each(60, 90)") + f"{ONE} keep<=30% within=face", "E140", "a name of its own"),
        (
            f"circuit two = split conv5:34 on images/dogs/* into 2 keep<=5%\n{ONE} keep<=30% within=two",
            "E140",
            "the images of a part",
        ),
        (f"{FACE}{ONE.replace('34', '35')} keep<=30% within=face", "E142", "preserve conv5:34 within it"),
        (
            "images dogs = images/dogs/*\nimages cats = images/cats/*\n"
            "circuit paw = preserve concept(dogs against cats) in conv5 on dogs keep<=1%\n"
            "preserve concept(dogs against cats) in conv5 on dogs keep<=9% within=paw",
            "E142",
            "a channel or a vector",
        ),
        (FACE.replace("snip", "snip structure=weight") + f"{ONE} keep<=30% within=face", "E221", "structure=weight"),
        (
            f"circuit c0 = {ONE} keep<=90%\n"
            + "".join(f"circuit c{n + 1} = {ONE} keep<=90% within=c{n}\n" for n in range(8)),
            "E222",
            "within fewer",
        ),
    ],
)  # fmt: skip
def test_mistakes(text, code, cure):
    ((found, says),) = findings(text)
    assert found == code
    assert cure in says


def test_a_circuit_with_mistakes_is_said_once():
    assert [code for code, _ in findings(WHY.replace("kernels<=60", "kernels<=0"))] == ["E203"]


def test_a_plan_by_hand_is_held_to_the_same():
    text = write_plan(compiled(WHY).plan)
    place = text.rindex("unit: 34")
    with pytest.raises(SpecError) as caught:
        read_plan(Source("plan.yaml", text[:place] + "unit: 35" + text[place + 8 :]))
    assert [finding.code for finding in caught.value.findings] == ["E142"]


@pytest.mark.slow
def test_a_run_finds_the_best_kernels_of_the_other_circuit(here, with_pages):
    spec = compiled(WHY.replace("within=face", "within=face refill=none"))
    pipeline.run_compiled(spec, here / "runs", Options(visualise=False))
    face, why = (here / "runs" / name for name in ("face", "why"))
    among, kept, summary = kernels_of(face, connected=True), kernels_of(why), read_summary(why)
    assert kept < among
    assert summary.relevant == sum(layer.relevant for layer in summary.layers) == len(among)
    assert summary.asked == len(kept) == floor(0.3 * len(among))
    assert summary.test is None
    # The strongest by the scores on that one image in the whole network.
    job = prepare(spec.plan, spec.folder, spec.origins, Options()).jobs[1]
    scores = score(Builder(job.subnetwork, job.train), "snip", {}, 0, 0)
    ranked = {
        (place, target, layer.input_channels()[target, column].item()): float(scores[layer.path][target, column])
        for place, layer in enumerate(job.subnetwork.layers)
        for target, column in scores[layer.path].nonzero().tolist()
    }
    best = sorted(among & ranked.keys(), key=lambda kernel: -ranked[kernel])[: len(kept)]
    assert set(best) == kept
    # And the network without it lacks no more than these.
    assert summary.without.metrics["error"] != pytest.approx(1, abs=1e-3)
    page, diagram = ((why / name).read_text() for name in ("report.html", "diagram.html"))
    assert 'kernels of <a class="beside" href="../face/report.html">face</a>' in page
    assert '<a href="../face/diagram.html">within face</a>' in diagram
    shown = CliRunner().invoke(main, ["show", str(why)]).output
    assert f"{len(kept)} of {len(among)} kernels of face" in shown


@pytest.mark.slow
def test_the_same_kernels_are_found_wherever_the_other_circuit_is(here):
    text = f"{WHY}circuit less = {ONE} kernels<=9 within=why\n"
    spec = compiled(text)
    pipeline.run_compiled(spec, here / "runs")
    expected = {name: kernels_of(here / "runs" / name) for name in ("why", "less")}
    assert expected["less"] < expected["why"]
    # Alone, with the others found beside; then all of them in one file.
    pipeline.run_compiled(spec, here / "alone", work=WorkSelection(only=("less",)))
    assert kernels_of(here / "alone" / "less") == expected["less"]
    assert not (here / "alone" / "why").exists()
    pipeline.run_compiled(spec, here / "packed", Options(packed=True))
    packed = PackedCircuits.read(here / "packed")
    assert packed.summary("less").relevant == len(expected["why"])
    (opened,) = pipeline.unpack(here / "packed", ["less"])
    assert kernels_of(opened) == expected["less"]
    # Nothing is found twice.
    heard = OutcomeList()
    pipeline.run_compiled(spec, here / "runs", Options(listener=heard))
    assert [outcome.cached for outcome in heard.outcomes] == [True] * 3


@pytest.mark.slow
def test_processes_find_the_other_circuit_first(here):
    pipeline.run_compiled(compiled(WHY), here / "runs")
    work = WorkSelection(placement=Placement(workers=2))
    pipeline.run_compiled(compiled(WHY), here / "jobs", work=work)
    for name in ("face", "why"):
        assert kernels_of(here / "jobs" / name) == kernels_of(here / "runs" / name)


@pytest.mark.slow
@pytest.mark.parametrize("criterion", ["snip", "force(steps=2)"])
def test_a_run_measures_as_much_as_its_plan_says(here, with_pages, monkeypatch, criterion):
    monkeypatch.setattr(amounts, "STEPS", 1)
    spared = unmeasured_parts(monkeypatch)
    spec = compiled(WHY.replace("snip", criterion))
    total = pipeline.forecast(spec, here / "runs").total
    with counted() as count:
        pipeline.run_compiled(spec, here / "runs", Options(visualise=False))
    # One image is made to excite the feature in the network, which begins with one of sixteen.
    assert (count.forward + sum(spared), count.backward) == (total.forwarded + 17, total.returned + 1)
    passes = 2 if criterion.startswith("force") else 1
    assert pipeline.forecast(compiled(WHY.replace("snip", criterion)), here / "new").circuits[1].relevant == 60
    assert total.returned >= passes * (4 + 1)


def test_a_circuit_within_one_of_another_size_is_another(here):
    before, after = here / "before.circuit", here / "after.circuit"
    before.write_text(WHY)
    after.write_text(WHY.replace("60", "50"))
    shown = CliRunner().invoke(main, ["diff", str(before), str(after)])
    assert "within" in shown.output
    assert shown.exit_code == 1


def test_scores_within_are_those_of_its_kernels_alone(here):
    spec = compiled(WHY)
    job = prepare(spec.plan, spec.folder, spec.origins, Options()).jobs[1]
    masks = {path: mask & (torch.rand(mask.shape) < 0.1) for path, mask in job.subnetwork.relevant.items()}
    whole, inside = (
        score(Builder(job.subnetwork, job.train, within=within), "snip", {}, 0, 0) for within in (None, masks)
    )
    for path, mask in masks.items():
        torch.testing.assert_close(inside[path], whole[path] * mask)
    single = Builder(job.subnetwork, job.train, structure="weight", within=masks)
    assert sum(int(mask.sum()) for mask in single.relevant.values()) == sum(
        int(mask.sum()) * job.subnetwork.weights[path][0, 0].numel() for path, mask in masks.items()
    )
