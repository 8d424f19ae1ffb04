"""Finished circuits side by side: what they share, how alike their maps are, and one diagram of both."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import circuitlang
from circuitlang.api import load as load_circuit
from circuitlang.base.diagnostics import InputError
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.engine.images.file_patterns import find
from circuitlang.engine.images.image_set import ImageSet, load
from circuitlang.engine.models.sources.bundled import bundled
from circuitlang.engine.runtime import comparisons
from circuitlang.engine.runtime.options import Options
from circuitlang.pipeline import compile_source, run_compiled
from circuitlang.reporting.diagram.overlay import COLOURS
from circuitlang.reporting.terminal.comparison_report import claims, render
from circuitlang.results.comparison import Comparison, letter
from circuitlang.results.comparison_folders import folder_names, read_comparison
from circuitlang.results.manifest import SUMS, damage
from circuitlang.results.run_listener import OutcomeList
from tests.conftest import draw_pictures

# The run that its tests share takes seconds.
pytestmark = pytest.mark.slow

RENDER = "all"

SVG = "{http://www.w3.org/2000/svg}"
SPEC = """
images dogs = images/dogs/*
defaults criterion=snip kernels<=60
circuit face = preserve conv5:34 on dogs
circuit small = preserve conv5:34 on dogs kernels<=30 criterion=taylor
circuit single = preserve conv5:34 on dogs kernels<=300 structure=weight
circuit fitted = preserve conv5:34 on dogs ablation=mean calibrate=kernels
circuit other = preserve conv5:3 on dogs
circuit early = preserve conv2:31 on dogs
circuit shifted = preserve conv5:34 on dogs seed=1
circuit collapsed = preserve conv5:34 on dogs kernels<=1 refill=none
circuit sweep = preserve conv5:34 on dogs kernels<=each(20, 40)
compare face, small
compare face, single, fitted, early
compare sweep[kernels=20], sweep[kernels=40]
compare face, face
compare face, collapsed
compare other, face
compare face, shifted
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run."""
    place = tmp_path_factory.mktemp("compare")
    draw_pictures(place, "dogs", 7)
    (place / "spec.circuit").write_text(SPEC)
    circuitlang.run(place / "spec.circuit", place / "runs")
    return place / "runs" / "spec"


def call(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code == code, result.output
    return result.output


def kernels(folder: Path) -> set[tuple[str, int, int]]:
    masks = load_circuit(folder).masks
    return {(path, *place) for path, mask in masks.items() for place in np.argwhere(mask).tolist()}


def test_what_is_shared_is_the_intersection(runs: Path):
    a, b = kernels(runs / "face"), kernels(runs / "small")
    total = read_comparison(runs / "compare-face-small").pairs[0].overlap.total
    assert (total.first, total.second, total.shared) == (len(a), len(b), len(a & b))
    assert total.iou == len(a & b) / len(a | b)
    assert 0 < total.expected < total.shared
    assert 0 < total.p < 1e-6


def held_out(folder: Path) -> ImageSet:
    summary, preprocess = load_circuit(folder).summary, bundled("doodle", {}, Path).preprocess
    compiled = circuitlang.compile((folder.parents[2] / "spec.circuit").read_text(), folder.parents[2])
    pictures, _ = load(find(compiled.images["dogs"], folder.parents[2]), preprocess)
    test = pictures.split(summary.plan.holdout, summary.plan.seed)[1]
    assert test is not None
    return test


def test_maps_are_compared_on_pictures_held_out_from_both(runs: Path):
    pair = read_comparison(runs / "compare-face-small").pairs[0]
    (batch,) = held_out(runs / "face").batches("")
    with torch.no_grad():
        a, b = (load_circuit(runs / name).module()(batch).double().flatten().numpy() for name in ("face", "small"))
    assert pair.agreement is not None
    assert (pair.agreement.pictures, pair.agreement.held_out) == (1, True)
    assert pair.agreement.metrics["pearson"] == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert set(pair.agreement.metrics) == {"pearson", "pearson_demeaned", "spearman"}


def test_what_one_was_found_on_is_not_held_out_from_both(runs: Path):
    """Other pictures are held out by another seed: none is held out from both, and that is said."""
    comparison = read_comparison(runs / "compare-face-shifted")
    (pair,) = comparison.pairs
    assert pair.agreement is not None
    assert not pair.agreement.held_out
    assert "aren't held out from both" in claims(comparison)[1]


def test_more_than_two_make_a_matrix(runs: Path):
    place = runs / "compare-face-single-fitted-early"
    comparison = read_comparison(place)
    assert [(each.first, each.second) for each in comparison.pairs] == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert sorted(path.name for path in place.iterdir()) == [
        SUMS, "comparison.json", "diagram-A-B.html", "diagram-A-B.svg", "diagram-A-C.html", "diagram-A-C.svg",
        "diagram-A-D.html", "diagram-A-D.svg", "report.html", "report.txt",
    ]  # fmt: skip
    # What single weights share with whole kernels is counted in kernels.
    assert comparison.noun == "kernel"
    a, b = kernels(runs / "face"), kernels(runs / "single")
    assert comparison.pair(0, 1).overlap.total.iou == len(a & b) / len(a | b)
    assert comparison.members[2].how == "snip, ablation mean, refitted (kernels)"


def test_another_layer_has_maps_of_another_shape_and_fewer_relevant_kernels(runs: Path):
    comparison = read_comparison(runs / "compare-face-single-fitted-early")
    pair = comparison.pair(0, 3)
    assert pair.agreement is None
    assert "of different shapes" in pair.silent
    assert list(pair.overlap.layers) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    deep = pair.overlap.layers["conv3"]
    assert (deep.second, deep.shared, deep.expected) == (0, 0, 0)
    # Of conv2, one row is relevant to the early circuit.
    mine = load_circuit(runs / "face").masks["conv2"]
    last = pair.overlap.layers["conv2"]
    assert last.second > 0
    assert last.expected == pytest.approx(mine.sum() * last.second / mine.size)


def test_targets_of_one_layer_share_nothing_of_it_by_chance(runs: Path):
    pair = read_comparison(runs / "compare-other-face").pairs[0]
    last = pair.overlap.layers["conv5"]
    assert (last.shared, last.expected, last.p) == (0, 0, 1)
    assert pair.agreement is not None


def test_a_circuit_and_itself(runs: Path):
    comparison = read_comparison(runs / "compare-face-face")
    (pair,) = comparison.pairs
    assert pair.overlap.total.iou == 1
    assert pair.agreement.metrics["pearson"] == pytest.approx(1)
    assert claims(comparison)[0] == "face and face are the same 60 kernels."


def test_a_collapsed_circuit_has_no_map_to_compare(runs: Path):
    (pair,) = read_comparison(runs / "compare-face-collapsed").pairs
    assert pair.agreement is None
    assert pair.silent.startswith("collapsed has collapsed")


def test_members_of_a_sweep_are_chosen_by_value(runs: Path):
    comparison = read_comparison(runs / "compare-sweep-20-sweep-40")
    assert [member.name for member in comparison.members] == ["sweep-20", "sweep-40"]


def test_nothing_is_compared_twice(runs: Path, monkeypatch: pytest.MonkeyPatch):
    def again(*_: object) -> None:
        raise AssertionError

    spec = runs.parents[1] / "spec.circuit"
    with monkeypatch.context() as patched:
        patched.setattr(comparisons, "compare", again)
        circuitlang.run(spec, runs.parent)
    # Damaged, it is done again.
    path = runs / "compare-face-small" / "comparison.json"
    content = path.read_bytes()
    path.write_bytes(content[:100])
    circuitlang.run(spec, runs.parent)
    assert path.read_bytes() == content


def test_a_circuit_that_changes_is_compared_again(here: Path):
    spec = "circuit {} = preserve conv5:34 on images/dogs/* kernels<={} criterion=snip\n"
    for size in (20, 30):
        text = spec.format("a", size) + spec.format("b", 40) + "compare a, b"
        results = OutcomeList()
        run_compiled(compile_source(Source("x", text)), here / "runs" / "x", Options(listener=results))
        (standing,) = results.comparisons
        assert standing.comparison is not None
        assert standing.comparison.pairs[0].overlap.total.first == size
        assert read_comparison(standing.folder) == standing.comparison


def test_a_comparison_waits_for_its_circuits(here: Path):
    Path("x.circuit").write_text(
        "defaults criterion=snip\ncircuit a = preserve conv5:34 on images/dogs/* kernels<=20\n"
        "circuit b = preserve conv5:34 on images/dogs/* kernels<=40\ncompare a, b"
    )
    assert "compare a and b waits for b" in call("run", "x.circuit", "--only", "a")
    assert not (here / "runs" / "x" / "compare-a-b").exists()
    printed = call("run", "x.circuit", "--shard", "2/2")
    assert "a and b share" in printed
    assert (here / "runs" / "x" / "compare-a-b" / "report.html").is_file()
    assert "compare-a-b/report.html" in (here / "runs" / "x" / "index.html").read_text()
    assert "compare a and b" in call("plan", "x.circuit").replace("compare    ", "compare ")


def drawn(svg: bytes) -> dict[str, int]:
    found: dict[str, int] = {}
    for path in ET.fromstring(svg).iter(f"{SVG}path"):
        kind = path.get("class", "")
        if kind.startswith("circuit-edge"):
            found[kind.split()[1]] = found.get(kind.split()[1], 0) + 1
    return found


def connected(folder: Path) -> set[tuple[str, str, int, int]]:
    """Pairs of channels joined by an effective kernel; the image is one."""
    found = set()
    for (a, source), (b, target), about in load_circuit(folder).graph.edges(data=True):
        if about["effective"]:
            found.add((a, b, 0 if a == "image" else source, target))
    return found


def test_the_diagram_has_the_edges_of_both_and_of_either(runs: Path):
    svg = (runs / "compare-face-small" / "diagram.svg").read_bytes()
    a, b = connected(runs / "face"), connected(runs / "small")
    counts = {"in-both": len(a & b), "only-first": len(a - b), "only-second": len(b - a)}
    assert drawn(svg) == {word: number for word, number in counts.items() if number}
    assert all(counts.values())
    root = ET.fromstring(svg)
    looks = {
        (path.get("class"), path.get("stroke"), path.get("stroke-dasharray") is None)
        for path in root.iter(f"{SVG}path")
        if path.get("class", "").startswith("circuit-edge")
    }
    assert looks == {
        ("circuit-edge in-both", COLOURS[3], True),
        ("circuit-edge only-first", COLOURS[1], False),
        ("circuit-edge only-second", COLOURS[2], False),
    }
    assert b"http" not in svg.replace(b"http://www.w3.org", b"")
    assert {"only in A face", "only in B small", "in both"} <= {
        title.text.splitlines()[-1] for title in root.iter(f"{SVG}title")
    }


# What is seen with three kinds of colour blindness: Machado et al. 2009, severity 1, of linear RGB.
SEEN = {
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    "none": np.eye(3).tolist(),
}


def lab(colour: str, kind: str) -> np.ndarray:
    """CIELAB under D65."""
    values = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(SEEN[kind]) @ linear, 0, 1)
    white = [0.9505, 1, 1.089]
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear / white
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", SEEN)
def test_its_colours_are_told_apart_by_everyone(kind: str):
    seen = [lab(colour, kind) for colour in (*COLOURS.values(), "#ffffff")]
    apart = [np.linalg.norm(a - b) for number, a in enumerate(seen) for b in seen[number + 1 :]]
    assert min(apart) > 40


def test_circuits_of_two_runs(runs: Path, tmp_path: Path):
    text = SPEC.replace("images/dogs/*", str(runs.parents[1] / "images" / "dogs" / "*"))
    text = text.partition("circuit single")[0].replace("criterion=snip", "criterion=actgrad")
    theirs = circuitlang.run(text, tmp_path).folder / "face"
    printed = call("compare", runs / "face", theirs, "--out", tmp_path / "compared")
    assert "spec/face" in printed
    assert f"{theirs.parent.name}/face" in printed
    assert (tmp_path / "compared" / "diagram.svg").is_file()
    data = json.loads(call("compare", runs / "face", theirs, "--json"))
    a, b = kernels(runs / "face"), kernels(theirs)
    assert data["pairs"][0]["overlap"]["total"]["shared"] == len(a & b)
    assert data["pairs"][0]["agreement"]["held_out"]


def test_from_python(runs: Path):
    found = circuitlang.compare(runs / "face", circuitlang.load(runs / "small"), runs / "collapsed")
    assert found.iou.shape == (3, 3)
    assert found.iou[0, 1] == found.iou[1, 0] == read_comparison(runs / "compare-face-small").pairs[0].overlap.total.iou
    assert np.isnan(found.pearson[0, 2])
    assert "share" in repr(found)
    assert "srcdoc" in found._repr_html_()


def test_pictures_that_are_gone_or_changed_are_said_to_be(runs: Path, tmp_path: Path):
    shutil.copytree(runs.parents[1], tmp_path / "moved")
    here = tmp_path / "moved"
    (here / "images" / "dogs" / "0.png").unlink()
    # The comparison that the run has made is still one of the images that it saw.
    found = circuitlang.compare(here / "runs" / "spec" / "face", here / "runs" / "spec" / "small")
    assert found.comparison.pairs[0].silent == ""
    shutil.rmtree(here / "runs" / "spec" / "compare-face-small")
    found = circuitlang.compare(here / "runs" / "spec" / "face", here / "runs" / "spec" / "small")
    assert found.comparison.pairs[0].silent == "the images of face are no longer those it was found on"
    shutil.rmtree(here / "images")
    found = circuitlang.compare(here / "runs" / "spec" / "face", here / "runs" / "spec" / "small")
    assert "can't be read" in found.comparison.pairs[0].silent
    (here / "runs" / "spec" / "plan.yaml").unlink()
    found = circuitlang.compare(here / "runs" / "spec" / "face", here / "runs" / "spec" / "small")
    assert "is not in the folder above it" in found.comparison.pairs[0].silent
    assert found.iou[0, 1] > 0


def test_circuits_of_other_networks_are_refused(runs: Path, tmp_path: Path):
    shutil.copytree(runs / "small", tmp_path / "small")
    path = tmp_path / "small" / "circuit.json"
    weights = json.loads(path.read_text())["provenance"]["weights"]
    path.write_text(path.read_text().replace(weights, "0" * 64))
    (tmp_path / "small" / SUMS).unlink()
    with pytest.raises(InputError) as raised:
        circuitlang.compare(runs / "face", tmp_path / "small")
    assert [each.code for each in raised.value.findings] == ["E353"]
    assert "E353" in call("compare", runs / "face", tmp_path / "small", code=1)


def test_one_circuit_and_none_are_findings(runs: Path, tmp_path: Path):
    assert "E118" in call("compare", runs / "face", code=1)
    assert "E312" in call("compare", runs / "face", tmp_path, code=1)


def test_a_damaged_circuit_or_comparison_hides_no_other(runs: Path, tmp_path: Path):
    place = shutil.copytree(runs, tmp_path / "spec")
    whole = call("show", place)
    (place / "early" / "circuit.json").write_text("{")
    (place / "compare-face-small" / "comparison.json").write_text("{")
    shown = call("show", place, code=1)
    assert shown.count("E312") == 2
    assert "early" in shown
    assert "other and face share" in whole
    assert "other and face share" in shown
    assert "compare-face-small" in shown


def test_a_damaged_circuit_leaves_the_others_to_be_compared(runs: Path, tmp_path: Path):
    place = shutil.copytree(runs, tmp_path / "spec")
    for name in ("circuit.json", "circuit.safetensors"):
        (place / ("early" if name == "circuit.json" else "single") / name).write_text("{")
    three = place / "face", place / "early", place / "small"
    said = call("compare", *three, code=1)
    assert "face and small share" in said
    assert "early/circuit.json was changed" in said
    said = call("compare", place / "face", place / "early", place / "single", code=1)
    assert "share" not in said
    assert said.count("E312") == 2
    with pytest.raises(InputError):
        circuitlang.compare(*three)


def test_it_is_shown_again_without_torch(runs: Path):
    assert "face and small share" in call("show", runs / "compare-face-small")
    assert "face and small share" in call("show", runs)
    code = "import sys; from circuitlang.cli.main import main\n"
    code += f"try: main(['show', {str(runs / 'compare-face-small')!r}])\n"
    code += "finally: assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_it_fits_a_narrow_terminal(runs: Path):
    from rich.console import Console

    for place in runs.glob("compare-*"):
        comparison: Comparison = read_comparison(place)
        console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
        console.print(render(comparison, place))
        lines = console.export_text().splitlines()
        assert not any("…" in line for line in lines)
        assert max(map(len, lines)) <= 80


def test_folders_have_names_of_their_own():
    many = [f"sweep-{number}" for number in range(20)]
    names = folder_names([["a", "b"], ["a", "b"], many, many[::-1]], ["compare-a-b"])
    assert names[:2] == ["compare-a-b'", "compare-a-b''"]
    assert len(set(names)) == 4
    assert max(map(len, names)) < 100


def test_letters():
    assert [letter(number) for number in (0, 25, 26, 51, 52)] == ["A", "Z", "AA", "AZ", "BA"]


def test_diagrams_lead_to_the_comparisons_that_they_are_in(runs: Path):
    links = (runs / "small" / "diagram.html").read_text().partition("</nav>")[0]
    assert '<a href="../compare-face-small/diagram.html">beside face</a>' in links
    links = (runs / "face" / "diagram.html").read_text().partition("</nav>")[0]
    assert links.count("beside") >= 6
    assert '<a href="../compare-face-single-fitted-early/diagram-A-D.html">beside early</a>' in links
    assert "beside" not in (runs / "early" / "diagram.html").read_text().partition("</nav>")[0].replace(
        "beside face", ""
    )
    assert not damage(runs / "small")
