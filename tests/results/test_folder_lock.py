"""A folder that others write into as well: nothing of theirs is moved, replaced or removed, and no write is lost."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from click.testing import CliRunner

from circuitlang.base.diagnostics import OutputError
from circuitlang.cli.main import main
from circuitlang.results import writer as writing
from circuitlang.results.folder_lock import LOCK, folder_lock
from circuitlang.results.manifest import SUMS, damage
from circuitlang.results.reader import read_summary
from circuitlang.results.types import Part
from circuitlang.results.writer import claim, claim_run, ignores_case, run_files, write_folder

SPEC = "preserve conv5:34 on images/dogs/* kernels<=20 criterion=magnitude\n"
FILES = {"circuit.json": b"{}", "x.txt": b"new"}
STAGE = ".circuitlang-abcd_123"


def tree(folder: Path) -> dict[str, bytes | str]:
    """Everything in a folder, links by what they point to."""
    found = {}
    for path in sorted(folder.rglob("*")):
        found[path.relative_to(folder).as_posix()] = (
            f"-> {path.readlink()}" if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        )
    return found


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["run", *arguments])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.output


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of a user with files in it, elsewhere."""
    (tmp_path / "victim" / "old").mkdir(parents=True)
    (tmp_path / "victim" / "thesis.txt").write_text("mine")
    (tmp_path / "victim" / "target").write_text("one")
    (tmp_path / "victim" / "old" / "photo.png").write_text("mine")
    return tmp_path / "victim"


@pytest.mark.parametrize(
    "name",
    [".old-one", ".old-", ".partial-999999-x", ".partial-", ".partial-999999-", STAGE, f"{STAGE}/old", "one.lock"],
)
@pytest.mark.parametrize("kind", ["link", "file", "folder"])
@pytest.mark.parametrize("there", [False, True])
def test_what_is_planted_in_a_folder_of_runs_is_left_alone(tmp_path, victim, name, kind, there):
    runs, before = tmp_path / "runs", tree(victim)
    if there:
        write_folder(runs / "one", FILES)
    planted = runs / name
    planted.parent.mkdir(parents=True, exist_ok=True)
    if kind == "link":
        planted.symlink_to(victim)
    elif kind == "file":
        planted.write_text("planted")
    else:
        planted.mkdir()
        (planted / "photo.png").write_text("theirs")
    seen = tree(runs / Path(name).parts[0]) if kind == "folder" else {}
    write_folder(runs / "one", {"circuit.json": b"{ }"})
    assert tree(victim) == before
    assert tree(runs / "one").keys() == {"circuit.json", SUMS}
    assert (runs / name).is_symlink() or (runs / name).exists()
    assert kind != "folder" or tree(runs / Path(name).parts[0]) == seen


@pytest.mark.parametrize("target", ["../victim", "{victim}", "..", ".", "", "a/b", "one\0", "x" * 2000])
def test_a_planted_stage_moves_nothing_out_of_its_folder(tmp_path, victim, target):
    before = tree(victim)
    stage = tmp_path / "runs" / STAGE
    (stage / "old").mkdir(parents=True)
    (stage / "old" / "evil.txt").write_text("theirs")
    (stage / "target").write_text(target.replace("{victim}", str(victim)))
    write_folder(tmp_path / "runs" / "one", FILES)
    assert tree(victim) == before
    assert tree(tmp_path / "runs" / "one").keys() == {*FILES, SUMS}
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"one", STAGE}


def test_links_in_a_folder_that_was_about_to_be_replaced_are_not_followed(tmp_path, victim):
    before = tree(victim)
    stage = tmp_path / "runs" / STAGE
    stage.mkdir(parents=True)
    (stage / "target").write_text("one")
    (stage / "old").symlink_to(victim)
    (stage / "new").symlink_to(victim)
    write_folder(tmp_path / "runs" / "one", FILES)
    assert tree(victim) == before
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"one"}


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_a_planted_lock_is_a_finding(tmp_path, victim, kind):
    before, lock = tree(victim), tmp_path / "runs" / LOCK
    lock.parent.mkdir()
    if kind == "link":
        lock.symlink_to(victim / "thesis.txt")
    elif kind == "folder":
        lock.mkdir()
    else:
        os.mkfifo(lock)
    with pytest.raises(OutputError, match="can't write"):
        writing.write_files(FILES, tmp_path / "runs" / "one")
    assert tree(victim) == before


def test_a_lock_that_another_left_is_taken_over(tmp_path):
    (tmp_path / LOCK).write_text("")
    write_folder(tmp_path / "one", FILES)
    assert {path.name for path in tmp_path.iterdir()} == {"one"}


