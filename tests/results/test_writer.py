"""A result folder appears whole or not at all, whatever happens."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from circuitlang.base.diagnostics import OutputError
from circuitlang.results import ownership
from circuitlang.results import writer as module
from circuitlang.results.folder_lock import folder_lock
from circuitlang.results.manifest import SUMS
from circuitlang.results.writer import claim, write_file, write_files, write_folder

FILES = {"a.txt": b"new", "b.txt": b"new too"}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != SUMS}


def clean(folder: Path) -> None:
    with folder_lock(folder):
        pass


def strays(parent: Path) -> list[str]:
    return [path.name for path in parent.iterdir() if path.name.startswith(".")]


def test_a_folder_is_made_with_its_parents(tmp_path):
    write_folder(tmp_path / "runs" / "x" / "one", FILES)
    assert content(tmp_path / "runs" / "x" / "one") == FILES
    assert strays(tmp_path / "runs" / "x") == []


def test_a_folder_is_replaced_whole(tmp_path):
    write_folder(tmp_path / "one", {"module.pt2": b"old", "a.txt": b"old"})
    write_folder(tmp_path / "one", FILES)
    assert content(tmp_path / "one") == FILES
    assert strays(tmp_path) == []


@pytest.mark.parametrize("failing", range(6))
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_whatever_call_fails_there_is_the_old_folder_or_the_new(tmp_path, monkeypatch, failing, error):
    """The n-th write, sync or rename fails."""
    old = {"module.pt2": b"old"}
    write_folder(tmp_path / "one", old)
    calls = iter(range(100))

    def faulty(function):
        def call(*args, **kwargs):
            if next(calls) == failing:
                raise error
            return function(*args, **kwargs)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(module, "write_through", faulty(module.write_through))
        patched.setattr(os, "fsync", faulty(os.fsync))
        patched.setattr(Path, "rename", faulty(Path.rename))
        try:
            write_folder(tmp_path / "one", FILES)
            failed = False
        except (OSError, KeyboardInterrupt):
            failed = True
    assert failed == (failing < 6)
    clean(tmp_path)
    assert content(tmp_path / "one") == old
    assert strays(tmp_path) == []


def test_a_full_disk_is_an_error_with_a_cure(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    write_file(tmp_path / "plan.yaml", b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError) as caught:
        write_file(tmp_path / "plan.yaml", b"new")
    assert "make room" in caught.value.findings[0].help
    assert content(tmp_path) == {"plan.yaml": b"old"}


def test_a_file_in_the_way_is_an_error_with_a_cure(tmp_path):
    (tmp_path / "runs").write_bytes(b"mine")
    with pytest.raises(OutputError) as caught:
        write_file(tmp_path / "runs" / "x" / "plan.yaml", b"new")
    assert "--out" in caught.value.findings[0].help
    assert (tmp_path / "runs").read_bytes() == b"mine"


def test_what_a_killed_writer_left_is_tidied_by_the_next(tmp_path):
    """SIGKILL while it writes: nothing half-written stands under the folder's name, and the next write cleans up."""
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from circuitlang.results import writer as module

        through = module.write_through
        def slow(path, content):
            through(path, content)
            print("writing", flush=True)
            time.sleep(60)
        module.write_through = slow
        module.write_folder(Path(sys.argv[1]), {"a.txt": b"half", "b.txt": b"never"})
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "one")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "one").exists()
    assert len(strays(tmp_path)) == 2
    write_folder(tmp_path / "one", FILES)
    assert content(tmp_path / "one") == FILES
    assert strays(tmp_path) == []


def test_a_folder_that_another_run_replaces_just_now_is_no_strangers(tmp_path, monkeypatch):
    monkeypatch.setattr(ownership.os.path, "lexists", lambda path: True)
    claim(tmp_path / "one")
    with pytest.raises(OutputError):
        claim(Path(__file__))


def test_writers_at_once_leave_one_whole_folder(tmp_path):
    script = (
        "import sys; from pathlib import Path; from circuitlang.results.writer import write_folder\n"
        "for _ in range(30): write_folder(Path(sys.argv[1]), {n: sys.argv[2].encode() for n in 'abc'})"
    )
    target = tmp_path / "one"
    writers = [subprocess.Popen([sys.executable, "-c", script, str(target), word]) for word in "wxyz"]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert len(set(content(target).values())) == 1
    assert strays(tmp_path) == []


def test_what_others_put_into_a_folder_stays(tmp_path):
    write_folder(tmp_path / "one", {"circuit.json": b"{}", "module.pt2": b"old"})
    (tmp_path / "one" / "notes.txt").write_text("mine")
    (tmp_path / "one" / "diagram-mine.svg").write_text("mine")
    (tmp_path / "one" / "more").mkdir()
    (tmp_path / "one" / "more" / "a.graphml").write_text("mine too")
    write_folder(tmp_path / "one", {"circuit.json": b"{ }"})
    assert {path.name for path in (tmp_path / "one").iterdir()} == {
        "circuit.json", SUMS, "notes.txt", "diagram-mine.svg", "more",
    }  # fmt: skip
    assert (tmp_path / "one" / "more" / "a.graphml").read_text() == "mine too"
    assert strays(tmp_path) == []


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_is_not_a_circuits_folder_is_never_replaced(tmp_path, kind):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "0.png").write_bytes(b"an image")
    place = tmp_path / "dogs"
    if kind == "folder":
        shutil.copytree(tmp_path / "elsewhere", place)
    elif kind == "file":
        place.write_bytes(b"an image")
    else:
        place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="dogs") as refused:
        write_files(FILES, place)
    assert "or move dogs away" in refused.value.findings[0].help
    assert (place if kind == "file" else place / "0.png").read_bytes() == b"an image"
    assert strays(tmp_path) == []


def test_what_others_put_there_is_brought_over_by_the_next_where_a_writer_was_killed(tmp_path):
    stage = tmp_path / ".circuitlang-abcd_123"
    for place, files in ((stage / "old", ("circuit.json", "notes.txt")), (tmp_path / "one", ("circuit.json",))):
        place.mkdir(parents=True)
        for each in files:
            (place / each).write_text(place.name)
    (stage / "target").write_text("one")
    clean(tmp_path)
    assert content(tmp_path / "one") == {"circuit.json": b"one", "notes.txt": b"old"}
    assert strays(tmp_path) == []


def test_the_diagrams_of_a_comparison_of_more_go_with_it(tmp_path):
    write_folder(tmp_path / "one", {"comparison.json": b"{}", "diagram-A-B.svg": b"old", "diagram-A-C.svg": b"old"})
    write_folder(tmp_path / "one", {"comparison.json": b"{}", "diagram.svg": b"new"})
    assert content(tmp_path / "one") == {"comparison.json": b"{}", "diagram.svg": b"new"}
