"""What is said of a sweep: medians over features, in the terminal, on the page and as data."""

from __future__ import annotations

import io
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from statistics import median as middle

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console, RenderableType

from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.pipeline import compile_source
from circuitlang.plan.model import Circuit, Plan
from circuitlang.reporting.ci.sweep_json import sweep_data
from circuitlang.reporting.html.run_index import index
from circuitlang.reporting.terminal.circuit_report import overview
from circuitlang.reporting.terminal.sweep_report import sweep_report
from circuitlang.results.statistics import median
from circuitlang.results.sweep import Sweep
from circuitlang.results.sweep_grouping import sweeps
from circuitlang.results.types import Summary
from tests.helpers.fake_results import RELEVANT, invented

SPEC = """\
images dogs = images/dogs/*
circuit paper = preserve conv5:[1..5] on dogs {
    sparsity<=each(1%, 10%, 50%)
    criterion=each(snip, actgrad, force(steps=5), magnitude, random)
}
preserve conv5:7 on dogs sparsity<=1%
"""


def fidelity(circuit: Circuit) -> float:
    """By the feature, and one of the sizes."""
    assert circuit.size is not None
    return circuit.target.unit / 10 + (0.2 if circuit.size.at_most == 0.5 else 0)  # type: ignore[union-attr]


def planned(text: str = SPEC) -> tuple[Plan, dict[str, Summary]]:
    plan = compile_source(Source("spec.circuit", text)).plan
    return plan, invented(plan, fidelity)


def one(text: str = SPEC) -> Sweep:
    plan, found = planned(text)
    (sweep,) = sweeps(plan.circuits, found)
    return sweep


def shown(what: RenderableType, width: int) -> list[str]:
    paper = io.StringIO()
    Console(file=paper, width=width, highlight=False, color_system=None).print(what)
    return paper.getvalue().splitlines()


def test_the_interval_of_a_median_is_that_of_all_its_samples():
    values = [0.1, 0.2, 0.4, 0.9, 1.0]
    every = [middle(sample) for sample in itertools.product(values, repeat=len(values))]
    value, low, high = median(values)
    assert value == 0.4
    assert [low, high] == np.quantile(every, [0.025, 0.975], method="nearest").tolist()
    assert median([0.3]) == (0.3, 0.3, 0.3)


def test_a_sweep_has_its_members_by_curve_size_and_feature():
    sweep = one()
    assert (sweep.name, sweep.axis, sweep.missing) == ("paper", "sparsity", 0)
    assert sweep.features == tuple(f"conv5:{unit}" for unit in range(1, 6))
    assert [curve.label for curve in sweep.curves] == ["snip", "actgrad", "force(steps=5)", "magnitude", "random"]
    assert sweep.sizes == (0.01, 0.1, 0.5)
    assert len(sweep.circuits) == 5 * 3 * 5
    point = sweep.curves[2].points[1]
    assert {name: each.plan.id for name, each in point.summaries.items()} == {
        f"conv5:{unit}": f"paper-{unit}-0.1-force_steps_5" for unit in range(1, 6)
    }
    assert point.fidelity("pearson").value == 0.3
    assert (point.fidelity("pearson").low, point.fidelity("pearson").high) == (0.1, 0.5)


def test_the_mean_over_sizes_is_the_integral_over_their_logarithm():
    """Against the sum over many sizes between those of the curve."""
    curve = one().curves[2]
    places = np.log([point.size for point in curve.points])
    values = [point.fidelity("pearson").value for point in curve.points]
    dense = np.linspace(places[0], places[-1], 100_001)
    assert curve.area("pearson") == pytest.approx(np.interp(dense, places, values).mean(), abs=1e-5)
    assert replace(curve, points=curve.points[:1]).area("pearson") is None


def test_means_stand_below_curves_of_the_same_sizes_alone():
    sweep = one()
    means = [f"{curve.area('pearson'):.3f}" for curve in sweep.curves]
    (line,) = (line for line in shown(sweep_report(sweep), 140) if line.startswith("mean "))
    assert line.split()[1:] == means
    data = json.loads(sweep_data([sweep]))["sweeps"][0]["curves"]
    assert [f"{curve['areas']['pearson']:.3f}" for curve in data] == means
    shorter = replace(sweep.curves[0], points=sweep.curves[0].points[1:])
    text = shown(sweep_report(replace(sweep, curves=(shorter, *sweep.curves[1:]))), 140)
    assert not any(line.startswith("mean") for line in text)


def test_what_differs_in_no_size_is_no_sweep():
    plan, found = planned("preserve conv5:[1..3] on images/dogs/* sparsity<=1% criterion=each(snip, actgrad)")
    assert sweeps(plan.circuits, found) == []


