"""Receipts know what torch would find, and nothing that changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from circuitlang import pipeline
from circuitlang.base.source import Source
from circuitlang.bundled import network
from circuitlang.cli.main import main
from circuitlang.compiler.sources import open_source
from circuitlang.engine.cache import receipts
from circuitlang.engine.runtime import forecast, jobs, known_inputs, model_loading
from circuitlang.engine.runtime.known_inputs import KnownInputs
from circuitlang.engine.runtime.options import Options
from circuitlang.plan.compiled import CompiledPlan
from tests.conftest import draw_pictures

ROOT = Path(__file__).parents[3]
SPECS = sorted([*ROOT.glob("specs/[!h]*/*.circuit"), *ROOT.glob("examples/*.circuit")])
LINE = "preserve conv5:34 on images/dogs/* kernels<=20 criterion=magnitude\n"
# Circuits of every kind of image set.
SETS = """images dogs = images/dogs/*
images others = images/cats/*
circuit plain = preserve conv5:34 on dogs kernels<=20 criterion=snip
circuit tested = preserve conv4:joint(3, 4) on dogs test=others kernels<=20 criterion=taylor
circuit against = preserve class("cats") on others contrast=dogs kernels<=20 criterion=taylor seed=3
circuit parts = split conv5:34 on dogs into 2 kernels<=20 criterion=magnitude
"""


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust files that were written a moment ago: tests don't wait."""
    monkeypatch.setattr(receipts, "SETTLING", -(10**12))


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch)


def compiled(text: str) -> CompiledPlan:
    return pipeline.compile_source(Source("spec.circuit", text))


def known(text: str, **options: bool) -> KnownInputs | None:
    plan = compiled(text)
    return known_inputs.known_inputs(plan.plan, plan.folder, plan.origins, Options(**options))


def prepared(text: str, **options: bool) -> jobs.PreparedRun:
    plan = compiled(text)
    return jobs.prepare(plan.plan, plan.folder, plan.origins, Options(**options))


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_costs_of_a_known_model_are_those_of_its_network(
    tmp_path: Path, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "examples" / "images", tmp_path / "images")
    shutil.copy(ROOT / "examples" / "directions.safetensors", tmp_path)
    (tmp_path / "photos").symlink_to(tmp_path / "images" / "dogs")
    path = tmp_path / "spec.circuit"
    path.write_text(spec.read_text().replace("../../examples/", ""))
    plan, options = pipeline.compile_source(open_source(path)), Options(visualise=True)
    computed = forecast.forecast_run(plan, tmp_path / "runs", options)
    monkeypatch.setattr(model_loading, "load_model", lambda *_: pytest.fail("the network is built"))
    assert forecast.forecast_run(plan, tmp_path / "runs", options) == computed
    assert all(circuit.cost and circuit.cost.forwarded for circuit in computed.circuits)


def test_other_targets_and_sizes_of_a_known_model_cost_what_its_network_says(here: Path, monkeypatch) -> None:
    text = LINE + "preserve conv3:[1, 2] on images/dogs/* keep<=each(1%, 20%) structure=weight\n"
    forecast.forecast_run(compiled(LINE), here / "runs", Options())
    with monkeypatch.context() as patch:
        patch.setattr(forecast, "known_model", lambda *_: None)
        computed = forecast.forecast_run(compiled(text), here / "runs", Options())
    monkeypatch.setattr(model_loading, "load_model", lambda *_: pytest.fail("the network is built"))
    assert forecast.forecast_run(compiled(text), here / "runs", Options()) == computed


def test_known_inputs_are_those_that_a_run_prepares(here: Path) -> None:
    draw_pictures(here, "cats", 4)
    (here / "images" / "dogs" / "copy.png").write_bytes((here / "images" / "dogs" / "0.png").read_bytes())
    (here / "images" / "dogs" / "torn.png").write_bytes(b"no image")
    assert known(SETS, skip_unreadable=True) is None
    wanted = prepared(SETS, skip_unreadable=True)
    found = known(SETS, skip_unreadable=True)
    assert found is not None
    assert (found.weights, found.structure, found.model.weights) == (
        wanted.weights,
        wanted.structure,
        wanted.model.weights,
    )
    for ours, theirs in zip(found.jobs, wanted.jobs, strict=True):
        assert ours.provenance == theirs.provenance
        assert (ours.score_cache, ours.responses) == (theirs.score_cache, theirs.responses)
        assert found.formats(ours) == wanted.formats(theirs)
    assert found.jobs[0].provenance.unreadable
    # An image that can't be read stops a run that doesn't skip it.
    assert known(SETS) is None


def test_files_that_were_written_a_moment_ago_are_not_known(here: Path, monkeypatch) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(here)
    prepared(LINE)
    assert known(LINE) is None


def rewrite(path: Path) -> None:
    """Change a byte, and let size and time of modification be as before."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def replace(path: Path) -> None:
    other = path.with_name("other.png")
    shutil.copy2(path.with_name("1.png"), other)
    other.replace(path)


@pytest.mark.parametrize("change", [rewrite, replace, Path.unlink], ids=["rewritten", "replaced", "removed"])
def test_an_image_that_changed_is_not_known(here: Path, change) -> None:
    prepared(LINE)
    assert known(LINE) is not None
    change(here / "images" / "dogs" / "0.png")
    assert known(LINE) is None


def test_another_image_of_a_set_is_not_known(here: Path) -> None:
    prepared(LINE)
    shutil.copy2(here / "images" / "dogs" / "0.png", here / "images" / "dogs" / "9.png")
    assert known(LINE) is None


def test_images_of_another_size_are_read_again(here: Path) -> None:
    prepared(LINE)
    assert known(f"model bundled.doodle(resize=80)\n{LINE}") is None


def test_weights_that_changed_are_not_known(here: Path) -> None:
    place = Path(network.__file__).with_name("weights.safetensors")
    shutil.copy(place, here / "own.safetensors")
    text = f'model bundled.doodle(weights="own.safetensors")\n{LINE}'
    before = prepared(text).weights
    found = known(text)
    assert found is not None
    assert found.weights == before
    weights = load_file(here / "own.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, here / "own.safetensors")
    assert known(text) is None
    assert prepared(text).weights != before


def test_a_damaged_receipt_is_none(here: Path) -> None:
    prepared(LINE)
    for path in receipts.folder().iterdir():
        path.write_bytes(path.read_bytes().replace(b"[[", b"[", 1))
    assert known(LINE) is None


def test_removing_the_cache_removes_receipts(here: Path) -> None:
    prepared(LINE)
    assert list(receipts.folder().iterdir())
    assert CliRunner().invoke(main, ["cache", "--clear"]).exit_code == 0
    assert not list(receipts.folder().iterdir())


def test_few_receipts_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "MOST", 3)
    record = receipts.FileState(1, 2, 3, 4, 5)
    assert receipts.settled(record, 10**12 + 6) is True
    for number in range(5):
        receipts.write_receipt(
            str(number),
            known_inputs.ModelReceipt(files=[], notes=(), classes=(), prepared="", crop=1, weights=str(number)),
        )
    assert len(list(receipts.folder().iterdir())) == 3


@pytest.mark.slow
def test_a_finished_run_says_the_same_without_torch(here: Path, numbers_alone, monkeypatch) -> None:
    text = f"circuit one = {LINE}circuit two = {LINE.replace('20', '30')}compare one, two\nexpect one.pearson >= -2\n"
    (here / "a.circuit").write_text(text)

    def run(*options: str) -> str:
        result = CliRunner().invoke(main, ["run", "a.circuit", "--summary", "record.json", *options])
        assert result.exit_code == 0, result.output
        return result.stdout + Path("record.json").read_text()

    run()
    pages = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(known_inputs, "known_model", lambda *_: None)
        wanted = run()
    monkeypatch.setattr(jobs, "load_model", lambda *_: pytest.fail("the network is loaded"))
    assert run() == run("--jobs", "2") == wanted
    assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == pages


def test_a_circuit_that_only_seems_finished_is_made_again(here: Path, numbers_alone) -> None:
    (here / "a.circuit").write_text(f"circuit one = {LINE}circuit two = {LINE.replace('20', '30')}")
    assert CliRunner().invoke(main, ["run", "a.circuit"]).exit_code == 0
    place = here / "runs" / "a" / "two" / "circuit.safetensors"
    whole = place.read_bytes()
    place.write_bytes(b"torn")
    result = CliRunner().invoke(main, ["run", "a.circuit"])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("finished before") == 1
    assert place.read_bytes() == whole


def test_a_plan_of_a_circuit_that_is_there_is_made_by_receipts(here: Path, numbers_alone, monkeypatch) -> None:
    (here / "a.circuit").write_text(f"circuit one = {LINE}circuit two = {LINE.replace('magnitude', 'snip')}")
    assert CliRunner().invoke(main, ["run", "a.circuit", "--only", "two"]).exit_code == 0

    def plan() -> str:
        result = CliRunner().invoke(main, ["plan", "a.circuit", "--json"])
        assert result.exit_code == 0, result.output
        return result.stdout

    with monkeypatch.context() as patch:
        patch.setattr(known_inputs, "known_model", lambda *_: None)
        wanted = plan()
    assert '"state": "finished"' in wanted
    monkeypatch.setattr(jobs, "load_model", lambda *_: pytest.fail("the network is loaded"))
    assert plan() == wanted
