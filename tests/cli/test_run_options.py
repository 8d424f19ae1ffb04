"""Options of `run` about what is printed and what is computed again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from circuitlang.cli.main import main

SPEC = "preserve conv5:[30, 32] on images/dogs/* kernels<=20 criterion=magnitude\n"
IDS = [f"conv5_{channel}-magnitude-20kernels" for channel in (30, 32)]
# A sweep of twelve circuits, and one more.
MANY = """preserve conv1:[0..5] on images/dogs/* kernels<=each(1, 2) criterion=magnitude
preserve conv1:6 on images/dogs/* kernels<=2 criterion=magnitude
"""

pytestmark = pytest.mark.usefixtures("here", "numbers_alone")


def run(text: str, *options: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["run", "-e", text, *options])
    assert result.exit_code == code, result.output
    return result


def written() -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in Path("runs/inline").glob("*/circuit.json")}


def test_force_computes_finished_circuits_again():
    run(SPEC)
    before = written()
    run(SPEC)
    assert written() == before
    assert "finished before" not in run(SPEC, "--force").stdout
    after = written()
    assert sorted(after) == sorted(before) == IDS
    assert all(after[name] > before[name] for name in IDS)


@pytest.mark.slow
def test_force_reaches_other_processes():
    run(SPEC)
    before = written()
    assert "finished before" not in run(SPEC, "--force", "--jobs", "2").stdout
    assert all(seconds > before[name] for name, seconds in written().items())


def test_quiet_prints_findings_alone():
    result = run(SPEC, "--quiet")
    assert (result.stdout, result.stderr) == ("", "")
    failing = run(f"circuit one = {SPEC.replace('[30, 32]', '30')}expect one.pearson >= 2", "-q", code=1)
    assert failing.stdout == ""
    assert "error[E330]" in failing.stderr
    assert "circuit 1/1" not in failing.stderr


@pytest.mark.slow
def test_many_circuits_are_sorted_by_fidelity_and_verbose_reports_each():
    printed = run(MANY).stdout
    assert "╭─" not in printed
    (table,) = re.findall(r"^circuits  13 of this run.*\Z", printed, re.MULTILINE | re.DOTALL)
    heading = re.search(r"^ *circuit +kept.*$", table, re.MULTILINE)
    assert heading
    column = heading[0].split().index("pearson")
    values = [float(line.split()[column]) for line in table.splitlines() if re.match(r" *conv1_\d+-", line)]
    assert len(values) == 13
    assert values == sorted(values, reverse=True)
    assert len(set(values)) > 1
    assert "medians of 6 features" in table
    assert run(MANY, "-v").stdout.count("╭─ conv1_") == 13


def test_json_lines_replace_the_reports():
    result = run(SPEC, "--progress", "json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.stderr == ""
    names = [event["event"] for event in events if event["event"] != "step"]
    circuit = ["circuit_begun", "finished", "circuit_ended"]
    assert names == ["begun", *circuit, *circuit, "ended"]
    finished = [event for event in events if event["event"] == "finished"]
    for event, name in zip(finished, IDS, strict=True):
        stored = json.loads((Path("runs/inline") / name / "metrics.json").read_text())
        assert event["circuit"] == name
        assert event["metrics"]["test.pearson"] == pytest.approx(stored["test.pearson"], abs=1e-6)


@pytest.mark.slow
def test_several_specs_and_folders_run_and_one_that_fails_stops_no_other():
    Path("specs").mkdir()
    for place, channel in (("specs/a", 30), ("specs/c", 32), ("d", 33)):
        Path(f"{place}.circuit").write_text(
            f"preserve conv5:{channel} on ../images/dogs/* kernels<=20 criterion=magnitude"
        )
    Path("d.circuit").write_text(SPEC)
    Path("specs/b.circuit").write_text("preserve conv5:30\n")
    result = CliRunner().invoke(main, ["run", "specs", "d.circuit"])
    assert result.exit_code == 1
    assert "specs/b.circuit" in result.stderr
    names = sorted(f"{path.parent.parent.name}/{path.parent.name}" for path in Path("runs").glob("*/*/circuit.json"))
    assert names == [f"a/{IDS[0]}", f"c/{IDS[1]}", f"d/{IDS[0]}", f"d/{IDS[1]}"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.circuit", "below/a.circuit"], "a.circuit and below/a.circuit would have the same folder"),
        (["a.circuit", "b.circuit", "--junit", "x.xml"], "--junit and --summary are for a single SPEC"),
        (["a.circuit", "-e", SPEC], "give a SPEC file, or text with -e"),
        ([], "give a SPEC file, such as a.circuit, or text with -e"),
    ],
    ids=["same-name", "junit", "both", "neither"],
)
def test_specs_that_one_command_can_not_run_are_a_usage_error(arguments, words):
    Path("below").mkdir()
    for name in ("a", "b", "below/a"):
        Path(f"{name}.circuit").write_text(SPEC)
    result = CliRunner().invoke(main, ["run", *arguments])
    assert result.exit_code == 2
    assert words in result.stderr
    assert not Path("runs").exists()
