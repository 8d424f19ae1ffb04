"""Results by name: `open`, and the runs that `show` lists."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from circuitlang.cli.main import main

SPEC = "preserve conv5:30 on images/dogs/* kernels<=20 criterion=magnitude\n"
NAME = "conv5_30-magnitude-20kernels"


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def opened(here: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that the browser was asked to open."""
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", addresses.append)
    return addresses


def results(run: str, *circuits: str, pages: tuple[str, ...] = ("diagram.html", "report.html")) -> None:
    """Put the folder of a run below `runs`, with the plan of one circuit and with pages."""
    folder = Path("runs") / run
    folder.mkdir(parents=True)
    call("plan", "-e", SPEC, "-o", str(folder / "plan.yaml"))
    (folder / "index.html").touch()
    for circuit in circuits:
        (folder / circuit).mkdir()
        for name in ("circuit.json", *pages):
            (folder / circuit / name).touch()


def test_a_circuit_is_opened_by_its_name_or_folder(opened, here):
    results("one", NAME)
    assert call("open", NAME).stdout == f"runs/one/{NAME}/diagram.html\n"
    call("open", f"runs/one/{NAME}")
    call("open", "one")
    diagram = (here / "runs" / "one" / NAME / "diagram.html").as_uri()
    assert opened == [diagram, diagram, (here / "runs" / "one" / "index.html").as_uri()]


def test_without_a_diagram_another_page_is_opened(opened):
    results("one", NAME, pages=("report.txt",))
    assert call("open", NAME).stdout == f"runs/one/{NAME}/report.txt\n"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("conv5_30-magnitude-2kernels", f"did you mean '{NAME}'?"),
        ("unlike", "`circuitlang show runs` lists runs"),
        (NAME, f"name its folder: runs/one/{NAME} or runs/two/{NAME}"),
        ("images", "images has no page"),
        ("\0", "no result in runs is named"),
    ],
    ids=["slip", "unknown", "several", "no-page", "null"],
)
def test_a_name_that_is_no_single_result_gets_a_cure(opened, name, words):
    results("one", NAME)
    results("two", NAME)
    said = call("open", name, code=1).stderr
    assert "error[E312]" in said
    assert words in said
    assert opened == []


def test_show_lists_the_runs_of_a_folder(opened):
    results("one", NAME)
    results("two")
    (Path("runs") / "mine").mkdir()
    lines = [line.split() for line in call("show", "runs").stdout.splitlines()]
    assert lines == [
        ["run", "finished", "circuits", "folder"],
        ["one", "1", "1", "runs/one"],
        ["two", "0", "1", "runs/two"],
    ]
    assert call("show").stdout == call("show", "runs").stdout


def test_show_without_any_run_says_how_to_make_one(opened):
    said = call("show", code=1).stderr
    assert "there are no runs in runs" in said
    assert "`circuitlang run SPEC` makes results" in said