def test_a_lock_of_another_user_is_waited_for_and_taken_over(tmp_path, monkeypatch):
    """Root may write where others may not, so what the system would say is put in its mouth."""
    (tmp_path / LOCK).write_text("")
    real = os.open

    def refused(path, flags, *others, **named):
        if Path(path).name == LOCK and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, *others, **named)

    monkeypatch.setattr(os, "open", refused)
    write_folder(tmp_path / "one", FILES)
    assert {path.name for path in tmp_path.iterdir()} == {"one"}


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
def test_folders_are_written_where_the_file_system_has_no_locks(tmp_path, monkeypatch, number):
    def refused(*given: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refused)
    write_folder(tmp_path / "one", FILES)
    assert tree(tmp_path / "one").keys() == {*FILES, SUMS}


def test_a_turn_comes_when_the_one_before_ends(tmp_path):
    order: list[str] = []

    def wait() -> None:
        with folder_lock(tmp_path):
            order.append("second")

    second = threading.Thread(target=wait)
    with folder_lock(tmp_path):
        second.start()
        second.join(0.2)
        assert second.is_alive()
        order.append("first")
    second.join(20)
    assert order == ["first", "second"]
    assert list(tmp_path.iterdir()) == []


WRITER = """
import os, sys
from pathlib import Path
from circuitlang.results.writer import write_folder
# As in a container of its own: no process of the others is known, and ids are the same.
os.getpid = lambda: 7
def kill(process, signal): raise ProcessLookupError
os.kill = kill
for number in range(12):
    write_folder(Path(sys.argv[1], f"one-{number % 3}"), {name: sys.argv[2].encode() * 5000 for name in "abcd"})
    write_folder(Path(sys.argv[1], f"{sys.argv[2]}-{number}"), {name: b"own" for name in "abcd"})
"""


def test_writers_that_cannot_see_each_other_lose_nothing(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), word], stderr=subprocess.PIPE, text=True)
        for word in "xyz"
    ]
    for writer in writers:
        said = writer.communicate()[1]
        assert writer.returncode == 0, said
    names = {f"{word}-{number}" for word in "xyz" for number in range(12)} | {f"one-{number}" for number in range(3)}
    assert {path.name for path in tmp_path.iterdir()} == names
    for folder in tmp_path.iterdir():
        assert damage(folder) == []
        assert {path.name for path in folder.iterdir()} == {*"abcd", SUMS}
        assert len({(folder / name).read_bytes() for name in "abcd"}) == 1


