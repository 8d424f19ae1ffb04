"""The paper's experiments as specs, and what is said of them in docs/paper.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.paper import PUBLISHED, SIZES, medians, table
from circuitlang import pipeline
from circuitlang.cli.main import main
from circuitlang.compiler.sources import open_source
from circuitlang.plan.model import Sparsity
from tests.conftest import ROOT

SPECS = ROOT / "specs" / "paper"
PAGE = ROOT / "docs" / "paper.md"
NETS = ("alexnet", "doodle", "squeezenet")


def circuits(spec: str):
    return pipeline.compile_source(open_source(SPECS / spec)).plan.circuits


@pytest.mark.parametrize("net", NETS)
def test_every_network_has_every_experiment(net):
    names = {path.stem for path in (SPECS / net).glob("*.circuit")}
    assert {"network", "criteria", "polysemantic", "shapes", "classes"} <= names


def test_alexnet_is_asked_at_the_sizes_and_by_the_criteria_of_the_paper():
    asked = circuits("alexnet/criteria.circuit")
    assert {each.criterion.name for each in asked} == set(PUBLISHED)
    sizes = {each.size.at_most for each in asked if isinstance(each.size, Sparsity)}
    assert sizes == set(SIZES)
    assert {each.refill for each in asked} == {"none"}
    assert len({str(each.target) for each in asked}) == 16


def test_published_medians_are_as_many_as_sizes_and_never_fall():
    for values in PUBLISHED.values():
        assert len(values) == len(SIZES)
        assert list(values) == sorted(values)


def test_the_page_cites_what_the_benchmark_has():
    page = PAGE.read_text(encoding="utf-8")
    (_, *rows) = [line for line in page.splitlines() if line.startswith("| AlexNet, published")]
    assert not rows
    shown = [float(each) for each in page.split("| AlexNet, published")[1].split("\n")[0].split("|")[3:-1]]
    for name, values in PUBLISHED.items():
        cells = [f"{values[SIZES.index(size)]:.2f}" for size in shown]
        assert f"| {name} | {' | '.join(cells)} |" in page


def test_a_table_has_medians_and_intervals_over_features():
    found = [[{"pearson": value}, {"pearson": value / 2}] for value in (0.2, 0.4, 0.9)]
    cells = medians(found, "pearson")
    assert cells == ["**0.40** 0.20–0.90", "**0.20** 0.10–0.45"]
    assert table("|r|", {"snip": cells}, (0.1, 0.05)).splitlines() == [
        r"| \|r\| | 0.1 | 0.05 |",
        "|---|---|---|",
        "| snip | **0.40** 0.20–0.90 | **0.20** 0.10–0.45 |",
    ]


def ran(spec: str, out: Path, *options: str) -> str:
    result = CliRunner().invoke(main, ["run", str(SPECS / spec), "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.slow
def test_a_polysemantic_channel_is_split(tmp_path: Path, numbers_alone: None):
    ran("doodle/polysemantic.circuit", tmp_path)
    split = json.loads((tmp_path / "polysemantic/parts/split.json").read_text())
    one, other = ({*kind["train"]} for kind in split["kinds"])
    # Two kinds of pictures that it answers to; none is of both.
    assert one
    assert other
    assert not one & other
    assert {name.split("_")[0] for name in one | other} == {"cars", "cats"}


@pytest.mark.slow
def test_the_circle_shares_its_kernels_with_its_arcs(tmp_path: Path):
    ran("doodle/shapes.circuit", tmp_path)
    comparison = json.loads((tmp_path / "shapes/compare-circles-curves/comparison.json").read_text())
    overlap = comparison["pairs"][0]["overlap"]["total"]
    assert overlap["shared"] > 0.8 * overlap["second"]
    assert overlap["shared"] > 2 * overlap["expected"]


def test_a_class_needs_little_of_the_network(tmp_path: Path, numbers_alone: None):
    ran("doodle/classes.circuit", tmp_path, "--only", "faces-0.1")
    assert json.loads((tmp_path / "classes/faces-0.1/metrics.json").read_text())["test.pearson"] > 0.9


def test_criteria_are_compared_on_drawings(tmp_path: Path, numbers_alone: None):
    names = [f"conv5-34-0.05-{criterion}" for criterion in ("snip", "magnitude")]
    ran("doodle/criteria.circuit", tmp_path, *(word for name in names for word in ("--only", name)))
    found = [json.loads((tmp_path / "criteria" / name / "metrics.json").read_text()) for name in names]
    assert found[0]["test.pearson"] > found[1]["test.pearson"]


@pytest.mark.slow
def test_the_brief_experiment_runs_on_photographs(real: Path, tmp_path: Path, numbers_alone: None):
    result = CliRunner().invoke(main, ["run", str(SPECS / "squeezenet/brief.circuit"), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "medians of 2 features" in result.stdout
    (sweep,) = json.loads((tmp_path / "brief" / "sweep.json").read_text())["sweeps"]
    assert [curve["label"] for curve in sweep["curves"]] == ["actgrad", "snip"]
    for curve in sweep["curves"]:
        values = [point["numbers"]["test.pearson"]["value"] for point in curve["points"]]
        assert values[-1] > 0.5 > values[0]