def test_a_circuit_that_is_missing_is_told_and_left_out():
    plan, found = planned()
    del found["paper-5-0.5-snip"], found["paper-4-0.5-snip"]
    (sweep,) = sweeps(plan.circuits, found)
    assert sweep.missing == 2
    point = sweep.curves[0].points[2]
    assert point.fidelity("pearson").value == pytest.approx(0.4)
    assert "! 2 of its circuits are missing, and medians are of what is there" in shown(sweep_report(sweep), 80)
    page = index("run", plan, found).decode()
    assert "2 circuits are missing" in page
    # Of the criterion three features are whole, of the other four all five; and every one is drawn.
    assert page.count("stroke-opacity: 0.22") == 3 + 4 * 5 + 3 + 4 * 5


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_the_report_fits_and_has_every_curve(width):
    lines = shown(sweep_report(one()), width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for label in ("snip", "actgrad", "force(steps=5)", "magnitude", "random"):
        # Once above its column, once above its plot.
        assert len(re.findall(rf"(?<!\S){re.escape(label)}(?!\S)", text)) >= 2
    assert text.count("0.300 0.100–0.500") == 2 * 5
    assert text.count("0.500 0.300–0.700") == 5
    assert text.count("●") == 3 * 5 + 1


def test_a_plot_is_right_without_colour():
    lines = shown(sweep_report(one("preserve conv5:[1..5] on images/dogs/* sparsity<=each(0.1%, 1%, 50%)")), 40)
    plot = lines[next(number for number, line in enumerate(lines) if line.startswith("1.0 ┤")) :][:11]
    columns = [plot[-2].index("┴"), plot[-2].index("┴", plot[-2].index("┴") + 1), plot[-2].rindex("┴")]
    marks = ["".join(line.ljust(40)[column] for line in plot[:9]) for column in columns]
    # From 1 at the top to 0 at the bottom.
    assert [mark.index("●") for mark in marks] == [6, 6, 4]
    assert [mark.count("│") for mark in marks] == [3, 3, 4]
    assert [mark[7] for mark in marks] == ["│", "│", "·"]
    assert plot[-1].split() == ["0.1%", "1%", "50%"]


def test_random_circuits_and_those_that_all_are_compared_with_have_two_names():
    above, heads = shown(sweep_report(one()), 200)[3:5]
    assert (above.split(), heads.split()[-4:]) == (["random,"], ["magnitude", "random", "same", "size"])
    plan, found = planned()
    assert ">random, same size</text>" in index("run", plan, found).decode()
    assert one(SPEC.replace(", random)", ")")).baseline_name == "random"


def test_one_feature_has_its_own_interval():
    sweep = one("preserve conv5:4 on images/dogs/* kernels<=each(10, 100)")
    lines = shown(sweep_report(sweep), 80)
    assert "of conv5:4, with its 95% interval over images" in lines
    assert sum("0.400 0.300–0.500" in line for line in lines) == 2
    assert "●" not in "".join(lines)


@pytest.mark.parametrize("width", [60, 80])
def test_names_of_circuits_are_whole_where_they_can_be(width):
    plan, found = planned()
    lines = shown(overview(list(found.values())), width)
    assert max(map(len, lines)) <= width
    assert all(any(circuit.id in line.split() for line in lines) for circuit in plan.circuits)
    assert "pearson" in lines[2].split()


def test_the_data_has_every_number_of_every_circuit():
    sweep = one()
    content = json.loads(sweep_data([sweep]))
    assert content["version"] == 1
    (data,) = content["sweeps"]
    assert {name: data[name] for name in ("name", "axis", "missing")} == {
        "name": "paper", "axis": "sparsity", "missing": 0,
    }  # fmt: skip
    curve = data["curves"][2]
    assert curve["values"] == {"criterion": "force(steps=5)"}
    numbers = curve["points"][1]["numbers"]
    flat = next(iter(sweep.curves[2].points[1].summaries.values())).flat()
    assert numbers.keys() == {name for name in flat if not name.endswith((".low", ".high"))}
    assert numbers["test.pearson"] == {"value": 0.3, "low": 0.1, "high": 0.5}
    assert numbers["effective"]["value"] == 0.1 * RELEVANT / 2


def test_the_page_shows_curves_table_and_effective_sizes():
    plan, found = planned()
    page = index("run", plan, found).decode()
    assert page.count("chart-sweep") == page.count("chart-effective") == 1
    assert "medians of 5 features" in page
    assert page.count('<b>0.300</b> <span class="interval">0.100–0.500</span>') == 2 * 5


@pytest.mark.slow
def test_a_run_of_many_circuits_is_told_in_lines_and_as_a_sweep(here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("circuitlang.cli.run_output.REPORTS_AT_MOST", 5)
    sizes = "kernels<=each(1, 2, 3)"
    spec = f"circuit sweep = preserve conv3:[1, 2] on images/dogs/* {sizes} criterion=magnitude\n"
    (here / "many.circuit").write_text(spec)
    result = CliRunner().invoke(main, ["run", "many.circuit"], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("sweep-") for line in lines) == 6
    assert "medians of 2 features, with the bootstrap's 95% interval over features" in lines
    data = json.loads((here / "runs/many/sweep.json").read_text())
    assert [point["size"] for point in data["sweeps"][0]["curves"][0]["points"]] == [1, 2, 3]
    # Another plan in its place has none.
    (here / "many.circuit").write_text("preserve conv3:1 on images/dogs/* kernels<=1 criterion=magnitude\n")
    assert CliRunner().invoke(main, ["run", "many.circuit"]).exit_code == 0
    assert not (here / "runs/many/sweep.json").exists()
