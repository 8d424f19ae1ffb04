"""The leaderboard measures the rows that are missing, has those of other packages, and its page follows from them."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks import leaderboard
from benchmarks.leaderboard import SEEDS, Ground, planted, update, wanted
from benchmarks.leaderboard_page import page
from benchmarks.leaderboard_rows import Board, Row, Section, read_board, write_board
from benchmarks.planted_networks import SCENARIOS
from circuitlang.plan.clauses import PRESERVE
from circuitlang.plugins.hypothesis_tests import TESTS
from circuitlang.plugins.protocols import CRITERIA
from tests.conftest import ROOT

DOCS = ROOT / "docs"
DEFAULT = PRESERVE["criterion"].extension
COLUMNS = ("precision", "recall", "pearson")
PLUGIN = """
from circuitlang.plugins.protocols import Scores, Scoring, schedule


@schedule("bases", passes=lambda: 1, nested=True)
def same(scoring: Scoring) -> Scores:
    "The scores of `gn`."
    return scoring.score("gn")
"""
PROGRAM = """
import sys
from functools import partial
from pathlib import Path

from benchmarks.leaderboard import planted, update

update(Path(sys.argv[1]), [partial(planted, 1, ["cancelling"])], ["same", "gn"])
"""


class Recorder:
    """A ground that notes the names that it is asked for."""

    def __init__(self, data: str = "weights and images") -> None:
        self.data = data
        self.asked: list[str] = []

    def __call__(self) -> Ground:
        return Ground("planted", "a network", self.data, COLUMNS, CRITERIA, self.measure)

    def measure(self, name: str) -> dict[str, list[float]]:
        self.asked.append(name)
        return {"distractors": [0.5, 0.25, 1.0]}


def table(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    lines = text.split(f"## {heading}\n")[1].split("\n")
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]


def with_row(folder: Path, name: str) -> None:
    """Put a row of a criterion that is not installed into the board."""
    board = read_board(folder / "leaderboard.json")
    section = board.sections["planted"]
    section.rows[name] = Row("0" * 64, "0.1", {"distractors": [1.0, 1.0, 1.0]}, f"my_package.{name}")
    write_board(folder / "leaderboard.json", board)


def test_rows_that_are_there_are_not_measured_again(tmp_path: Path) -> None:
    first, second = Recorder(), Recorder()
    update(tmp_path, [first])
    assert sorted(first.asked) == sorted(CRITERIA.declarations)
    made = [(tmp_path / name).read_bytes() for name in ("leaderboard.json", "leaderboard.md")]
    update(tmp_path, [second])
    assert second.asked == []
    assert [(tmp_path / name).read_bytes() for name in ("leaderboard.json", "leaderboard.md")] == made


@pytest.mark.parametrize(("names", "again", "asked"), [(["snip"], False, ["snip"]), (["gn"], True, ["gn"])])
def test_one_row_is_added_without_the_others(
    tmp_path: Path, names: Sequence[str], again: bool, asked: Sequence[str]
) -> None:
    update(tmp_path, [Recorder()], ["gn"])
    recorder = Recorder()
    update(tmp_path, [recorder], names, again)
    assert recorder.asked == asked
    assert read_board(tmp_path / "leaderboard.json").sections["planted"].rows.keys() == {"gn", *names}


def test_other_data_and_another_file_of_a_criterion_are_measured_anew(tmp_path: Path) -> None:
    update(tmp_path, [Recorder()], ["gn", "snip"])
    board = read_board(tmp_path / "leaderboard.json")
    row = board.sections["planted"].rows["gn"]
    board.sections["planted"].rows["gn"] = Row("0" * 64, row.version, row.numbers)
    write_board(tmp_path / "leaderboard.json", board)
    changed, other = Recorder(), Recorder("other images")
    update(tmp_path, [changed], ["gn", "snip"])
    update(tmp_path, [other], ["gn", "snip"])
    assert (changed.asked, other.asked) == (["gn"], ["gn", "snip"])


def test_rows_of_packages_that_are_not_installed_stay_with_their_data(tmp_path: Path, capsys) -> None:
    update(tmp_path, [Recorder()], ["gn"])
    with_row(tmp_path, "slope")
    update(tmp_path, [Recorder()])
    assert ["`slope` (my_package)", "1.00 / 1.00", "1.00 / 1.00"] in table(
        (tmp_path / "leaderboard.md").read_text(encoding="utf-8"), "Planted circuits"
    )
    assert "dropped" not in capsys.readouterr().err
    update(tmp_path, [Recorder("other images")])
    assert "slope" not in read_board(tmp_path / "leaderboard.json").sections["planted"].rows
    assert "slope is dropped" in capsys.readouterr().err


def test_rows_that_are_measured_stay_when_one_fails(tmp_path: Path) -> None:
    recorder = Recorder()
    measure: Callable[[str], dict[str, list[float]]] = recorder.measure

    def failing(name: str) -> dict[str, list[float]]:
        if name == "snip":
            raise ZeroDivisionError
        return measure(name)

    recorder.measure = failing  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        update(tmp_path, [recorder], ["gn", "snip"])
    assert read_board(tmp_path / "leaderboard.json").sections["planted"].rows.keys() == {"gn"}


@pytest.mark.slow
def test_an_installed_criterion_is_on_the_board_beside_the_built_in_ones(tmp_path: Path) -> None:
    package, info = tmp_path / "my_package", tmp_path / "my_package-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    package.joinpath("__init__.py").write_text("")
    package.joinpath("same.py").write_text(PLUGIN)
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    info.joinpath("entry_points.txt").write_text("[circuitlang.criteria]\nsame = my_package.same\n")
    program = f"import sys; sys.path.append({str(tmp_path)!r})\n{PROGRAM}"
    command = [sys.executable, "-c", program, str(tmp_path / "docs")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = read_board(tmp_path / "docs" / "leaderboard.json").sections["planted"].rows
    assert rows.keys() == {"gn", "same"}
    assert rows["same"].numbers == rows["gn"].numbers
    assert rows["same"].numbers["cancelling"][0] > 0.5
    cells = table((tmp_path / "docs" / "leaderboard.md").read_text(encoding="utf-8"), "Planted circuits")
    assert [row[0] for row in cells] == ["criterion", "`gn`", "`same` (my_package)"]


def test_networks_have_the_areas_over_the_logarithm_of_the_size() -> None:
    # Medians of r: 0, 1; of r2: -1, 0.5.
    numbers = {"a:0": [-0.5, 1.0, -1.0, 0.5, 3.0], "a:1": [0.0, 1.0, -1.0, 0.5, 3.0], "a:2": [0.25, 0.0, 0.0, 1.0, 3.0]}
    columns = ["pearson 0.1", "pearson 0.2", "r2 0.1", "r2 0.2", "passes"]
    section = Section("three channels", "", columns, {"gn": Row("", "", numbers)})
    text = page(Board({"bundled": section}))
    assert table(text, "The bundled network") == [
        ["criterion", "CPR", "r, 0.1", "r, 0.2", "passes"],
        ["`gn`", "0.50", "0.00", "1.00", "3"],
    ]
    assert "| criterion | CMD | r2, 0.1 | r2, 0.2 |\n|---|---:|---:|---:|\n| `gn` | 1.25 | -1.00 | 0.50 |\n" in text


def test_areas_weigh_sizes_by_their_logarithm() -> None:
    columns = [f"{metric} {size}" for metric in ("pearson", "r2") for size in ("0.01", "0.1", "0.2")] + ["passes"]
    section = Section("one channel", "", columns, {"gn": Row("", "", {"a:0": [0, 0.6, 1, 0, 0, 0, 1]})})
    _, row = table(page(Board({"bundled": section})), "The bundled network")
    wide, narrow = math.log(10), math.log(2)
    assert float(row[1]) == pytest.approx((wide * 0.3 + narrow * 0.8) / (wide + narrow), abs=0.005)


def test_networks_that_are_missing_are_said_and_skipped(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(leaderboard, "PHOTOGRAPHS", tmp_path)
    assert len(list(wanted(["squeezenet"]))) == len(list(wanted([])))
    assert f"squeezenet: skipped, there is no {tmp_path}" in capsys.readouterr().err
    assert "Not measured here" in page(Board({}))


def test_a_board_is_the_same_bytes_after_it_is_read(tmp_path: Path) -> None:
    copy = tmp_path / "leaderboard.json"
    write_board(copy, read_board(DOCS / "leaderboard.json"))
    assert copy.read_bytes() == (DOCS / "leaderboard.json").read_bytes()


def test_the_page_of_the_documentation_follows_from_its_numbers() -> None:
    board = read_board(DOCS / "leaderboard.json")
    assert page(board) == (DOCS / "leaderboard.md").read_text(encoding="utf-8")
    assert '"leaderboard.md"' in ROOT.joinpath("zensical.toml").read_text(encoding="utf-8")
    own = {name: {*section.rows} for name, section in board.sections.items()}
    assert own["planted"] >= {*CRITERIA.declarations}
    assert own["bundled"] >= {*CRITERIA.declarations}
    assert own["tests"] >= {*TESTS.declarations}


@pytest.mark.slow
def test_the_numbers_of_the_default_on_planted_networks_are_those_of_today() -> None:
    section = read_board(DOCS / "leaderboard.json").sections["planted"]
    assert planted(SEEDS).data == section.data
    for scenario, numbers in planted(SEEDS, [*SCENARIOS][::3]).measure(DEFAULT).items():
        assert numbers == pytest.approx(section.rows[DEFAULT].numbers[scenario], abs=0.02)
