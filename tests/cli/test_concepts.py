"""Concepts as targets: their probes, what they are fitted on, what they cost, and where their accuracy stands."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from circuitlang import pipeline
from circuitlang.base.diagnostics import InputError, SpecError
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.engine.circuits.interventions import EditedNetwork
from circuitlang.engine.models.sources.bundled import bundled
from circuitlang.engine.runtime.jobs import prepare
from circuitlang.engine.runtime.options import Options
from circuitlang.plan.diff import Side, difference
from circuitlang.plan.normalize import fingerprint
from circuitlang.plan.yaml import read_plan, write_plan
from circuitlang.reporting.text.circuit_sentences import circumstances, notes
from circuitlang.results.assertions import failed_assertions
from circuitlang.results.edits import read_edit
from circuitlang.results.forecast import Cost
from circuitlang.results.packed.circuits import PackedCircuits
from circuitlang.results.reader import read_summary
from circuitlang.results.run_listener import OutcomeList
from circuitlang.results.types import Probe
from circuitlang.results.validation import UnsoundError, sound_summary
from tests.conftest import draw_pictures
from tests.helpers.reference_probe import naive_probe
from tests.helpers.specs import compiled

CONCEPT = "concept(images/dogs/* against images/cats/*) in conv5"
STRICT = CONCEPT.replace("cats/*)", "cats/*, penalty=2)")
OWN = f"circuit own = preserve {CONCEPT} on images/dogs/* kernels<=20 criterion=magnitude\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with ten dogs and eight cats, to stand in."""
    draw_pictures(tmp_path, "dogs", 10)
    draw_pictures(tmp_path, "cats", 8)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(spec: str, folder: Path, **options) -> None:
    pipeline.run_compiled(compiled(spec), folder, Options(visualise=False, **options))


def probe_of(folder: Path) -> Probe:
    probe = read_summary(folder).probe
    assert probe
    return probe


def direction(probe: Probe) -> np.ndarray:
    return np.frombuffer(base64.b64decode(probe.direction), "<f4")


def prepared(spec: str, here: Path):
    plan = compiled(spec)
    return prepare(plan.plan, here, plan.origins, Options())


def means(images) -> np.ndarray:
    """The means of the maps of conv5, by a hook on the network."""
    model, seen = bundled("doodle", {}, Path).module.eval(), []
    model.conv5.register_forward_hook(lambda _m, _i, y: seen.append(y.double().mean((2, 3))))
    with torch.no_grad():
        for batch in images.batches(""):
            model(batch)
    return torch.cat(seen).numpy()


def test_the_direction_is_that_of_a_naive_probe_on_the_means_of_the_maps(here, numbers_alone):
    run(OWN.replace("cats/*)", "cats/*, penalty=0.5)"), here / "runs")
    probe, job = probe_of(here / "runs" / "own"), prepared(OWN, here).jobs[0]
    assert (probe.held_out, probe.fitted, probe.penalty) == ((2, 2), (8, 6), 0.5)
    dogs, cats = job.train, prepared(OWN, here).sets["images/cats/*"][0]
    kept, out = cats.split(0.2, 0)
    x = np.concatenate([means(dogs), means(kept)])
    coefficients, intercept = naive_probe(x, np.arange(14) < 8, 0.5)
    np.testing.assert_allclose(direction(probe), coefficients, rtol=1e-3, atol=1e-5 * np.abs(coefficients).max())
    odds = [means(images) @ coefficients + intercept for images in (job.test, out)]
    assert probe.right == (int((odds[0] > 0).sum()), int((odds[1] <= 0).sum()))
    assert probe.accuracy == (probe.right[0] / 2 + probe.right[1] / 2) / 2


def test_the_accuracy_stands_in_files_reports_and_expectations(here, with_pages):
    spec = compiled(f"{OWN}expect own.probe_accuracy >= 0\nexpect own.probe_p >= 1.5\n")
    pipeline.run_compiled(spec, here / "runs", Options(visualise=False))
    folder = here / "runs" / "own"
    summary, numbers = read_summary(folder), json.loads((folder / "metrics.json").read_text())
    probe = probe_of(folder)
    assert numbers["probe_accuracy"] == pytest.approx(probe.accuracy, abs=1e-6)
    assert numbers["probe_p"] == pytest.approx(probe.p, abs=1e-6)
    (failed,) = failed_assertions(spec.plan, {"own": summary}, spec.origins)
    assert failed.label.startswith("probe_p is ")
    shown = " ".join(CliRunner().invoke(main, ["show", "--full", str(folder)]).output.split())
    told = f"tells {probe.accuracy:.0%} of held-out images right, where chance is 50%"
    assert told in shown
    assert told in (folder / "report.html").read_text()
    # Four images, two of either side, can't be told from chance at the level of 5%.
    assert "can't be told" in shown
    assert "can&#39;t be told" in (folder / "report.html").read_text()
    assert "few images for the probe" in circumstances(summary)


