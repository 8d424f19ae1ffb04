"""What differs between two specs, plans or runs: in meaning, never in text."""

from __future__ import annotations

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file, save_file

from circuitlang.base.source import Source
from circuitlang.bundled.doodles import draw
from circuitlang.cli.main import main
from circuitlang.pipeline import compile_source
from circuitlang.plan import normalize
from circuitlang.plan.diff import Difference, Side, difference
from circuitlang.reporting.terminal.diff_report import Number, Overlap
from circuitlang.results.manifest import SUMS
from tests.cli.test_startup import imported
from tests.conftest import draw_pictures

DOGS = "images/dogs"
BASE = "preserve conv5:34 on images/dogs/* sparsity<=10% criterion=snip"
FULL = """
model bundled.doodle
images dogs = images/dogs/* except [images/dogs/3.png, images/dogs/4.png]
images cats = images/cats/*
circuit face = preserve conv5:34 on dogs sparsity<=0.1 criterion=snip
circuit ear = preserve conv4:1 on cats kernels<=20 test.pearson>=0.5
compare face, ear
expect face.test.pearson >= 0.9
"""


@pytest.fixture
def here(here: Path) -> Path:
    """A folder with five dogs and five cats, to stand in."""
    draw_pictures(here, "cats", 5)
    return here


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def side(text: str, folder: Path = Path()) -> Side:
    compiled = compile_source(Source("spec.circuit", text, folder))
    return Side(compiled.plan, compiled.origins, compiled.folder)


def differences(before: str, after: str) -> list[Difference]:
    return list(difference(side(before), side(after))[0])


def changed(before: str, after: str) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """Of each difference its part and kind, and the values that changed."""
    found = differences(before, after)
    return [(each.part, each.kind, [(c.name, c.before, c.after) for c in each.changes]) for each in found]


def test_transforms_of_images_differ_in_the_words_of_the_language():
    grey = BASE.replace("images/dogs/*", "images/dogs/* as grey as blurred(4)")
    (forth,), (back,) = differences(BASE, grey), differences(grey, BASE)
    assert [(change.name, change.before, change.after) for change in forth.changes] == [
        ("as", "", "grey, blurred(sigma=4)")
    ]
    assert [(change.before, change.after) for change in back.changes] == [("grey, blurred(sigma=4)", "")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (BASE, f"# a comment\n\n{BASE}  # another\n"),
        (BASE, "preserve conv5:34 on images/dogs/* criterion=snip sparsity<=10%"),
        (BASE, BASE.replace("10%", "0.1")),
        (BASE, "defaults sparsity<=0.1 criterion=snip\npreserve conv5:34 on images/dogs/*"),
        (BASE, f"images dogs = images/dogs/*\n{BASE.replace('images/dogs/*', 'dogs')}"),
        (BASE, BASE.replace("images/", "./images/")),
        (BASE, f"model bundled.doodle\n{BASE}"),
        (BASE, f"{BASE} seed=0 holdout=0.2 ablation=zero"),
        (FULL, FULL.replace("3.png, images/dogs/4.png", "4.png, images/dogs/3.png")),
        (FULL, FULL.replace("images dogs", "images pups").replace("on dogs", "on pups")),
        (FULL, FULL.replace("face, ear", "ear, face")),
    ],
)
def test_what_is_only_written_otherwise_is_no_difference(before, after):
    assert not differences(before, after)
    assert normalize.fingerprint(side(before).plan) == normalize.fingerprint(side(after).plan)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("criterion=snip", "criterion=force(steps=5)", ("circuit", "criterion", "snip", "force(base=snip, steps=5)")),
        ("sparsity<=0.1", "sparsity<=0.10001", ("circuit", "size", "keep<=0.1", "keep<=0.10001")),
        ("sparsity<=0.1", "kernels<=7", ("circuit", "size", "keep<=0.1", "kernels<=7")),
        ("conv5:34", "conv5:35", ("circuit", "target", "conv5:34", "conv5:35")),
        ("criterion=snip", "criterion=snip seed=1", ("circuit", "seed", "0", "1")),
        ("pearson>=0.5", "pearson>=0.6", ("circuit", "bounds", "test.pearson>=0.5", "test.pearson>=0.6")),
        ("bundled.doodle", 'bundled.doodle(weights="w.pt")', ("model", "weights", "", "w.pt")),
        ("[images/dogs/3.png, ", "[", ("image set", "except", f"{DOGS}/3.png, {DOGS}/4.png", f"{DOGS}/4.png")),
        ("= images/cats/*", "= images/cats/1*", ("image set", "patterns", "images/cats/*", "images/cats/1*")),
        (">= 0.9", ">= 0.95", ("expectation", "value", ">= 0.9", ">= 0.95")),
    ],
)  # fmt: skip
def test_a_value_that_changed_is_the_only_thing_that_is_found(old, new, expected):
    part, name, was, now = expected
    after = FULL.replace(old, new)
    assert after != FULL
    assert changed(FULL, after) == [(part, "changed", [(name, was, now)])]
    assert changed(after, FULL) == [(part, "changed", [(name, now, was)])]
    assert normalize.fingerprint(side(FULL).plan) != normalize.fingerprint(side(after).plan)


