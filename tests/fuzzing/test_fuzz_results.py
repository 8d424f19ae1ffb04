"""Damaged folders of circuits, splits and comparisons: whoever reads them has a result or says what is wrong."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load, save

import circuitlang
from circuitlang import pipeline
from circuitlang.base.diagnostics import InputError
from circuitlang.cli.diff import diff_paths
from circuitlang.compiler.sources import open_source
from circuitlang.reporting.html.run_index import index
from circuitlang.reporting.terminal import comparison_report, diff_report, split_report
from circuitlang.reporting.terminal.circuit_report import brief, overview, render
from circuitlang.results.comparison_folders import comparisons, read_comparison
from circuitlang.results.manifest import SUMS
from circuitlang.results.outputs import COMPARISON_FORMATS, ComparisonResult
from circuitlang.results.reader import circuits, plan_of, read, read_split, splits
from circuitlang.results.sweep_grouping import sweeps
from tests.conftest import draw_pictures
from tests.helpers.fuzzing import all_night, damaged, damaged_json, survives

RENDER = "all"

SPEC = """
circuit a = preserve conv5:34 on images/dogs/* kernels<=30 criterion=snip calibrate=bias
circuit b = preserve conv5:33 on images/dogs/* kernels<=each(20, 30) criterion=snip contrast=images/cats/*
circuit w = preserve conv5:34 on images/dogs/* pearson>=0.1 criterion=snip structure=weight
circuit s = split conv5:34 on images/dogs/* into 2 kernels<=30 criterion=snip
compare a, b
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with all that there can be in one."""
    place = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("CIRCUITLANG_CACHE", str(place / "cache"))
        for kind in ("dogs", "cats"):
            draw_pictures(place, kind, 5)
        (place / "run.circuit").write_text(SPEC)
        pipeline.run(open_source(place / "run.circuit"), place / "runs")
    return place / "runs" / "run"


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy without hashes, so that what is in the files is looked at."""
    shutil.copytree(whole, tmp_path / "run")
    for path in (tmp_path / "run").glob(f"*/{SUMS}"):
        path.unlink()
    return tmp_path / "run"


def printed(*what: object) -> str:
    console = Console(file=io.StringIO(), width=100)
    for each in what:
        console.print(each)
    return console.file.getvalue()  # type: ignore[attr-defined]


def use_circuit(folder: Path) -> None:
    """Everything that needs no torch."""
    circuit = circuitlang.load(folder)
    _ = circuit.masks, circuit.graph, circuit.named_graph, circuit.metrics, repr(circuit), circuit._repr_html_()
    result = circuit.result
    printed(render(result, folder), brief(result.summary, cached=True), overview([result.summary] * 2))
    for kind in ("json", "graphml", "html"):
        circuit.export(folder.parent / f"out.{kind}")


def use_run(folder: Path) -> None:
    """What shows the circuits of a run side by side, and holds one run against another."""
    summaries = [read(place).summary for place in circuits(folder)]
    found = {each.plan.id: each for each in summaries}
    if summaries:
        printed(overview(summaries))
    plan = plan_of(folder)
    if plan is not None:
        index("run", plan, found, {place.name: read_split(place) for place in splits(folder)})
        sweeps(plan.circuits, found)
    changes = diff_paths(folder, folder.parent / "run")
    printed(diff_report.render(changes))
    diff_report.plain(changes)


def use_split(folder: Path) -> None:
    printed(split_report.render(read_split(folder), folder))


def use_comparison(folder: Path) -> None:
    comparison = read_comparison(folder)
    printed(comparison_report.render(comparison, folder))
    comparison_report.claims(comparison)
    results = [read(folder.parent / name) for name in ("a", "b-20", "b-30")]
    if len(comparison.members) == len(results):
        for name in COMPARISON_FORMATS.declarations:
            COMPARISON_FORMATS.load(name)(ComparisonResult(comparison, results))


def attempt(path: Path, versions: Iterator[bytes], use: Callable[[Path], None], place: Path | None = None) -> None:
    content = path.read_bytes()
    for number, version in enumerate(versions):
        path.write_bytes(version)
        try:
            survives(lambda: use(place or path.parent))
        except Exception as error:
            raise AssertionError(f"version {number} of {path.name}: {version[:2000]!r}") from error
    path.write_bytes(content)