@pytest.mark.slow
def test_a_whole_circuit_is_the_sum_by_the_direction(here):
    """The extracted module has the direction too; the run compares it with the masked network."""
    run(OWN.replace("kernels<=20", "keep<=1 refill=none"), here / "runs")
    summary = read_summary(here / "runs" / "own")
    assert summary.judged.metrics["pearson"] > 0.999
    module = torch.export.load(here / "runs" / "own" / "module.pt2").module()
    job = prepared(OWN, here).jobs[0]
    (batch,) = job.test.batches("")
    with torch.no_grad():
        maps = EditedNetwork(job.subnetwork.graph, ["conv5"]).values(batch)["conv5"]
        own = module(batch)
    expected = (maps * torch.tensor(direction(probe_of(here / "runs" / "own")))[:, None, None]).sum(1, keepdim=True)
    assert torch.corrcoef(torch.stack([own.flatten(), expected.flatten()]))[0, 1] > 0.999


MORE = "".join(
    f"circuit {name} = preserve {target} on images/dogs/* kernels<={size} criterion={criterion}\n"
    for name, target, size, criterion in (
        ("b", CONCEPT, 30, "magnitude"), ("c", f"{CONCEPT}@max", 20, "random"), ("d", STRICT, 20, "magnitude"),
    )
)  # fmt: skip
SEEDED = OWN.replace("kernels", "seed=3 kernels")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "images"),
    [
        (OWN, 18),
        # Another size, another criterion and another place share a probe; another penalty has its own.
        (OWN + MORE, 36),
        (f"{OWN}edit a = conv4:3 scale=0 on images/dogs/* measure {CONCEPT}\n", 18),
        (f"{OWN}edit a = own scale=0 on images/cats/* measure {CONCEPT}@max, conv5:3\n", 18),
        (f"edit a = conv4:3 scale=0 on images/cats/* measure {CONCEPT}@max, {CONCEPT}, {STRICT}\n", 36),
        # An edit of a circuit measures by its direction; others hold out other images than this circuit.
        (f"{SEEDED}edit a = own scale=0 on images/cats/* measure {CONCEPT}\n", 18),
        (f"{SEEDED}edit a = conv4:3 scale=0 on images/cats/* measure {CONCEPT}\n", 36),
        # The images of both sets are the concept's, and are run once.
        (OWN.replace("images/cats/*", "images/*/*"), 18),
        (OWN.replace("images/cats/*", "images/dogs/* as blurred(4)"), 20),
    ],
)
def test_a_plan_counts_the_passes_of_probes(here, numbers_alone, monkeypatch, spec, images):
    """One forward pass over every image of both sets for each probe, beside what a vector costs."""
    seen: list[int] = []
    values = EditedNetwork.values
    monkeypatch.setattr(
        EditedNetwork, "values", lambda self, batch, others=None: seen.append(len(batch)) or values(self, batch, others)
    )
    np.save(here / "v.npy", np.ones(64, np.float32))
    np.save(here / "w.npy", np.ones(64, np.float32))
    plain = re.sub(r"concept\([^)]*penalty=2\)", 'vector("w.npy")', spec)
    plain = re.sub(r"concept\((?:[^()]|\(4\))*\)", 'vector("v.npy")', plain)

    def total(text: str, folder: str) -> Cost:
        return pipeline.forecast(compiled(text), here / folder).total

    before = total(spec, "runs") - total(plain, "runs")
    operations = sum(
        2 * side**2 * out * into * size**2
        for side, out, into, size in ((32, 16, 3, 7), (16, 32, 16, 5), (8, 64, 32, 3), (8, 64, 64, 3), (8, 64, 64, 3))
    )
    assert (before.forwarded, before.measuring, before.passes) == (images, images * operations, 0)
    run(spec, here / "runs")
    edited = {kind: 2 * (f"on images/{kind}/* measure" in spec) for kind in ("dogs", "cats")}
    assert sum(seen) == images + 10 * edited["dogs"] + 8 * edited["cats"]
    assert total(spec, "runs") == Cost()
    # A probe in the cache costs nothing.
    run(plain, here / "plain")
    assert total(spec, "again") == total(plain, "again")