def test_the_lines_of_both_are_told():
    (each,) = differences(FULL, "# one line more\n" + FULL.replace("criterion=snip", "criterion=random"))
    (change,) = each.changes
    assert (change.before_place, change.after_place) == ("spec.circuit:5", "spec.circuit:6")
    (each,) = differences(BASE, BASE.replace(" criterion=snip", ""))
    assert [change.after_place for change in each.changes] == ["default"]


def test_parts_that_are_in_one_only():
    more = FULL + "circuit nose = preserve conv5:3 on dogs kernels<=9\nexpect nose.test.r2 >= 0.5\n"
    assert [(e.part, e.kind, e.after) for e in differences(FULL, more)] == [
        ("circuit", "added", "nose"),
        ("expectation", "added", "nose.test.r2 >= 0.5"),
    ]
    assert [(e.part, e.kind, e.before) for e in differences(more, FULL)] == [
        ("circuit", "removed", "nose"),
        ("expectation", "removed", "nose.test.r2 >= 0.5"),
    ]
    assert [(e.part, e.kind) for e in differences(FULL, FULL.replace("compare face, ear", ""))] == [
        ("comparison", "removed")
    ]


def test_a_circuit_with_another_name_is_renamed_and_what_speaks_of_it_is_the_same():
    (each,) = differences(FULL, FULL.replace("face", "snout"))
    assert (each.part, each.kind, each.before, each.after) == ("circuit", "renamed", "face", "snout")


def test_a_circuit_on_other_pictures_says_so_once():
    assert changed(FULL, FULL.replace("conv5:34 on dogs", "conv5:34 on cats")) == [
        ("image set", "removed", []),
        ("circuit", "changed", [("images", "dogs", "cats")]),
    ]
    swapped = FULL.replace("images dogs =", "images x =").replace("images cats", "images dogs")
    assert changed(FULL, swapped.replace("images x =", "images cats =")) == [
        ("circuit", "changed", [("images", "dogs", "dogs")]),
        ("circuit", "changed", [("images", "cats", "cats")]),
    ]


def test_one_of_a_nameless_sweep_that_changed_is_not_taken_for_another():
    lines = [BASE.replace("10%", f"{percent}%") for percent in (10, 20, 30)]
    after = [*lines[:2], lines[2].replace("30%", "40%")]
    assert changed("\n".join(lines), "\n".join(reversed(after))) == [
        ("circuit", "changed", [("size", "keep<=0.3", "keep<=0.4")])
    ]


def test_patterns_from_different_folders_that_mean_the_same_files():
    below = side(BASE.replace("images/", "../images/"), Path("specs"))
    assert not difference(side(BASE), below)[0]
    assert difference(side(BASE), side(BASE.replace("images/", "../images/")))[0]


def test_a_spec_its_plan_and_its_run_mean_the_same(here, numbers_alone, standard_run):
    (here / "a.circuit").write_text(BASE)
    call("plan", "a.circuit", "-o", "plans/a.yaml")
    standard_run(BASE, "a.circuit")
    sides = ["a.circuit", "plans/a.yaml", "runs/a", "runs/a/conv5_34-snip-0.1"]
    for before, after in pairwise([*sides, *sides]):
        assert call("diff", before, after).stdout == "no difference in meaning\n"
    (here / "b.circuit").write_text(BASE.replace("snip", "magnitude"))
    for before in sides:
        said = call("diff", before, "b.circuit", code=1).stdout
        assert "criterion: snip → magnitude  (a.circuit:1 → b.circuit:1)" in said


def test_runs_differ_in_numbers_kernels_and_provenance(here, numbers_alone, standard_run):
    (here / "a.circuit").write_text(BASE)
    standard_run(BASE, "a.circuit")
    call("run", "a.circuit", "--out", "again")
    assert call("diff", "runs/a", "again/a").stdout == "no difference in meaning\n"
    draw("dogs", 9).save(here / "images" / "dogs" / "9.png")
    (here / "b.circuit").write_text(BASE.replace("10%", "20%"))
    call("run", "b.circuit")
    (found,) = json.loads(call("diff", "runs/a", "runs/b", "--json", code=1).stdout)["found"]
    folders = Path("runs/a/conv5_34-snip-0.1"), Path("runs/b/conv5_34-snip-0.2")
    numbers = [json.loads((folder / "circuit.json").read_text()) for folder in folders]
    by_name = {each["name"]: each for each in found["numbers"]}
    assert by_name["kept"]["difference"] == numbers[1]["kept"] - numbers[0]["kept"] > 0
    assert by_name["train.pearson"]["before"] == numbers[0]["train"]["metrics"]["pearson"]
    assert set(json.loads((folders[0] / "metrics.json").read_text())) == {*by_name, "verdict"}
    kept = [naive(folder) for folder in folders]
    assert found["kernels"]["common"] == len(kept[0] & kept[1])
    assert found["kernels"]["iou"] == pytest.approx(len(kept[0] & kept[1]) / len(kept[0] | kept[1]))
    assert [change["name"] for change in found["provenance"]] == ["train images", "test images"]
    assert "intersection over union" in call("diff", *map(str, folders), code=1).stdout


