"""A packed run keeps its circuits as rows of one file, computes each once, and makes the folder of any of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import circuitlang
from benchmarks.sweep import counted
from circuitlang import pipeline
from circuitlang.base.diagnostics import InputError, OutputError
from circuitlang.base.source import Source
from circuitlang.cli.main import main
from circuitlang.engine.runtime import job_runner
from circuitlang.engine.runtime.options import Options
from circuitlang.results.manifest import SUMS
from circuitlang.results.packed.circuits import PackedCircuits
from circuitlang.results.packed.packed_writer import packed_writer
from tests.conftest import ROOT, draw_pictures
from tests.helpers.outcomes import outcomes

SPEC = "preserve conv2:[3, 4, 9] on images/dogs/* keep<=10% criterion=snip\n"
IDS = [f"conv2_{unit}-snip-0.1" for unit in (3, 4, 9)]
PACKED = Options(packed=True, render="none")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    draw_pictures(tmp_path, "dogs", 4)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "inline"


def run(text: str = SPEC, out: str = "runs", options: Options = PACKED) -> list[Any]:
    return outcomes(Source("<-e>", text), Path(out), options)


def contents(folder: Path) -> dict[str, bytes]:
    # A module has the time of its making in it, and the sums have its hash.
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in ("module.pt2", SUMS)}


def never_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("a finished circuit was searched for again")

    monkeypatch.setattr(job_runner, "execute", refuse)


def test_a_packed_run_leaves_one_file_and_is_not_computed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [outcome.cached for outcome in run()] == [False] * 3
    assert sorted(path.name for path in folder.iterdir()) == ["circuits.parquet", "plan.yaml"]
    before = (folder / "circuits.parquet").read_bytes()
    never_search(monkeypatch)
    # It stays packed, also where nobody says so.
    again = run(options=Options(render="none"))
    assert [(outcome.cached, outcome.result.summary.plan.id) for outcome in again] == [(True, name) for name in IDS]
    assert (folder / "circuits.parquet").read_bytes() == before
    assert {circuit.state for circuit in pipeline.forecast(compiled(SPEC), folder).circuits} == {"finished"}


def test_a_plan_says_that_a_run_is_packed_and_counts_no_pages(folder: Path) -> None:
    packed, usual = (pipeline.forecast(compiled(SPEC), folder, Options(packed=choice)) for choice in (True, False))
    assert packed.packed
    assert not usual.packed
    assert packed.total.forwarded < usual.total.forwarded
    shown = CliRunner().invoke(main, ["plan", "--packed", "-e", SPEC], catch_exceptions=False).output
    assert "a row of circuits.parquet for each circuit" in shown


def test_a_packed_run_computes_what_its_plan_counts(folder: Path) -> None:
    text = SPEC + "preserve conv2:9 on images/dogs/* kernels<=each(9, 40) criterion=annealed(passes=1)\n"
    total = pipeline.forecast(compiled(text), folder, PACKED).total
    with counted() as count:
        run(text)
    assert (count.forward, count.backward) == (total.forwarded, total.returned)


def compiled(text: str) -> Any:
    return pipeline.compile_source(Source("<-e>", text))


def test_a_run_goes_on_with_the_circuits_that_it_lacks(folder: Path) -> None:
    run(SPEC.replace(", 9", ""))
    assert [outcome.cached for outcome in run()] == [True, True, False]
    assert list(PackedCircuits.read(folder).places) == IDS


@pytest.mark.parametrize(
    "clauses",
    [
        "keep<=10% criterion=snip",
        "kernels<=6 criterion=gn ablation=mean calibrate=bias",
        "correlation>=0.8 criterion=actgrad",
        "keep<=10% criterion=snip structure=weight",
    ],
)
def test_the_folder_of_a_packed_circuit_is_that_of_a_direct_run(folder: Path, clauses: str) -> None:
    text = f'circuit one = preserve conv2:4 on images/dogs/* {clauses}\nlabel conv2:4 "stripes"\n'
    run(text, "direct", Options())
    run(text)
    (made,) = pipeline.unpack(folder, ["one"])
    assert made == folder / "one"
    assert contents(made) == contents(Path("direct/inline/one"))
    # A whole folder is kept.
    before = (made / "module.pt2").stat().st_mtime_ns
    pipeline.unpack(folder, ["one"])
    assert (made / "module.pt2").stat().st_mtime_ns == before


def test_numbers_are_those_of_metrics_json_by_names_without_dots(folder: Path) -> None:
    (first, *_) = run()
    frame = circuitlang.load(folder).to_frame()
    row = frame.loc[IDS[0]]
    flat = first.result.summary.flat()
    assert {name: row[name.replace(".", "_")] for name in flat} == pytest.approx(flat)
    assert (row["target"], row["layer"], row["unit"], row["size"]) == ("conv2:3", "conv2", 3, "keep<=0.1")
    assert row["verdict"] == circuitlang.load(folder)["conv2:3"].verdict
    assert frame["kept"].dtype == frame["test_images"].dtype == "int64"


def test_columns_of_further_image_sets_are_names(folder: Path) -> None:
    draw_pictures(Path(), "cats", 2)
    run(SPEC.replace("\n", " also=images/cats/*\n"))
    names = [name for name in circuitlang.load(folder).to_frame().columns if name.startswith("also_")]
    assert "also_images_cats___pearson" in names
    assert all(name.isidentifier() for name in names)


@pytest.mark.slow
def test_a_circuit_is_found_by_its_number_its_name_and_its_target(folder: Path) -> None:
    run()
    packed = circuitlang.load(folder)
    assert len(packed) == 3
    assert packed.names() == IDS
    assert packed["conv2:9"].folder == packed[IDS[2]].folder == packed[-1].folder == folder / IDS[2]
    with pytest.raises(InputError, match="has no circuit conv2:99"):
        packed["conv2:99"]
    assert circuitlang.load(folder / IDS[1]).summary.plan.id == IDS[1]


@pytest.mark.slow
def test_circuits_of_a_packed_run_are_compared(folder: Path) -> None:
    run()
    assert circuitlang.compare(folder / IDS[0], folder / IDS[1]).iou.shape == (2, 2)


def test_labels_are_those_of_the_plan(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    never_search(monkeypatch)
    (*_, last) = run(f'{SPEC}label conv2:9 "stripes"\n')
    assert last.result.summary.labels.channels[0].text == "stripes"


@pytest.mark.slow
def test_several_processes_pack_too(folder: Path) -> None:
    from circuitlang.engine.runtime.work_selection import WorkSelection
    from circuitlang.plugins.placements import Placement

    pipeline.run(Source("<-e>", SPEC), Path("runs"), PACKED, WorkSelection(placement=Placement(workers=2)))
    run(out="single")
    assert list(PackedCircuits.read(folder).places) == IDS
    assert (folder / "circuits.parquet").read_bytes() == Path("single/inline/circuits.parquet").read_bytes()


@pytest.mark.slow
def test_a_killed_run_loses_nothing_that_it_had_written(folder: Path) -> None:
    """Killed after two shards, with the third circuit about to be finished."""
    script = """
        import os, signal
        from pathlib import Path
        from circuitlang import pipeline
        from circuitlang.base.source import Source
        from circuitlang.engine.runtime.options import Options
        from circuitlang.results.packed import packed_writer
        written = []
        write = packed_writer.write_shard
        def counted(circuits, folder):
            if len(written) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            written.append(write(circuits, folder))
        packed_writer.write_shard, packed_writer.GROUP = counted, 1
        pipeline.run(Source("<-e>", {text!r}), Path("runs"), Options(packed=True))
    """
    script = textwrap.dedent(script).replace("{text!r}", repr(SPEC))
    ended = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert list(PackedCircuits.read(folder).places) == IDS[:2]
    assert [outcome.cached for outcome in run()] == [True, True, False]
    assert sorted(path.name for path in folder.iterdir()) == ["circuits.parquet", "plan.yaml"]


def test_an_interrupted_run_keeps_what_it_finished(folder: Path) -> None:
    plan = compiled(SPEC).plan
    finished = run(out="other")

    def interrupted() -> None:
        with packed_writer(plan, folder) as writer:
            writer.finished(finished[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(PackedCircuits.read(folder).places) == IDS[:1]


@pytest.mark.parametrize("damage", ["cut off", "changed", "empty"])
def test_what_is_damaged_is_made_anew(folder: Path, damage: str) -> None:
    run()
    path = folder / "circuits.parquet"
    whole = path.read_bytes()
    middle = len(whole) // 8
    changed = whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 64]) + whole[middle + 64 :]
    path.write_bytes({"cut off": whole[: len(whole) // 2], "changed": changed, "empty": b""}[damage])
    results = run()
    assert [outcome.cached for outcome in results] == [False] * 3
    assert "circuits.parquet" in results[0].damage[0]
    assert path.read_bytes() == whole


def test_a_torn_shard_is_refused_and_its_circuits_are_made_anew(folder: Path) -> None:
    run(SPEC.replace(", 9", ""))
    shard = folder / ".shards" / "00000001-1.parquet"
    shard.parent.mkdir()
    shard.write_bytes((folder / "circuits.parquet").read_bytes()[:-100])
    assert [outcome.cached for outcome in run()] == [True, True, False]
    assert not shard.exists()


def test_a_file_of_others_stays(folder: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    folder.mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.table({"mine": [1]}), folder / "circuits.parquet")
    with pytest.raises(OutputError, match=r"circuits\.parquet"):
        run()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("split conv2:3 on images/dogs/* into 2 kernels<=6 criterion=snip", "splits"),
        (
            f"circuit a = {SPEC.replace('[3, 4, 9]', '3')}circuit b = {SPEC.replace('[3, 4, 9]', '4')}compare a, b",
            "comp",
        ),
    ],
)
def test_splits_and_comparisons_cant_be_packed(folder: Path, text: str, word: str) -> None:
    with pytest.raises(InputError, match=f"a packed run can't have {word}") as caught:
        run(text)
    assert caught.value.findings[0].code == "E368"
    assert not folder.exists()


def test_changed_inputs_are_noticed_before_a_folder_is_made(folder: Path) -> None:
    run()
    next(Path("images/dogs").iterdir()).unlink()
    with pytest.raises(InputError, match="can't be made again"):
        pipeline.unpack(folder, IDS[:1])
    assert not (folder / IDS[0]).exists()


@pytest.mark.slow
def test_commands_take_a_circuit_of_a_run_by_its_target(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    invoke = CliRunner().invoke
    ran = invoke(main, ["run", "--packed", "-e", SPEC], catch_exceptions=False)
    assert f"packed in {Path('runs/inline/circuits.parquet')}" in ran.output
    shown = invoke(main, ["show", "inline"], catch_exceptions=False).output
    assert all(name in shown for name in IDS)
    assert "conv2:4 of doodle" in invoke(main, ["show", "inline", "conv2:4"], catch_exceptions=False).output
    assert "conv2:4 of doodle" in invoke(main, ["show", IDS[1]], catch_exceptions=False).output
    assert not (folder / IDS[1]).exists()
    result = invoke(main, ["open", "inline", "conv2:4"], catch_exceptions=False)
    assert opened == [(folder / IDS[1] / "diagram.svg").resolve().as_uri()], result.output
    assert "unknown" not in invoke(main, ["show", "--full", "inline", "conv2:4"], catch_exceptions=False).output