def test_the_images_that_a_circuit_is_judged_by_are_held_out_of_its_probe(here):
    everything = "images/*/*"
    few = "[images/dogs/0.png, images/dogs/1.png]"
    for spec in (
        OWN,
        OWN.replace("on images/dogs/*", f"on {everything}"),
        OWN.replace("on images/dogs/*", f"on {everything} seed=5 holdout=25%"),
        OWN.replace("on images/dogs/*", f"on images/cats/* contrast={everything}").replace("magnitude", "actgrad"),
        OWN.replace("on images/dogs/*", f"on images/cats/* test={few}"),
        OWN.replace("images/cats/*", f"{everything} as grey"),
    ):
        (job,) = prepared(spec, here).jobs
        images = job.probe.images
        judged = {*(job.test.contents if job.test else ()), *(job.contrast_test.contents if job.contrast_test else ())}
        assert judged
        fitted, out = (
            {content for side, flags in zip(images.sets, images.held_out, strict=True)
             for content, is_out in zip(side.contents, flags, strict=True) if is_out == held}
            for held in (False, True)
        )  # fmt: skip
        assert not fitted & judged
        assert not fitted & out
        assert all(any(flags) and not all(flags) for flags in images.held_out)


def test_names_have_no_say_and_contents_do(here):
    named = f"images d = images/dogs/*\nimages c = images/cats/*\ntarget t = {CONCEPT}\n"
    specs = {
        "own": OWN,
        "named": named + OWN.replace(CONCEPT, "concept(d against c) in conv5"),
        "target": named + OWN.replace(CONCEPT, "t"),
        "penalty": OWN.replace(CONCEPT, STRICT),
        "seed": OWN.replace("kernels", "seed=1 kernels"),
        "layer": OWN.replace("conv5", "relu5"),
    }
    prints = {name: fingerprint(compiled(spec).plan) for name, spec in specs.items()}
    assert prints["own"] == prints["named"] == prints["target"]
    assert len({*prints.values()}) == 4
    runs = {name: prepared(spec, here) for name, spec in specs.items()}
    identities = {name: one.jobs[0].provenance.identity for name, one in runs.items()}
    assert identities["own"] == identities["named"] == identities["target"]
    assert len({*identities.values()}) == 4
    probes = {name: one.jobs[0].probe.cache for name, one in runs.items()}
    assert probes["own"] == probes["named"]
    assert len({*probes.values()}) == 4
    # Another cat is another concept.
    (here / "images" / "cats" / "0.png").write_bytes((here / "images" / "dogs" / "0.png").read_bytes())
    assert prepared(OWN, here).jobs[0].provenance.identity != identities["own"]


def test_a_difference_names_the_concept_or_its_images_once(here):
    def changes(before: str, after: str) -> list[tuple[str, list[tuple[str, str, str]]]]:
        found, _ = difference(Side(compiled(before).plan), Side(compiled(after).plan))
        return [(one.part, [(change.name, change.before, change.after) for change in one.changes]) for one in found]

    assert changes(OWN, OWN.replace(CONCEPT, STRICT)) == [("circuit", [("target", CONCEPT, STRICT)])]
    sets = "images c = images/cats/*{}\n" + OWN.replace("images/cats/*", "c")
    assert changes(sets.format(""), sets.format(" limit=5")) == [("image set", [("limit", "", "5")])]
    assert changes(OWN, OWN) == []


@pytest.mark.parametrize(
    ("concept", "clauses", "code", "says"),
    [
        ("images/dogs/* against images/dogs/?.png", "", "E135", "nothing is left"),
        ("[images/dogs/0.png, images/dogs/1.png] against images/cats/*", "", "E136", "has too few images"),
        ("images/dogs/* against [images/cats/0.png, images/cats/1.png]", "", "E136", "has too few images"),
        ("images/dogs/* against images/cats/*", "test=images/cats/*", "E136", "are left to fit a probe on"),
    ],
)
def test_too_few_images_are_refused_at_the_concept(here, concept, clauses, code, says):
    spec = f"preserve concept({concept}) in conv5 on images/dogs/* keep<=10% {clauses}\n"
    with pytest.raises(InputError) as caught:
        run(spec, here / "runs")
    (finding,) = caught.value.findings
    assert (finding.code, finding.span.text) == (code, f"concept({concept})")
    assert says in finding.message
    assert finding.help


