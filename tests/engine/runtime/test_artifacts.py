"""A circuit that was found and measured is written, whatever becomes of its module, its pictures and its pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from circuitlang import pipeline
from circuitlang.base.diagnostics import CircuitError
from circuitlang.base.source import Source
from circuitlang.engine.circuits.extraction import extractor
from circuitlang.engine.runtime import artifacts, job_runner
from circuitlang.engine.runtime.options import Options
from circuitlang.results.outputs import COMPARISON_FORMATS, FORMATS, SPLIT_FORMATS
from circuitlang.results.run_listener import OutcomeList
from tests.conftest import draw_pictures

RENDER = "all"

SPEC = "circuit one = preserve conv2:3 on images/dogs/* kernels<=6 criterion=magnitude\n"
FILES = {
    "metrics": "metrics.json", "diagram": "diagram.svg", "diagram_html": "diagram.html", "page": "report.html",
    "report": "report.txt", "module": "module.pt2",
}  # fmt: skip
# Those that a second run leaves as the first did, to the byte.
SAME = ("circuit.safetensors", "metrics.json", "diagram.svg", "diagram.html", "report.html", "report.txt")


class Odd(Exception):
    """What nobody foresees."""


def broken(*_: Any, **__: Any) -> Any:
    raise Odd("this time\nand no other")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw_pictures(tmp_path, "dogs", 4)
    return tmp_path


def run(folder: Path) -> tuple[list[Any], list[Any]]:
    """The outcomes of a run and its findings."""
    results, findings = OutcomeList(), []
    try:
        pipeline.run(Source("spec.circuit", SPEC, folder), folder / "runs", Options(listener=results))
    except CircuitError as error:
        findings += error.findings
    return results.outcomes, findings


def state(folder: Path) -> str:
    """The state of the circuit that `plan` reports."""
    compiled = pipeline.compile_source(Source("spec.circuit", SPEC, folder))
    (circuit,) = pipeline.forecast(compiled, folder / "runs" / "spec").circuits
    return circuit.state


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "runs" / "spec" / "one").iterdir()}


def nothing_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on whoever searches for a circuit fails."""
    monkeypatch.setattr(job_runner, "execute", broken)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run leaves in which all goes well."""
    folder = tmp_path_factory.mktemp("whole")
    draw_pictures(folder, "dogs", 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CIRCUITLANG_RENDER", "all")
        assert not run(folder)[1]
    return contents(folder)


def test_every_format_is_tried() -> None:
    assert set(FILES) | {"circuit"} == set(FORMATS.declarations)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_format_that_fails_takes_nothing_with_it(
    folder: Path, whole: dict[str, bytes], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = FORMATS.load
    with monkeypatch.context() as fault:
        fault.setattr(FORMATS, "load", lambda each: broken if each == name else load(each))
        (outcome,), (finding,) = run(folder)
    assert (finding.code, finding.circuit) == ("E393", "one")
    assert name in finding.message
    assert finding.label == "Odd: this time"
    assert outcome.result.summary.missing == {name: "Odd: this time"}
    found = contents(folder)
    assert found.keys() == whole.keys() - {FILES[name]}
    assert json.loads(found["circuit.json"])["missing"] == {name: "Odd: this time"}
    assert [
        each for each in ("circuit.safetensors", "metrics.json") if found.get(each, whole[each]) != whole[each]
    ] == []
    assert state(folder) == "incomplete"
    with monkeypatch.context() as guard:
        nothing_is_scored(guard)
        (outcome,), findings = run(folder)
        assert not findings
        assert state(folder) == "finished"
        assert not outcome.cached
        assert contents(folder).keys() == whole.keys()
        assert all(
            contents(folder)[each] == whole[each] for each in whole if each not in ("module.pt2", "circuit.json")
        )
        (outcome,), findings = run(folder)
        assert outcome.cached, "nothing is left to be done"


@pytest.mark.slow
@pytest.mark.parametrize("place", ["pack", "verify", "exemplars.collect", "activation_maps.collect", "visualise"])
def test_a_module_or_picture_that_fails_takes_nothing_with_it(
    folder: Path, whole: dict[str, bytes], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as fault:
        fault.setattr(f"{artifacts.__name__}.{place}", broken)
        _, (finding,) = run(folder)
    assert finding.code == "E393"
    found = contents(folder)
    lost = {"module.pt2"} if place in ("pack", "verify") else set()
    assert found.keys() == whole.keys() - lost
    assert found["circuit.safetensors"] == whole["circuit.safetensors"]
    with monkeypatch.context() as guard:
        nothing_is_scored(guard)
        assert not run(folder)[1]
        assert contents(folder).keys() == whole.keys()
        assert [each for each in SAME if contents(folder)[each] != whole[each]] == []


def test_a_circuit_that_can_not_be_cut_out_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractor.ModuleExtractor, "cut", broken)
    (outcome,), _ = run(folder)
    assert list(outcome.result.summary.missing) == ["module"]
    metrics = json.loads(contents(folder)["metrics.json"])
    assert metrics["kept"] == 6
    assert "extracted_difference" not in metrics
    assert b"missing: Odd: this time" in contents(folder)["report.txt"]


def test_a_module_of_something_else_is_no_circuit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def zero(self: Any) -> Any:
        module = cut(self)
        for each in module.parameters():
            each.data.zero_()
        return module

    cut = extractor.ModuleExtractor.cut
    monkeypatch.setattr(extractor.ModuleExtractor, "cut", zero)
    outcomes, (finding,) = run(folder)
    assert not outcomes
    assert finding.code == "E350"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("circuitlang.reporting.html.run_index.index", "index.html"),
        ("circuitlang.reporting.run_overview.sweeps", "sweep.json"),
        ("circuitlang.engine.runtime.comparisons.compare_circuits", "compare-one-two"),
    ],
)
def test_a_page_of_a_run_that_fails_takes_nothing_with_it(
    folder: Path, place: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = SPEC + SPEC.replace("one", "two").replace("2:3", "2:4") + "compare one, two\n"

    def both() -> list[Any]:
        try:
            pipeline.run(Source("spec.circuit", spec, folder), folder / "runs")
        except CircuitError as error:
            return list(error.findings)
        return []

    with monkeypatch.context() as fault:
        fault.setattr(place, broken)
        (finding,) = both()
    assert (finding.code, finding.label) == ("E393", "Odd: this time")
    assert name in finding.message
    run = folder / "runs" / "spec"
    assert sorted(each.parent.name for each in run.glob("*/circuit.json")) == ["one", "two"]
    nothing_is_scored(monkeypatch)
    assert not both()
    assert (run / "index.html").is_file()
    assert list(run.glob("*/comparison.json"))


SPLIT = "circuit parts = split conv5:34 on images/*/* into 2 kernels<=20 criterion=actgrad\n"
COMPARED = SPEC + SPEC.replace("one", "two").replace("2:3", "2:4") + "compare one, two\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("registry", "name", "spec", "kept", "place"),
    [
        (SPLIT_FORMATS, name, SPLIT, "split.json", "parts")
        for name in sorted(SPLIT_FORMATS.declarations)
        if name != "split"
    ]
    + [
        (COMPARISON_FORMATS, name, COMPARED, "comparison.json", "compare-one-two")
        for name in sorted(COMPARISON_FORMATS.declarations)
        if name != "comparison"
    ],
)
def test_a_format_of_a_split_or_comparison_that_fails_takes_nothing_with_it(
    folder: Path, registry: Any, name: str, spec: str, kept: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_pictures(folder, "boats", 4)
    source, load = Source("spec.circuit", spec, folder), registry.load

    def findings() -> list[Any]:
        try:
            pipeline.run(source, folder / "runs")
        except CircuitError as error:
            return list(error.findings)
        return []

    with monkeypatch.context() as fault:
        fault.setattr(registry, "load", lambda each: broken if each == name else load(each))
        (finding,) = findings()
    assert (finding.code, finding.label) == ("E393", "Odd: this time")
    assert name in finding.message
    where = folder / "runs" / "spec" / place
    assert json.loads((where / kept).read_bytes())["missing"] == {name: "Odd: this time"}
    before = {each.name for each in where.iterdir()}
    nothing_is_scored(monkeypatch)
    assert not findings()
    assert json.loads((where / kept).read_bytes())["missing"] == {}
    assert {each.name for each in where.iterdir()} > before
    assert not findings()