def naive(folder: Path) -> set[tuple[str, int, int]]:
    arrays = load_file(folder / "circuit.safetensors")
    kept = set()
    for name, targets in arrays.items():
        if name.endswith(".kernel.target"):
            sources = arrays[name.replace("target", "source")]
            for index in range(len(targets)):
                kept.add((name.removesuffix(".kernel.target"), int(targets[index]), int(sources[index])))
    return kept


def test_another_kernel_another_version_and_a_circuit_that_is_not_finished(here, numbers_alone):
    (here / "a.circuit").write_text(f"{BASE}\npreserve conv4:1 on images/dogs/* kernels<=20")
    call("run", "a.circuit")
    call("run", "a.circuit", "--out", "again")
    folder = here / "again" / "a" / "conv5_34-snip-0.1"
    arrays = load_file(folder / "circuit.safetensors")
    name = next(name for name, each in arrays.items() if name.endswith("kernel.target") and len(np.unique(each)) > 1)
    arrays[name] = arrays[name].max() - arrays[name]
    save_file(arrays, folder / "circuit.safetensors")
    (folder / SUMS).unlink()
    summary = (folder / "circuit.json").read_text()
    (folder / "circuit.json").write_text(re.sub('"torch": *"', '"torch":"9.', summary))
    (here / "again" / "a" / "conv4_1-annealed-20kernels" / "circuit.json").unlink()
    data = json.loads(call("diff", "runs/a", "again/a", "--json", code=1).stdout)
    assert not data["meaning"]
    first, second = data["found"]
    assert first["kernels"]["common"] == len(naive(here / "runs" / "a" / "conv5_34-snip-0.1") & naive(folder))
    assert [change["name"] for change in first["provenance"]] == ["version of torch"]
    assert second["kernels"] is None
    assert all(number["after"] is None and number["before"] is not None for number in second["numbers"])
    assert "version of torch" in call("diff", "runs/a", "again/a", code=1).stdout


def test_the_overlap_of_nothing_and_numbers_that_are_none():
    assert Overlap(0, 0, 0).iou == 1
    assert Overlap(2, 0, 0).iou == 0
    assert Number("x", float("nan"), float("nan")).difference == 0
    assert Number("x", 0.5, 0.5 + 1e-9).difference == 0
    assert Number("x", None, 0.5).difference is None


@pytest.mark.parametrize("bad", ["none.circuit", "images", "bad.circuit", "damaged"])
def test_every_mistake_in_either_is_a_finding(here, bad):
    (here / "a.circuit").write_text(BASE)
    (here / "bad.circuit").write_text(BASE.replace("snip", "snpi"))
    (here / "damaged").mkdir()
    (here / "damaged" / "plan.yaml").write_text("circuits: [")
    for arguments in ((bad, "a.circuit"), ("a.circuit", bad), (bad, bad)):
        result = call("diff", *arguments, code=1)
        assert "error[E" in result.stderr
        assert not result.stdout


def test_damaged_results_are_findings(here, numbers_alone, standard_run):
    (here / "a.circuit").write_text(BASE)
    standard_run(BASE, "a.circuit")
    for name in ("circuit.safetensors", "circuit.json"):
        (here / "runs" / "a" / "conv5_34-snip-0.1" / name).write_bytes(b"{")
        assert "error[E312]" in call("diff", "runs/a", "runs/a", code=1).stderr


def test_a_damaged_result_hides_no_other(here, numbers_alone):
    (here / "a.circuit").write_text(f"{BASE}\n{BASE.replace('snip', 'magnitude')}\n")
    call("run", "a.circuit")
    shutil.copytree("runs/a", "b")
    ours, theirs = sorted(path.parent for path in Path("b").glob("*/circuit.json"))
    (theirs / "circuit.safetensors").write_bytes(b"{")
    said = call("diff", "runs/a", "b", "--json", code=1)
    data = json.loads(said.stdout)
    assert [each["after"] for each in data["found"]] == [ours.name]
    assert data["damaged"] == [f"{theirs / 'circuit.safetensors'} was changed"]
    assert not data["same"]
    assert said.stderr.count("error[E312]") == 1


def test_no_torch_is_imported(here, numbers_alone, standard_run):
    (here / "a.circuit").write_text(BASE)
    standard_run(BASE, "a.circuit")
    assert imported(["diff", "runs/a", "runs/a"], here) == []