def test_an_edit_measures_by_the_direction_of_its_circuit_and_others_by_one_of_their_own(here, numbers_alone):
    """A circuit that holds out other images than usual has another direction."""
    seeded = OWN.replace("kernels", "seed=3 kernels")
    spec = f"{seeded}edit less = own scale=0 on images/cats/* measure {CONCEPT}@center, {CONCEPT}\n"
    spec += f"edit cut = conv4:3 scale=0 on images/cats/* measure {CONCEPT}\n"
    run(spec, here / "runs")
    ready, plain = prepared(spec, here), prepared(OWN, here)
    own, usual = (direction(one.jobs[0].probe.result) for one in (ready, plain))
    assert np.abs(own - usual).max() > 1e-3
    cats = means(ready.sets["images/cats/*"][0])
    less, cut = (read_edit(here / "runs" / f"edit-{name}") for name in ("less", "cut"))
    assert less.responses[1].before == pytest.approx((cats @ own).mean(), rel=1e-3)
    assert cut.responses[0].before == pytest.approx((cats @ usual).mean(), rel=1e-3)
    assert less.responses[0].before != pytest.approx(less.responses[1].before, rel=1e-3)


def test_edits_are_the_same_whatever_their_image_sets_are_called(here, numbers_alone):
    spec = f"edit cut = conv4:3 scale=0 on images/cats/* measure {CONCEPT}\n"
    run(spec, here / "runs")
    heard = OutcomeList()
    renamed = "images d = images/dogs/*\n" + spec.replace("images/dogs/* against", "d against")
    run(renamed, here / "runs", listener=heard)
    assert [status.cached for status in heard.edits] == [True]
    (here / "images" / "dogs" / "0.png").unlink()
    run(renamed, here / "runs", listener=(again := OutcomeList()))
    assert [status.cached for status in again.edits] == [False]


def test_a_plan_is_read_back_and_its_mistakes_are_found(here):
    spec = OWN.replace("in conv5", "in conv5@(3, 4)").replace("cats/*)", "cats/*, penalty=2)")
    text = write_plan(compiled(spec + f"edit cut = conv4:3 scale=0 on images/dogs/* measure {CONCEPT}\n").plan)
    assert write_plan(read_plan(Source("plan.yaml", text))[0]) == text
    for before, after, code in (
        ("against: images/cats/*\n    penalty: 2.0", "against: nowhere\n    penalty: 2.0", "E101"),
        ("against: images/cats/*\n    penalty: 0.1", "against: nowhere\n    penalty: 0.1", "E101"),
        ("penalty: 2.0", "penalty: 0", "E311"),
        ("penalty: 2.0", "penalty: -1", "E311"),
        ("penalty: 2.0", "penalty: .inf", "E311"),
        ("kind: concept", "kind: conception", "E311"),
    ):
        assert before in text
        with pytest.raises(SpecError) as caught:
            read_plan(Source("plan.yaml", text.replace(before, after, 1)))
        assert [(finding.code, finding.span is not None) for finding in caught.value.findings] == [(code, True)]


def test_a_packed_run_keeps_the_probe(here, numbers_alone):
    pytest.importorskip("pyarrow")
    run(OWN, here / "packed", packed=True)
    packed = PackedCircuits.read(here / "packed").summary("own")
    run(OWN, here / "runs")
    assert packed.probe == probe_of(here / "runs" / "own")
    assert packed.flat()["probe_accuracy"] == probe_of(here / "runs" / "own").accuracy


def test_a_probe_at_chance_is_said_to_be_so(here, numbers_alone):
    """Both sets have as many dogs as cats: nothing tells one from the other."""
    mixed = [f"images/{kind}/{number}.png" for kind in ("dogs", "cats") for number in range(8)]
    sides = (f"[{', '.join(mixed[start::2])}]" for start in (0, 1))
    spec = OWN.replace("images/dogs/* against images/cats/*", " against ".join(sides))
    run(spec.replace("kernels", "holdout=50% kernels"), here / "runs")
    summary = read_summary(here / "runs" / "own")
    assert summary.probe
    assert summary.probe.p > 0.05
    assert any("is no better than chance" in note for note in notes(summary))
    assert "probe at chance" in circumstances(summary)


def test_damaged_numbers_of_a_probe_are_refused(here, numbers_alone):
    run(OWN, here / "runs")
    folder = here / "runs" / "own"
    summary = read_summary(folder)
    for field, value in (("accuracy", 1.5), ("p", -0.1), ("right", (9, 0)), ("fitted", (-1, 3))):
        damaged = msgspec.structs.replace(summary, probe=msgspec.structs.replace(summary.probe, **{field: value}))
        with pytest.raises(UnsoundError, match="probe"):
            sound_summary(damaged)