def killed_at(change: int, folder: Path) -> bool:
    """Replace a folder in a process of its own that is killed before the n-th change of a file; whether it was."""
    child = os.fork()
    if child == 0:
        changes = count(1)

        def hook(event: str, given: tuple) -> None:
            writes = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
            if (writes or event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir")) and next(changes) == change:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        write_folder(folder, {"circuit.json": b"new", "x.txt": b"new"})
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


@pytest.mark.slow
def test_a_writer_may_be_killed_at_any_point(tmp_path):
    seen = set()
    for change in count(1):
        runs = tmp_path / str(change)
        write_folder(runs / "one", {"circuit.json": b"old", "x.txt": b"old"})
        (runs / "one" / "notes.txt").write_text("mine")
        killed = killed_at(change, runs / "one")
        with folder_lock(runs):
            pass
        assert {path.name for path in runs.iterdir()} == {"one"}
        assert tree(runs / "one").keys() == {"circuit.json", "x.txt", "notes.txt", SUMS}
        assert damage(runs / "one") == []
        seen.add((runs / "one" / "x.txt").read_bytes())
        if not killed:
            break
    assert seen == {b"old", b"new"}
    assert change > 10


USERS = {
    "index.html": "<!doctype html>\n<title>my home page</title>\n<p>Written by circuitlang. Or not.</p>",
    "plan.yaml": "# my plan\nversion: 1\n",
    "sweep.json": '{"version": 1, "sweeps": [{"name": "of mine"}]}',
}


@pytest.mark.parametrize("name", USERS)
@pytest.mark.parametrize("content", ["theirs", ""])
def test_a_file_of_the_users_is_not_replaced_and_nothing_is_computed(here, monkeypatch, name, content):
    (here / "dogs.circuit").write_text(SPEC)
    (here / "dogs").mkdir()
    (here / "dogs" / name).write_text(content and USERS[name])
    before = tree(here / "dogs")
    monkeypatch.setattr("circuitlang.engine.runtime.job_runner.execute", lambda *given: pytest.fail("computed"))
    said = run("dogs.circuit", "--out", ".", code=1)
    assert "E390" in said
    assert f"dogs/{name}" in said
    assert "choose another folder with --out" in said
    assert tree(here / "dogs") == before


@pytest.mark.parametrize("name", USERS)
@pytest.mark.parametrize("kind", ["link", "folder"])
def test_nor_a_link_or_a_folder_of_its_name(here, victim, name, kind):
    (here / "dogs.circuit").write_text(SPEC)
    (here / "runs" / "dogs").mkdir(parents=True)
    if kind == "link":
        (here / "runs" / "dogs" / name).symlink_to(victim / "thesis.txt")
    else:
        (here / "runs" / "dogs" / name).mkdir()
    before = tree(here / "runs"), tree(victim)
    assert f"runs/dogs/{name}" in run("dogs.circuit", code=1)
    assert (tree(here / "runs"), tree(victim)) == before


def test_everything_that_is_in_the_way_is_said_at_once(here, victim):
    (here / "two.circuit").write_text(
        "circuit a = preserve conv5:34 on images/dogs/* kernels<=20\n"
        "circuit b = preserve conv5:33 on images/dogs/* kernels<=20\ncompare a, b\n"
    )
    (here / "runs" / "two").mkdir(parents=True)
    for name in USERS:
        (here / "runs" / "two" / name).write_text(USERS[name])
    for name in ("a", "compare-a-b"):
        (here / "runs" / "two" / name).symlink_to(victim)
    before = tree(here / "runs"), tree(victim)
    said = run("two.circuit", code=1)
    assert all(f"two/{name}" in said for name in (*USERS, "a", "compare-a-b"))
    assert "5 errors" in said
    assert (tree(here / "runs"), tree(victim)) == before


def test_a_run_does_not_follow_a_link_of_its_own_name(here, victim):
    (here / "dogs.circuit").write_text(SPEC)
    (here / "runs").mkdir()
    (here / "runs" / "dogs").symlink_to(victim)
    before = tree(victim)
    said = run("dogs.circuit", code=1)
    assert "it is a link to another place" in said
    assert tree(victim) == before


def test_the_folder_of_runs_may_be_a_link(here, tmp_path, numbers_alone):
    (here / "dogs.circuit").write_text(SPEC)
    (tmp_path / "large disk").mkdir()
    (here / "runs").symlink_to(tmp_path / "large disk")
    run("dogs.circuit")
    assert (tmp_path / "large disk" / "dogs" / "index.html").is_file()


OLD = {
    # As they were written before files had their marks.
    "index.html": (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        "<footer>Written by circuitlang. This page is self-contained.</footer>"
    ),
    "plan.yaml": "# What was run. `circuitlang run` takes this file like a spec.\nversion: 1\n",
    "sweep.json": (
        '{"version": 1, "sweeps": [{"name": "a", "statement": "", "axis": "kernels", "features": [], "missing": 0, '
        '"curves": []}]}'
    ),
}


def test_what_earlier_versions_wrote_is_replaced(tmp_path):
    for name, content in OLD.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "circuit.json").write_text('{\n  "plan": {\n    "id": "one"')
    claim_run(tmp_path, ["one"])
    with run_files(tmp_path) as files:
        files.put("index.html", b"new")
        files.remove("sweep.json")
    assert tree(tmp_path).keys() == {"index.html", "plan.yaml", "one", "one/circuit.json"}


def test_a_plan_that_is_run_where_it_lies_stays_as_its_author_wrote_it(here, numbers_alone):
    ran = CliRunner().invoke(main, ["plan", "--yaml", "-e", SPEC])
    (here / "dogs").mkdir()
    plan = here / "dogs" / "plan.yaml"
    plan.write_text("# Mine, and with a reason.\n" + ran.stdout.replace("\nbase: .\n", "\nbase: ..\n"))
    before = plan.read_bytes()
    run("dogs/plan.yaml", "--out", ".")
    assert plan.read_bytes() == before
    assert (here / "dogs" / "index.html").is_file()


