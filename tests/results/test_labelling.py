"""Labels are put into the files of a finished circuit, and nothing else in them changes."""

import json
import re
from dataclasses import replace
from pathlib import Path

import msgspec
from click.testing import CliRunner

from circuitlang.cli.main import main
from circuitlang.plan.labels import Group, Label, Labels
from circuitlang.results.comparison import Comparison
from circuitlang.results.labelling import DATA
from circuitlang.results.manifest import SUMS, damage
from circuitlang.results.reader import read
from circuitlang.results.writer import relabel, relabel_comparison, write_files

RENDER = "all"

# A run that other tests begin with too.
SPEC = "circuit a = preserve conv5:34 on images/dogs/* kernels<=20 criterion=magnitude\n"
FOLDER = Path("runs/inline/a")


def files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.name != SUMS}


def label(labels: Labels | None) -> None:
    made = read(FOLDER)
    relabel(replace(made, summary=msgspec.structs.replace(made.summary, labels=labels)), FOLDER)


def test_labels_come_and_go_in_the_files_that_are_there(standard_run):
    standard_run(SPEC)
    before = files()
    channels = sorted(set(re.findall(r'data-label="conv4:(\d+)"', before["diagram.svg"].decode())))
    unit = int(channels[0])
    labels = Labels(
        [Label("conv4", unit, "<eye> & ear", "a.labels"), Label("conv5", 34, "dog"), Label("conv9", 0, "elsewhere")],
        [Group("dog face", "conv4", [2, 3])],
    )
    label(labels)
    after = files()
    assert read(FOLDER).summary.labels == labels
    assert not damage(FOLDER)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"circuit.json", "diagram.html", "diagram.svg", "report.html", "report.txt"}
    drawing, page, report = (after[name].decode() for name in ("diagram.svg", "report.html", "report.txt"))
    assert f">{unit} &lt;eye&gt; &amp; ear</text>" in drawing
    assert '<span class="label" data-label="conv5:34">“dog”</span></h1>' in page
    assert "<dt>conv4:2, 3</dt><dd>group dog face</dd>" in page
    assert "elsewhere" not in page  # it is of a layer that the circuit has not
    assert "<eye> & ear" in report
    (data,) = re.findall(r'id="labels">([^<]*)</script>', after["diagram.html"].decode())
    assert msgspec.convert(json.loads(data), Labels) == labels
    label(None)
    assert files() == before


def test_a_run_that_finds_a_circuit_finished_puts_other_labels_into_it(standard_run):
    standard_run(SPEC)
    ran = CliRunner().invoke(main, ["run", "-e", f'{SPEC}label conv5:34 "dog head"'])
    assert "finished before" in ran.output
    assert "conv5:34 “dog head”" in ran.output
    assert ">34 dog head</text>" in (FOLDER / "diagram.svg").read_text()
    assert "“dog head”" in (FOLDER / "../index.html").read_text()
    assert read(FOLDER).summary.labels == Labels([Label("conv5", 34, "dog head", "<-e>")])
    assert not damage(FOLDER)


def test_a_comparison_has_the_labels_of_today(tmp_path):
    write_files({"diagram.html": b"<nav>" + DATA + b"{}</script>", "x.json": b"{}"}, tmp_path / "compare")
    comparison = Comparison(identity="", model="", noun="kernel", members=[], layers={"features.0": "conv1"}, pairs=[])
    for labels in (Labels([Label("conv1", 3, "</script>")]), None):
        relabel_comparison(comparison, labels, tmp_path / "compare")
        (data,) = re.findall(r'id="labels">([^<]*)</script>', (tmp_path / "compare" / "diagram.html").read_text())
        assert msgspec.json.decode(data, type=Labels) == (labels or Labels())
        assert not damage(tmp_path / "compare")