def odd_arrays(content: bytes, number: int, seed: int = 0) -> Iterator[bytes]:
    """Versions of a file of arrays that are sound files, with arrays of other lengths, types and values."""
    dice = np.random.default_rng(seed)
    odd = [2**62, -(2**62), -1, -2, 10**6, np.inf, np.nan, 0]
    for _ in range(number):
        arrays = {name: each.copy() for name, each in load(content).items()}
        for name in dice.choice(sorted(arrays), dice.integers(1, 4)):
            array = arrays[name]
            kind = dice.integers(7)
            if kind == 0:
                array = array[: len(array) // 2]
            elif kind == 1:
                array = np.concatenate([array, array])
            elif kind == 2:
                array = array.astype(dice.choice(["float16", "int8", "uint64", "bool", "float64"]))
            elif kind == 3:
                array = array.reshape(1, *array.shape)
            elif kind == 4 and array.size:
                with np.errstate(all="ignore"):
                    array.flat[dice.integers(array.size)] = np.array(odd[dice.integers(8)]).astype(array.dtype)
            elif kind == 5:
                array = arrays[dice.choice(sorted(arrays))]
            else:
                array = np.zeros((0,), array.dtype)
            arrays[name] = np.ascontiguousarray(array)
        yield save(arrays)


PLACES = ("a", "b-20", "w", "s-part1")


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", [pytest.param(place, marks=() if place in ("a", "w") else pytest.mark.slow) for place in PLACES]
)
def test_damaged_circuits(run, place):
    summary, arrays = run / place / "circuit.json", run / place / "circuit.safetensors"
    attempt(summary, damaged(summary.read_bytes(), 25), use_circuit)
    attempt(summary, damaged_json(summary.read_bytes(), 60), use_circuit)
    attempt(arrays, damaged(arrays.read_bytes(), 15), use_circuit)
    attempt(arrays, odd_arrays(arrays.read_bytes(), 40), use_circuit)


@pytest.mark.slow
def test_damaged_files_of_a_run(run):
    for name in ("plan.yaml", "a/circuit.json", "s/split.json"):
        path = run / name
        attempt(path, damaged(path.read_bytes(), 12), use_run, run)
        if path.suffix == ".json":
            attempt(path, damaged_json(path.read_bytes(), 20), use_run, run)


@pytest.mark.slow
def test_damaged_splits(run):
    path = run / "s" / "split.json"
    attempt(path, damaged(path.read_bytes(), 40), use_split)
    attempt(path, damaged_json(path.read_bytes(), 150), use_split)


@pytest.mark.slow
def test_a_split_that_lacks_something_is_refused(run):
    path = run / "s" / "split.json"
    whole = json.loads(path.read_bytes())
    for change in (
        {"overlaps": []},
        {"overlaps": whole["overlaps"][1:]},
        {"kinds": whole["kinds"][:1]},
        {"fidelity": []},
        {"fidelity": whole["fidelity"][1:]},
    ):
        path.write_text(json.dumps({**whole, **change}))
        with pytest.raises(InputError) as caught:
            read_split(path.parent)
        assert caught.value.findings[0].code == "E312"


@pytest.mark.slow
def test_damaged_comparisons(run):
    (place,) = comparisons(run)
    path = place / "comparison.json"
    attempt(path, damaged(path.read_bytes(), 40), use_comparison)
    attempt(path, damaged_json(path.read_bytes(), 60), use_comparison)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["report.html", "diagram.html", SUMS])
def test_damaged_pages_and_hashes(run, whole, name):
    shutil.copy(whole / "a" / SUMS, run / "a" / SUMS)
    path = run / "a" / name
    attempt(path, damaged(path.read_bytes(), 10), use_circuit)
    attempt(path, iter([b"", b"\xff", b"\x00" * 1000]), use_circuit)


@pytest.mark.nightly
def test_damaged_results_all_night(run):
    (place,) = comparisons(run)
    for seed in all_night():
        for name in PLACES:
            summary, arrays = run / name / "circuit.json", run / name / "circuit.safetensors"
            attempt(summary, damaged(summary.read_bytes(), 5, seed), use_circuit)
            attempt(summary, damaged_json(summary.read_bytes(), 20, seed), use_circuit)
            attempt(arrays, odd_arrays(arrays.read_bytes(), 20, seed), use_circuit)
        for path, use in ((run / "s" / "split.json", use_split), (place / "comparison.json", use_comparison)):
            attempt(path, damaged_json(path.read_bytes(), 20, seed), use)
        attempt(
            run / "a" / "circuit.json", damaged_json((run / "a" / "circuit.json").read_bytes(), 5, seed), use_run, run
        )


@pytest.mark.slow
def test_circuits_that_were_measured_by_other_metrics_are_shown_side_by_side(run):
    path = run / "b-20" / "circuit.json"
    path.write_text(path.read_text().replace('"spearman"', '"of_an_extension"'))
    use_run(run)


@pytest.mark.slow
def test_what_is_whole_is_read(run):
    for place in PLACES:
        use_circuit(run / place)
    use_run(run)
    use_split(run / "s")
    use_comparison(*comparisons(run))


@pytest.mark.slow
def test_a_graph_of_layers_of_any_name_is_xml(run):
    path = run / "a" / "circuit.json"
    path.write_text(path.read_text().replace('"name": "conv1"', '"name": "conv\\u0000\\u001b"'))
    circuitlang.load(run / "a").export(run / "a.graphml")
    assert '"conv\u2400\u241b:' in (run / "a.graphml").read_text()
    ElementTree.parse(run / "a.graphml")