def test_a_file_that_is_no_lock_is_not_replaced_by_one(here):
    (here / "dogs.circuit").write_text(SPEC)
    (here / "dogs.circuit.lock").write_text("mine")
    ran = CliRunner().invoke(main, ["lock", "dogs.circuit"])
    assert ran.exit_code == 1
    assert "E390" in ran.output
    assert (here / "dogs.circuit.lock").read_text() == "mine"
    (here / "dogs.circuit.lock").unlink()
    assert CliRunner().invoke(main, ["lock", "dogs.circuit"]).exit_code == 0
    lock = (here / "dogs.circuit.lock").read_text()
    (here / "dogs.circuit.lock").write_text(lock[:200])
    assert CliRunner().invoke(main, ["lock", "dogs.circuit"]).exit_code == 0
    assert (here / "dogs.circuit.lock").read_text() == lock


def test_a_sweep_of_the_users_is_not_removed(tmp_path):
    (tmp_path / "sweep.json").write_text(USERS["sweep.json"])
    with run_files(tmp_path) as files:
        files.remove("sweep.json")
    assert tree(tmp_path) == {"sweep.json": USERS["sweep.json"].encode()}


@pytest.mark.parametrize("names", [("report.html", "report.txt"), ("circuit.json", "notes.txt"), ("metrics.json",)])
def test_a_folder_with_files_of_the_users_that_are_called_as_ours_is_not_replaced(tmp_path, names):
    (tmp_path / "one").mkdir()
    for name in names:
        (tmp_path / "one" / name).write_text('{"circuit": "of an amplifier"}')
    with pytest.raises(OutputError) as refused:
        claim(tmp_path / "one")
    assert refused.value.findings[0].label == "something else has this name already"


@pytest.mark.parametrize("name", ["a" * 300, "x\n", "..", "nul\0", "é" * 200, ".x"])
def test_a_name_that_no_folder_can_have_is_said_before_anything_is_computed(tmp_path, name):
    with pytest.raises(OutputError) as refused:
        claim(tmp_path / name)
    assert "can have this name" in refused.value.findings[0].label


@pytest.mark.parametrize(
    "name",
    ["../../x", "/etc/x", "..", "a/b", "a\\b", ".hidden", "a" * 300, "x\n", "x\0", "plan.yaml", "Index.html", ""],
)
def test_a_strangers_plan_names_no_folder_elsewhere(here, name):
    import yaml

    ran = CliRunner().invoke(main, ["plan", "--yaml", "-e", SPEC])
    plan = yaml.safe_load(ran.stdout)
    plan["circuits"][0]["id"] = name
    (here / "stranger").mkdir()
    (here / "stranger" / "plan.yaml").write_text(yaml.safe_dump({**plan, "base": ".."}))
    before = tree(here)
    said = run("stranger/plan.yaml", code=1)
    assert "can't be the name of a folder" in said
    assert tree(here) == before


def test_names_that_differ_in_capitals_are_refused_where_these_are_the_same(tmp_path, monkeypatch):
    claim_run(tmp_path, ["dog", "Dog"])
    monkeypatch.setattr(writing, "ignores_case", lambda folder: True)
    with pytest.raises(OutputError, match="Dog"):
        claim_run(tmp_path, ["dog", "Dog"])


def test_whether_capitals_count_is_seen_from_a_folders_own_name(tmp_path):
    (tmp_path / "Abc").mkdir()
    assert not ignores_case(tmp_path / "Abc" / "not" / "there")
    (tmp_path / "aBC").symlink_to(tmp_path / "Abc")
    assert ignores_case(tmp_path / "Abc")


def test_parts_of_an_earlier_split_go_but_not_what_others_put_there(here, numbers_alone, monkeypatch):
    run("-e", f"circuit s-part1 = {SPEC}".replace("s-part1", "s"))
    summary = read_summary(Path("runs/inline/s"))
    for name, of in (("s-part1", "s"), ("s-part2", "s"), ("s-part3", "another")):
        part = Part(of=of, number=1, parts=2, split="identity")
        content = msgspec.json.encode(msgspec.structs.replace(summary, part=part))
        write_folder(here / name, {"circuit.json": content})
    (here / "s-part2" / "notes.txt").write_text("mine")
    (here / "s-part7").mkdir()
    (here / "s-part7" / "circuit.json").write_text("{}")
    monkeypatch.setattr("circuitlang.results.writer.rendered_split", lambda result, _: ({"split.json": b"{}"}, result))
    divided = SimpleNamespace(split=SimpleNamespace(kinds=[SimpleNamespace(id="s-part1")]))
    writing.write_split(divided, here / "s")
    assert tree(here / "s-part1").keys() == tree(here / "s-part3").keys() == {"circuit.json", SUMS}
    assert tree(here / "s-part2") == {"notes.txt": b"mine"}
    assert tree(here / "s-part7") == {"circuit.json": b"{}"}
