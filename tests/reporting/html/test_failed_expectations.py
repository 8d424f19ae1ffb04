"""Expectations that failed, on the page of their circuit and on that of the run."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from circuitlang import pipeline
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.reporting.failed_expectations import note_failed
from circuitlang.results.manifest import damage
from circuitlang.results.reader import read_summary

CIRCUITS = """circuit one = preserve conv5:30 on images/dogs/* kernels<=20 criterion=magnitude
circuit two = preserve conv5:32 on images/dogs/* kernels<=20 criterion=magnitude
"""
FOLDER = Path("runs/a")
FAILED = "Failed expectation: test.pearson is "

pytestmark = pytest.mark.usefixtures("here", "with_pages")


def run(expectations: str, code: int) -> str:
    Path("a.circuit").write_text(CIRCUITS + expectations)
    result = CliRunner().invoke(main, ["run", "a.circuit"])
    assert result.exit_code == code, result.output
    return result.stdout


def page(name: str) -> str:
    return (FOLDER / name / "report.html").read_text()


@pytest.mark.slow
def test_pages_have_the_expectations_that_fail_now():
    run("expect one.pearson >= 2\nexpect two.pearson <= 1\n", code=1)
    assert page("one").count(FAILED) == 1
    assert "expected &gt;= 2" in page("one")
    assert FAILED not in page("two")
    assert "<dt>one</dt>" in (FOLDER / "index.html").read_text().split("Failed expectations")[1]
    assert damage(FOLDER / "one") == []

    before = {name: (FOLDER / name / "report.html").stat().st_mtime_ns for name in ("one", "two")}
    assert run("expect one.pearson >= 2\nexpect two.pearson <= 1\n", code=1).count("finished before") == 2
    assert before == {name: (FOLDER / name / "report.html").stat().st_mtime_ns for name in before}, "left alone"

    # Both circuits are finished, and what is expected of them has changed.
    assert run("expect two.pearson >= 3\nexpect two.pearson >= 4\n", code=1).count("finished before") == 2
    assert FAILED not in page("one")
    assert page("two").count(FAILED) == 2
    assert damage(FOLDER / "one") == damage(FOLDER / "two") == []
    assert run("", code=0).count("finished before") == 2
    assert FAILED not in page("two")

    failing = pipeline.compile_source(Source("a.circuit", f"{CIRCUITS}expect one.pearson >= 2\n")).plan
    finished = {"one": read_summary(FOLDER / "one")}
    (FOLDER / "one" / "diagram.svg").write_text("mine")
    assert note_failed(failing, finished, FOLDER) == []
    assert damage(FOLDER / "one") == ["diagram.svg was changed"], "no new hash for what others wrote"
    assert FAILED not in page("one")


def test_without_pages_nothing_is_written(numbers_alone):
    run("expect one.pearson >= 2\n", code=1)
    assert not (FOLDER / "one" / "report.html").exists()
    assert damage(FOLDER / "one") == []
