"""What a spec stands on is written down by content, and drift is refused before anything is computed."""

from __future__ import annotations

import hashlib
import random
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from circuitlang.base.diagnostics import CircuitError, Finding
from circuitlang.bundled import network
from circuitlang.bundled.doodles import draw
from circuitlang.cli.main import main
from circuitlang.engine.runtime.lockfile import lock_path, read_lock, write_lock
from circuitlang.engine.runtime.model_loading import load_model, outline
from circuitlang.plan.model import Model

SPEC = """model bundled.doodle(weights="w.safetensors")
images dogs = images/dogs/*
circuit face = preserve conv5:34 on dogs sparsity<=10% criterion=magnitude
"""


def checkout(folder: Path) -> Path:
    for number in range(4):
        path = folder / "images" / "dogs" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw("dogs", 2_000_000 + number).save(path)
    shutil.copy(Path(network.__file__).with_name("weights.safetensors"), folder / "w.safetensors")
    (folder / "a.circuit").write_text(SPEC)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout, to stand in."""
    monkeypatch.chdir(checkout(tmp_path))
    return tmp_path


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def refused(*codes: str) -> str:
    """What a locked run says, which ends with these errors and leaves nothing."""
    said = call("run", "a.circuit", "--locked", code=1).stderr
    assert sorted(line[6:10] for line in said.splitlines() if line.startswith("error[")) == sorted(codes)
    assert not Path("runs").exists()
    return said


def test_two_checkouts_get_the_same_bytes(tmp_path, monkeypatch):
    for name, spec in (("one", "a.circuit"), ("two/deep er", str(tmp_path / "two" / "deep er" / "a.circuit"))):
        monkeypatch.chdir(checkout(tmp_path / name))
        call("lock", spec)
    locks = [(tmp_path / name / "a.circuit.lock").read_bytes() for name in ("one", "two/deep er")]
    assert locks[0] == locks[1]
    assert str(tmp_path).encode() not in locks[0]


def test_a_lock_holds_hashes_that_anyone_can_compute(here):
    call("lock", "a.circuit")
    content = yaml.safe_load((here / "a.circuit.lock").read_text())
    pictures = {path: hashlib.sha256((here / path).read_bytes()).hexdigest() for path in content["images"]["dogs"]}
    assert content["images"] == {"dogs": pictures}
    assert list(pictures) == [f"images/dogs/{number}.png" for number in range(4)]
    assert content["model"]["name"] == "w.safetensors"
    assert content["versions"]["torch"] == torch.__version__.partition("+")[0]
    locked = read_lock(here / "a.circuit")
    assert write_lock(locked).encode() == (here / "a.circuit.lock").read_bytes()


def test_what_did_not_change_runs_however_it_is_written(here, numbers_alone):
    call("lock", "a.circuit")
    before = (here / "a.circuit.lock").read_bytes()
    (here / "a.circuit").write_text("# said otherwise\n" + SPEC.replace("10%", "0.1").replace("model ", "model  "))
    assert call("run", "a.circuit", "--locked", "--progress", "none").stderr == ""
    assert call("lock", "a.circuit").stdout.count("\n") == 1
    assert (here / "a.circuit.lock").read_bytes() == before


def test_each_picture_that_drifted_is_named(here, numbers_alone):
    call("lock", "a.circuit")
    folder = here / "images" / "dogs"
    (folder / "0.png").unlink()
    (folder / "1.png").write_bytes((folder / "2.png").read_bytes())
    draw("dogs", 7).save(folder / "new.png")
    said = refused("E344", "E344", "E344")
    for words in ("1 image was removed", "images/dogs/0.png", "1 image was changed", "images/dogs/1.png",
                  "1 image was added", "images/dogs/new.png", "a.circuit:2:15"):  # fmt: skip
        assert words in said
    assert "images/dogs/2.png" not in said
    again = call("lock", "a.circuit").stdout
    assert "1 image was removed since dogs was locked: images/dogs/0.png" in again
    call("run", "a.circuit", "--locked")


def test_other_weights_are_named(here):
    call("lock", "a.circuit")
    state = load_file("w.safetensors")
    save_file({name: value * 2 for name, value in state.items()}, "w.safetensors")
    said = refused("E343")
    assert "a.circuit:1:7" in said
    assert "w.safetensors" in said


@pytest.mark.parametrize(
    ("old", "new", "codes", "words"),
    [
        ("10%", "20%", ["E342"], "the circuit face is changed"),
        ("face", "ear", ["E342", "E342"], "the circuit ear is new"),
        ("magnitude\n", "magnitude\ncircuit b = preserve conv4:1 on dogs kernels<=3\n", ["E342"], "circuit b is new"),
        ("w.safetensors", "./w.safetensors", ["E342"], "another model"),
        ("magnitude\n", "magnitude\nexpect face.test.r2 >= 0\n", ["E342"], "compared, edited or expected"),
        ("/*\n", "/* except images/dogs/1.png\n", ["E342", "E344"], "images/dogs/1.png"),
    ],
)
def test_another_meaning_of_the_spec_is_named(here, old, new, codes, words):
    call("lock", "a.circuit")
    (here / "a.circuit").write_text(SPEC.replace(old, new))
    assert words in refused(*codes)


def test_a_set_under_another_name_is_the_same_set(here, numbers_alone):
    call("lock", "a.circuit")
    (here / "a.circuit").write_text(SPEC.replace("images dogs", "images pups").replace("on dogs", "on pups"))
    call("run", "a.circuit", "--locked")


def test_another_version_is_a_warning(here, numbers_alone):
    call("lock", "a.circuit")
    path = here / "a.circuit.lock"
    path.write_text(path.read_text().replace("  pillow: ", "  pillow: 1."))
    said = call("run", "a.circuit", "--locked").stderr
    assert said.startswith("warning[W340]: pillow is ")
    assert "1 warning" in said
    assert "pillow is" in call("lock", "a.circuit").stdout


def test_no_lock_no_run(here):
    said = refused("E340")
    assert "`circuitlang lock a.circuit`" in said
    assert call("run", "-e", SPEC, "--locked", code=2)
    assert call("lock", "-", code=2)


def reading(path: Path, content: bytes) -> tuple[Finding, ...]:
    path.write_bytes(content)
    try:
        read_lock(path.with_suffix(""))
    except CircuitError as error:
        return error.findings
    return ()


def test_a_lock_that_is_cut_off_or_scrambled_is_a_finding(here):
    call("lock", "a.circuit")
    path = lock_path(here / "a.circuit")
    good, dice = path.read_bytes(), random.Random(0)
    scraps = [b"[", b"\n", b"\xff", b"\t- {", b"? [a]: b", b"!!python/object:os.system", b"&a [*a]", b"\x00", b"'"]
    damaged = [b"", b"[]", b"1", b"[" * 100_000, b"a: " * 50_000, b"&a [*a, *a]", b"!!int ''", b"version: 2\n" + good]
    damaged += [good[: dice.randrange(len(good))] for _ in range(40)]
    for _ in range(80):
        at = dice.randrange(len(good))
        damaged.append(good[:at] + dice.choice(scraps) + good[at + dice.randrange(9) :])
    refusals = [findings for content in damaged if (findings := reading(path, content))]
    assert len(refusals) > 100
    assert {finding.code for findings in refusals for finding in findings} == {"E341"}
    assert all("circuitlang lock a.circuit" in findings[0].help for findings in refusals)
    path.write_bytes(good[:100])
    refused("E341")
    path.unlink()
    path.mkdir()
    refused("E341")


def test_nothing_is_written_where_locking_fails(here):
    call("lock", "a.circuit")
    before = (here / "a.circuit.lock").read_bytes()
    (here / "images" / "dogs" / "0.png").write_bytes(b"nonsense")
    assert "E303" in call("lock", "a.circuit", code=1).stderr
    assert (here / "a.circuit.lock").read_bytes() == before
    assert not list(here.glob(".circuitlang*"))
    assert "3 images" in call("lock", "a.circuit", "--skip-unreadable").stdout


def test_names_that_stand_for_others_are_resolved(here):
    random_ones = Model("torchvision", "squeezenet1_0", {"weights": "none"})
    assert load_model(random_ones, here).weights == "none"
    assert outline(Model("torchvision", "resnet50"), here).weights == "IMAGENET1K_V2"
