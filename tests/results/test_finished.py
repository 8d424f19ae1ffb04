"""What is finished is all there and as it was written; else it is made again, and why is said."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import circuitlang
from circuitlang.base.diagnostics import InputError
from circuitlang.base.plain_files import read_plain
from circuitlang.cli.main import main
from circuitlang.results import folder_lock, writer
from circuitlang.results.manifest import SUMS, damage
from circuitlang.results.reader import read_file
from circuitlang.results.writer import write_file, write_files

RENDER = "all"

SPEC = "circuit a = preserve conv5:34 on images/dogs/* kernels<=20 criterion=magnitude\n"
FOLDER = Path("runs/inline/a")


def call(*arguments: str, code: int = 0) -> str:
    ran = CliRunner().invoke(main, [*arguments])
    assert ran.exit_code == code, ran.output
    assert ran.exception is None or isinstance(ran.exception, SystemExit)
    return ran.output


@pytest.mark.slow
def test_every_file_that_a_run_writes_is_looked_at(here, standard_run):
    standard_run(SPEC)
    names = {path.name for path in FOLDER.iterdir()}
    assert {"diagram.svg", "diagram.html", "report.html", "report.txt", "module.pt2", "metrics.json"} < names
    assert damage(FOLDER) == []
    for name in sorted(names):
        content = (FOLDER / name).read_bytes()
        (FOLDER / name).unlink()
        assert len(damage(FOLDER)) == 1, name
        for other in (b"", content[:-1], content + b"\n", content.replace(b"e", b"f", 1), b"\xff" + content):
            (FOLDER / name).write_bytes(other)
            assert damage(FOLDER), name
        (FOLDER / name).unlink()
        (FOLDER / name).mkdir()
        assert damage(FOLDER), name
        (FOLDER / name).rmdir()
        (FOLDER / name).write_bytes(content)
        assert damage(FOLDER) == []
    assert "finished before, and nothing has changed since" in call("run", "-e", SPEC)
    (FOLDER / "diagram.svg").unlink()
    assert '"state": "damaged"' in call("plan", "--json", "-e", SPEC)
    again = call("run", "-e", SPEC)
    assert "finished before" not in again
    assert "made again: diagram.svg is missing" in again
    assert damage(FOLDER) == []
    assert "finished before" in call("run", "-e", SPEC)


@pytest.mark.parametrize("name", ["circuit.json", "circuit.safetensors", "metrics.json", SUMS])
@pytest.mark.parametrize("content", [b"\xff", None])
def test_a_damaged_circuit_is_made_again(here, numbers_alone, name, content, standard_run):
    standard_run(SPEC)
    before = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    (FOLDER / "notes.txt").write_text("mine")
    if content is None:
        (FOLDER / name).unlink()
    else:
        (FOLDER / name).write_bytes(content)
    said = call("run", "-e", SPEC)
    assert "finished before" not in said
    assert f"made again: {name}" in said
    assert {path.name: path.read_bytes() for path in FOLDER.iterdir()} == {**before, "notes.txt": b"mine"}


def test_a_circuit_that_is_made_for_the_first_time_or_of_another_plan_is_not_made_again(here, numbers_alone):
    assert "made again" not in call("run", "-e", SPEC)
    assert "made again" not in call("run", "-e", SPEC.replace("20", "30"))


@pytest.mark.parametrize("name", ["circuit.json", "circuit.safetensors"])
def test_what_was_changed_is_never_shown_as_the_circuit(here, numbers_alone, name, standard_run):
    standard_run(SPEC)
    content = bytearray((FOLDER / name).read_bytes())
    content[len(content) // 2] ^= 1
    (FOLDER / name).write_bytes(content)
    for arguments in (("show", str(FOLDER)), ("export", str(FOLDER), "out.json"), ("diff", str(FOLDER), str(FOLDER))):
        said = call(*arguments, code=1)
        assert f"{name} was changed" in said
        assert "run its spec again" in said
    with pytest.raises(InputError, match="was changed"):
        circuitlang.load(FOLDER)


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param("split.json", marks=pytest.mark.slow), "comparison.json"])
def test_a_damaged_split_or_comparison_is_made_again(here, name):
    spec = (
        "circuit s = split conv5:34 on images/dogs/* into 2 kernels<=20 criterion=snip\n"
        if name != "comparison.json"
        else SPEC + SPEC.replace("circuit a", "circuit b").replace(":34", ":33") + "compare a, b\n"
    )
    call("run", "-e", spec)
    place = Path("runs/inline/compare-a-b") if name == "comparison.json" else Path("runs/inline/s")
    content = (place / name).read_bytes()
    (place / name).write_bytes(b"\xff" + content)
    call("run", "-e", spec)
    assert (place / name).read_bytes() == content
    assert damage(place) == []


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "device", "missing", "nul"])
def test_only_ordinary_files_of_a_folder_are_read(tmp_path, kind):
    secret, path = tmp_path / "secret", tmp_path / "circuit" / "report.html"
    secret.write_text("secret")
    path.parent.mkdir()
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "nul":
        path = tmp_path / "circuit" / "report\0.html"
    with pytest.raises(OSError, match=r".*"):
        read_plain(path)
    with pytest.raises(InputError, match="can't be read"):
        read_file(path.parent, path.name)


def test_a_file_without_end_is_not_read(tmp_path):
    with (tmp_path / "report.html").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="more than"):
        read_plain(tmp_path / "report.html")


@pytest.mark.parametrize("place", ["a" * 300, "a\0b", "loop", "file", "file/x", ""])
def test_what_is_no_folder_of_a_circuit_is_a_finding(here, place):
    (here / "loop").symlink_to(here / "loop")
    (here / "file").write_text("mine")
    if "\0" not in place:
        assert "E312" in call("show", place, code=1)
        assert "E3" in call("export", place, "out.json", code=1)
        assert "error[E" in call("diff", place, place, code=1)
        assert "E3" in call("compare", place, code=1)
    with pytest.raises(InputError):
        circuitlang.load(place)


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "loop", "loop/x", "file/x"])
def test_a_place_that_nothing_can_be_written_to_is_a_finding(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("mine")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(circuitlang.CircuitError) as folder:
        write_files({"a.txt": b""}, Path(name))
    with pytest.raises(circuitlang.CircuitError) as run, writer.run_files(Path(name, "run")):
        pass
    with pytest.raises(circuitlang.CircuitError) as file:
        write_file(Path(name, "file", "x"), b"")
    for caught in (folder, run, file):
        assert [each.code for each in caught.value.findings] == ["E390"]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


FAULTS = (
    (writer, "write_through"), (os, "fsync"), (folder_lock.tempfile, "mkdtemp"), (Path, "mkdir"), (Path, "rename"),
    (Path, "iterdir"), (folder_lock, "_open"), (shutil, "rmtree"),
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault[1])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EROFS])
def test_whatever_the_system_refuses_there_is_the_old_folder_or_the_new(tmp_path, monkeypatch, fault, number):
    write_files({"circuit.json": b"old"}, tmp_path / "one")

    def refused(*given: object, **named: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(*fault, refused)
        with pytest.raises(circuitlang.CircuitError) as caught:
            write_files({"circuit.json": b"new"}, tmp_path / "one")
    assert caught.value.findings[0].code == "E390"
    with folder_lock.folder_lock(tmp_path):
        pass
    assert damage(tmp_path / "one") == []
    assert (tmp_path / "one" / "circuit.json").read_bytes() in (b"old", b"new")
    assert {path.name for path in tmp_path.iterdir()} == {"one"}
