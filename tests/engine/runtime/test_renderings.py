"""The files that a run writes are those of its rendering, and a later run makes the others without another search."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import circuitlang
from circuitlang.cli.main import main
from circuitlang.engine.runtime import job_runner
from circuitlang.results.outputs import DRAWINGS, NUMBERS, asked_formats
from tests.conftest import draw_pictures

ONE = "circuit one = preserve conv2:3 on images/dogs/* kernels<=6 criterion=magnitude\n"
TWO = ONE.replace("one", "two").replace("2:3", "2:4")
COMPARED = f"{ONE}{TWO}{ONE.replace('one', 'three').replace('2:3', '2:5')}compare one, two\n"
SPLIT = "circuit parts = split conv5:34 on images/*/* into 2 kernels<=20 criterion=actgrad\n"
NUMBERS_OF = {"circuit.json", "circuit.safetensors", "metrics.json", "SHA256SUMS"}
FILES = {
    "none": NUMBERS_OF,
    "diagram": NUMBERS_OF | {"module.pt2", "diagram.svg", "report.txt"},
    "all": NUMBERS_OF | {"module.pt2", "diagram.svg", "report.txt", "diagram.html", "report.html"},
}
# A module has the time of its making in it, and `circuit.json` the difference that rounding makes.
DIFFERS = ("module.pt2", "SHA256SUMS")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    draw_pictures(tmp_path, "dogs", 4)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CIRCUITLANG_RENDER")
    return tmp_path / "runs" / "inline"


def run(text: str, *options: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["run", "-e", text, *options])
    assert result.exit_code == code, result.output
    return result.output


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in DIFFERS}


def never_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("a finished circuit was searched for again")

    monkeypatch.setattr(job_runner, "execute", refuse)


def links(page: Path) -> list[Path]:
    hrefs = re.findall(r'href="([^"#:]+)"', page.read_text(encoding="utf-8"))
    return [page.parent / href for href in hrefs]


@pytest.mark.parametrize("render", FILES)
def test_a_rendering_writes_its_files_and_no_link_leads_nowhere(folder: Path, render: str) -> None:
    run(ONE + TWO, "--render", render)
    assert names(folder / "one") == names(folder / "two") == FILES[render]
    unrendered = json.loads((folder / "one" / "circuit.json").read_bytes())["unrendered"]
    assert set(unrendered) == asked_formats("all") & {"module", "diagram", "report", "diagram_html", "page"} - (
        asked_formats(render)
    )
    assert all(path.exists() for path in links(folder / "index.html"))
    CliRunner().invoke(main, ["show", str(folder / "one")], catch_exceptions=False)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["none", "diagram"])
def test_a_later_run_makes_what_is_absent_as_one_run_would_have(
    folder: Path, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(ONE, "--out", "whole")
    run(ONE, "--render", first)
    assert "incomplete" in CliRunner().invoke(main, ["plan", "-e", ONE, "--json"]).output
    never_search(monkeypatch)
    run(ONE)
    assert names(folder / "one") == FILES["all"]
    assert contents(folder / "one") == contents(Path("whole/inline/one"))
    assert '"finished"' in CliRunner().invoke(main, ["plan", "-e", ONE, "--json"]).output


def test_a_run_that_asks_for_less_keeps_what_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(ONE)
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "one").iterdir()}
    never_search(monkeypatch)
    assert "finished before" in run(ONE, "--render", "none")
    assert {path.name: path.stat().st_mtime_ns for path in (folder / "one").iterdir()} == before


@pytest.mark.slow
def test_a_failed_page_is_tried_again_only_where_pages_are_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("this time")

    with monkeypatch.context() as fault:
        fault.setattr("circuitlang.engine.runtime.artifacts.activation_maps.collect", fail)
        run(ONE, code=1)
    before = (folder / "one" / "circuit.json").stat().st_mtime_ns
    run(ONE, "--render", "diagram", code=1)
    assert (folder / "one" / "circuit.json").stat().st_mtime_ns == before
    run(ONE)
    assert json.loads((folder / "one" / "circuit.json").read_bytes())["missing"] == {}


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_compared_circuits_have_their_modules_at_any_rendering(folder: Path, jobs: str) -> None:
    run(COMPARED, "--render", "none", "--jobs", jobs)
    assert names(folder / "one") == names(folder / "two") == NUMBERS_OF | {"module.pt2"}
    assert names(folder / "three") == NUMBERS_OF
    comparison = folder / "compare-one-two"
    assert names(comparison) == {"comparison.json", "SHA256SUMS"}
    run(COMPARED)
    drawn = {"diagram.svg", "diagram.html"}
    assert names(comparison) == {"comparison.json", "SHA256SUMS", *drawn, "report.txt", "report.html"}
    assert all(path.exists() for page in ("diagram", "report") for path in links(comparison / f"{page}.html"))


@pytest.mark.slow
def test_a_split_has_the_files_of_its_rendering(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_pictures(Path.cwd(), "boats", 4)
    run(SPLIT, "--render", "none")
    assert names(folder / "parts") == {"split.json", "SHA256SUMS"}
    assert all(names(part) == NUMBERS_OF for part in folder.glob("parts-*"))
    assert all(path.exists() for path in links(folder / "index.html"))
    never_search(monkeypatch)
    run(SPLIT)
    assert names(folder / "parts") >= {"split.json", "report.html", "embedding.svg"}
    assert all(names(part) == FILES["all"] for part in folder.glob("parts-*"))
    assert all(path.exists() for path in links(folder / "parts" / "report.html"))


def test_the_environment_is_the_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCUITLANG_RENDER", "none")
    run(ONE)
    assert names(folder / "one") == FILES["none"]
    (circuit,) = circuitlang.run(TWO)
    assert names(circuit.folder) == FILES["none"]
    (circuit,) = circuitlang.run(TWO, render="diagram")
    assert names(circuit.folder) == FILES["diagram"]


def test_there_is_no_other_rendering(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(circuitlang.InputError) as refused:
        circuitlang.run(ONE, render="svg")  # type: ignore[arg-type]
    assert [finding.code for finding in refused.value.findings] == ["E365"]
    assert not folder.exists()
    assert "'svg' is not one of" in run(ONE, "--render", "svg", code=2)
    monkeypatch.setenv("CIRCUITLANG_RENDER", "svg")
    planned = CliRunner().invoke(main, ["plan", "-e", ONE])
    assert planned.exit_code == 1
    assert "E365" in planned.output


def test_each_rendering_has_what_the_lesser_one_has() -> None:
    assert asked_formats("none") == NUMBERS < asked_formats("diagram") == DRAWINGS < asked_formats("all")
