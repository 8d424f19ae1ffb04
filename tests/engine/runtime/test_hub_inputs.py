"""Weights and images by `hf://`: fetched at one commit, verified, pinned by the lock; a server stands for the Hub."""

from __future__ import annotations

import builtins
import io
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner, Result

import circuitlang
from circuitlang.bundled import network
from circuitlang.bundled.doodles import draw
from circuitlang.cli.main import main
from circuitlang.engine.images.file_patterns import find
from circuitlang.plan.model import Images
from tests.conftest import ROOT
from tests.helpers.hub_server import Hub, Repository, hub_server, talk_to

WEIGHTS = Path(network.__file__).with_name("weights.safetensors").read_bytes()
SPEC = """model bundled.doodle(weights="hf://me/net/weights/doodle.safetensors")
images dogs = hf://datasets/me/animals/dogs/*.png
circuit face = preserve conv5:34 on dogs keep<=10% criterion=magnitude
"""


def png(kind: str, number: int) -> bytes:
    content = io.BytesIO()
    draw(kind, 2_000_000 + number).save(content, "PNG")
    return content.getvalue()


DOGS = {f"dogs/{number}.png": png("dogs", number) for number in range(4)}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, numbers_alone: None) -> Iterator[Hub]:
    """A Hub with weights and images, and a folder with a spec that names them, to stand in."""
    from huggingface_hub import file_download

    with hub_server() as server:
        talk_to(server, tmp_path / "hub-cache", monkeypatch)
        # Broken transfers are tried again after a pause.
        monkeypatch.setattr(file_download.time, "sleep", lambda _seconds: None)
        server.repository("me/net").put({"weights/doodle.safetensors": WEIGHTS, "README.md": b"a network"})
        server.repository("me/animals", "datasets").put({**DOGS, "cats/0.png": png("cats", 0)})
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        Path("a.circuit").write_text(SPEC)
        yield server


@pytest.fixture
def animals(hub: Hub) -> Repository:
    return hub.repository("me/animals", "datasets")


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def commit(repository: Repository) -> str:
    return repository.commits[-1][0]


def ran_with() -> list[str]:
    """The addresses in the plan of the run."""
    plan = yaml.safe_load(Path("runs/a/plan.yaml").read_text())
    return [plan["model"]["arguments"]["weights"], *plan["images"]["dogs"]["include"]]


def offline(monkeypatch: pytest.MonkeyPatch, how: str = "unreachable") -> None:
    from huggingface_hub import constants

    if how == "unreachable":
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        files = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    else:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_a_run_is_that_of_the_same_files_on_a_disk(hub: Hub, animals: Repository) -> None:
    call("run", "a.circuit")
    assert ran_with() == [
        f"hf://me/net@{commit(hub.repository('me/net'))}/weights/doodle.safetensors",
        f"hf://datasets/me/animals@{commit(animals)}/dogs/*.png",
    ]
    for name, content in {**DOGS, "w.safetensors": WEIGHTS}.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content)
    local = SPEC.replace("hf://me/net/weights/doodle.safetensors", "w.safetensors")
    Path("b.circuit").write_text(local.replace("hf://datasets/me/animals/", ""))
    call("run", "b.circuit")
    one, other = (circuitlang.load(f"runs/{name}/face").summary for name in "ab")
    assert one.provenance.weights == other.provenance.weights
    assert one.provenance.train_images == other.provenance.train_images
    assert one.provenance.test_images == other.provenance.test_images
    assert one.train.metrics == other.train.metrics
    assert "@" in str(one.model)


@pytest.mark.slow
def test_only_files_that_match_are_fetched_and_only_once(hub: Hub) -> None:
    call("run", "a.circuit")
    assert sorted(hub.fetched) == [*DOGS, "weights/doodle.safetensors"]
    hub.requests.clear()
    call("run", "a.circuit", "--force")
    assert hub.fetched == []
    # The branches are looked up again, the files of a commit are not.
    assert [request for request in hub.requests if "/tree/" in request] == []


def test_a_check_asks_nobody(hub: Hub) -> None:
    assert call("check", "a.circuit").stdout == "a.circuit: 1 circuit, no mistakes\n"
    assert call("fmt", "--check", "a.circuit").exit_code == 0
    assert hub.requests == []


def test_a_deep_check_finds_what_is_wrong_with_the_files(hub: Hub, animals: Repository) -> None:
    animals.put({"dogs/broken.png": b"no image"})
    hub.repository("me/net").put({"weights/doodle.safetensors": b"no weights"})
    said = call("check", "--deep", "a.circuit", code=1).stdout
    assert "error[E303]" in said
    assert "broken.png" in said
    assert "error[E306]" in said
    assert "a.circuit:2:15" in said


@pytest.mark.slow
def test_without_a_lock_a_run_follows_the_branch(hub: Hub, animals: Repository) -> None:
    call("run", "a.circuit")
    animals.put({"dogs/9.png": png("dogs", 9)})
    call("run", "a.circuit")
    assert ran_with()[1] == f"hf://datasets/me/animals@{commit(animals)}/dogs/*.png"
    assert "dogs/9.png" in hub.fetched


@pytest.mark.slow
def test_a_lock_pins_the_commit_and_a_branch_that_moves_changes_nothing(hub: Hub, animals: Repository) -> None:
    call("lock", "a.circuit")
    first = commit(animals)
    content = yaml.safe_load(Path("a.circuit.lock").read_text())
    assert content["hub"] == {"hf://datasets/me/animals": first, "hf://me/net": commit(hub.repository("me/net"))}
    assert list(content["images"]["dogs"]) == [f"hf://datasets/me/animals/{name}" for name in DOGS]
    animals.put({"dogs/9.png": png("dogs", 9), "dogs/0.png": png("dogs", 8)})
    hub.requests.clear()
    for arguments in (["--locked"], []):
        call("run", "a.circuit", *arguments)
        assert first in ran_with()[1]
    assert hub.requests == []
    before = Path("a.circuit.lock").read_bytes()
    moved = call("lock", "--check", "a.circuit", code=1).stderr
    assert "error[E342]: hf://datasets/me/animals has moved" in moved
    assert f"from {first[:12]} to {commit(animals)[:12]}" in moved
    assert Path("a.circuit.lock").read_bytes() == before
    said = call("lock", "a.circuit").stdout
    assert "hf://datasets/me/animals has moved" in said
    assert "1 image was added since dogs was locked: hf://datasets/me/animals/dogs/9.png" in said
    assert "1 image was changed since dogs was locked: hf://datasets/me/animals/dogs/0.png" in said
    assert call("lock", "--check", "a.circuit").exit_code == 0


@pytest.mark.slow
def test_a_commit_that_changes_no_file_of_a_spec_is_nothing_new(hub: Hub, animals: Repository) -> None:
    call("run", "a.circuit")
    call("lock", "a.circuit")
    written = Path("runs/a/face/circuit.json").stat().st_mtime_ns
    animals.put({"README.md": b"animals"})
    assert call("lock", "a.circuit").stdout.splitlines()[1:] == [
        f"  hf://datasets/me/animals has moved: from {animals.commits[0][0][:12]} to {commit(animals)[:12]}"
    ]
    call("run", "a.circuit", "--locked")
    assert Path("runs/a/face/circuit.json").stat().st_mtime_ns == written
    assert commit(animals) in ran_with()[1]


def test_an_address_that_was_not_locked_is_refused(hub: Hub, animals: Repository) -> None:
    call("lock", "a.circuit")
    animals.tags["v1"] = commit(animals)
    Path("a.circuit").write_text(SPEC.replace("me/animals/", "me/animals@v1/"))
    said = call("run", "a.circuit", "--locked", code=1).stderr
    assert "error[E342]: the commit of hf://datasets/me/animals@v1 is not locked" in said
    call("run", "a.circuit")
    assert commit(animals) in ran_with()[1]


def test_a_commit_in_the_address_needs_no_lookup(hub: Hub, animals: Repository) -> None:
    first = commit(animals)
    Path("a.circuit").write_text(SPEC.replace("me/animals/", f"me/animals@{first}/"))
    animals.put({"dogs/9.png": png("dogs", 9)})
    call("lock", "a.circuit")
    assert list(yaml.safe_load(Path("a.circuit.lock").read_text())["hub"]) == ["hf://me/net"]
    assert "dogs/9.png" not in hub.fetched


def test_the_plan_of_a_run_runs_again(hub: Hub, animals: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    call("run", "a.circuit")
    animals.put({"dogs/9.png": png("dogs", 9)})
    offline(monkeypatch)
    call("run", "runs/a/plan.yaml", "--out", "again")
    one, other = (circuitlang.load(f"{folder}/a/face").summary.provenance for folder in ("runs", "again"))
    assert one.identity == other.identity


def test_a_lock_without_the_hub_says_nothing_of_it(hub: Hub) -> None:
    Path("b.circuit").write_text("preserve conv5:34 on bundled.dogs keep<=10% criterion=magnitude\n")
    call("lock", "b.circuit")
    assert "hub" not in Path("b.circuit.lock").read_text()
    assert hub.requests == []


def test_a_damaged_lock_is_not_passed_over(hub: Hub) -> None:
    call("lock", "a.circuit")
    Path("a.circuit.lock").write_text("version: [1")
    assert "error[E341]" in call("run", "a.circuit", code=1).stderr
    assert "error[E340]" in call("lock", "--check", str(shutil.copy("a.circuit", "b.circuit")), code=1).stderr


@pytest.mark.parametrize("how", ["unreachable", "HF_HUB_OFFLINE"])
def test_offline_it_runs_with_the_files_of_the_locked_commit(
    hub: Hub, animals: Repository, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    call("lock", "a.circuit")
    animals.put({"dogs/9.png": png("dogs", 9)})
    offline(monkeypatch, how)
    assert call("run", "a.circuit", "--locked", "--progress", "none").stderr == ""
    Path("a.circuit.lock").unlink()
    said = call("run", "a.circuit", "--progress", "none").stderr
    assert said.count("warning[W388]") == 2
    assert f"at {animals.commits[0][0][:12]}" in said


@pytest.mark.parametrize("how", ["unreachable", "HF_HUB_OFFLINE"])
def test_offline_it_says_what_is_missing(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str) -> None:
    reason = "HF_HUB_OFFLINE is set" if how == "HF_HUB_OFFLINE" else "http://127.0.0.1:9 can't be reached"
    with monkeypatch.context() as patch:
        offline(patch, how)
        said = call("run", "a.circuit", code=1).stderr
    assert "error[E388]: hf://me/net is not on this machine\n  --> a.circuit:1:7" in said
    assert "error[E388]: hf://datasets/me/animals is not on this machine\n  --> a.circuit:2:15" in said
    for words in (
        f"missing: weights/doodle.safetensors; {reason}",
        "missing: dogs/*.png; ",
        "circuitlang lock",
        "HF_HOME",
    ):
        assert words in said
    call("lock", "a.circuit")
    for lost in tmp_path.glob("hub-cache/datasets--*/snapshots/*/dogs/[13].png"):
        lost.unlink()
    offline(monkeypatch, how)
    said = call("run", "a.circuit", code=1).stderr
    assert f"missing: dogs/1.png and dogs/3.png; {reason}" in said
    assert "me/net" not in said


@pytest.mark.slow
def test_offline_a_file_that_came_another_way_is_used(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    call("lock", "a.circuit")
    monkeypatch.setenv("CIRCUITLANG_CACHE", str(tmp_path / "other"))
    offline(monkeypatch)
    said = call("run", "a.circuit", code=1).stderr
    # A file that is named is there; of a pattern nobody knows whether all files are.
    assert "me/net" not in said
    assert "missing: dogs/*.png" in said


def test_without_its_package_the_extra_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    imports = builtins.__import__

    def missing(name: str, *arguments: object, **options: object) -> object:
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return imports(name, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", missing)
    said = call("run", "a.circuit", code=1).stderr
    assert "error[E361]: huggingface_hub is not installed\n  --> a.circuit:1:7" in said
    assert "pip install 'circuitlang[hub]'" in said
    assert call("check", "a.circuit").exit_code == 0


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("me/net", "me/nett", "E383", "no such model repository"),
        ("me/animals/", "me/animals@v9/", "E383", "has no revision 'v9'"),
        ("doodle.safe", "dodle.safe", "E387", "did you mean 'weights/doodle.safetensors'?"),
        ("weights/doodle", "doodle", "E387", "has no file 'doodle.safetensors'"),
        ("/doodle.safetensors", "", "E387", "this is a folder"),
        ("/dogs/*", "/dgos/*", "E387", "did you mean 'dogs'?"),
        ("/dogs/*.png", "/dogs/*.jpg", "E387", "nothing matches 'hf://datasets/me/animals/dogs/*.jpg'"),
        ("/dogs/*.png", "/dogs", "E387", "write dogs/* for the files in it"),
        ("/dogs/*.png", "/dogs/0.png/x.png", "E387", "dogs/0.png is a file, and no archive"),
    ],
)
def test_a_wrong_name_is_a_finding(hub: Hub, old: str, new: str, code: str, words: str) -> None:
    Path("a.circuit").write_text(SPEC.replace(old, new))
    said = call("run", "a.circuit", code=1).stderr
    assert f"error[{code}]" in said
    assert words in said
    assert "a.circuit:1:7" in said or "a.circuit:2:15" in said
    assert not Path("runs/a/face").exists()


def test_a_private_repository_wants_a_token(hub: Hub, animals: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    animals.token = "hf_secret"
    said = call("run", "a.circuit", code=1).stderr
    assert "error[E382]" in said
    assert "HF_TOKEN" in said
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    call("run", "a.circuit")
    left = b"".join(path.read_bytes() for path in Path("runs").rglob("*") if path.is_file())
    assert b"hf_secret" not in left


@pytest.mark.parametrize("name", ["dogs/2.png", "weights/doodle.safetensors"])
def test_other_bytes_are_refused_and_removed(hub: Hub, animals: Repository, name: str, tmp_path: Path) -> None:
    repository = animals if name in DOGS else hub.repository("me/net")
    repository.faults[name] = "other"
    said = call("run", "a.circuit", code=1).stderr
    assert "error[E389]" in said
    assert name in said
    assert not list(tmp_path.glob(f"hub-cache/*/snapshots/*/{name}"))
    repository.faults.clear()
    call("run", "a.circuit")


@pytest.mark.parametrize("name", ["dogs/2.png", "weights/doodle.safetensors"])
def test_a_transfer_that_breaks_off_leaves_nothing(hub: Hub, animals: Repository, name: str, tmp_path: Path) -> None:
    repository = animals if name in DOGS else hub.repository("me/net")
    repository.faults[name] = "short"
    said = call("run", "a.circuit", code=1).stderr
    assert "error[E388]" in said
    assert f"missing: {name}" in said
    assert not list(tmp_path.glob(f"hub-cache/*/snapshots/*/{name}"))
    repository.faults.clear()
    call("run", "a.circuit")


def test_a_file_that_is_changed_in_the_cache_is_noticed(hub: Hub, tmp_path: Path) -> None:
    call("run", "a.circuit")
    (place,) = tmp_path.glob("hub-cache/*/snapshots/*/dogs/2.png")
    place.resolve().write_bytes(png("dogs", 3))
    assert "error[E389]" in call("run", "a.circuit", code=1).stderr
    call("run", "a.circuit")


def test_two_files_of_the_same_content_are_two_images(hub: Hub, animals: Repository) -> None:
    animals.put({"dogs/copy.png": DOGS["dogs/0.png"]})
    assert call("lock", "a.circuit").stdout.startswith("a.circuit.lock: 5 images")


@pytest.mark.slow
def test_archives_and_lists(hub: Hub, animals: Repository) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(3):
            file.writestr(f"cats/{number}.png", png("cats", number))
            file.writestr(f"dogs/{number}.png", DOGS[f"dogs/{number}.png"])
    lists = {"dogs/train.txt": b"# some\n0.png\n./2.png\n../cats/0.png\n", "out.txt": b"../../../../a.circuit\n"}
    animals.put({"all.zip": archive.getvalue(), **lists})
    for pattern, count in (("all.zip", 6), ("all.zip/dogs/*", 3), ("dogs/train.txt", 3), ("**/?.png", 5)):
        Path("a.circuit").write_text(SPEC.replace("dogs/*.png", pattern))
        assert call("lock", "a.circuit").stdout.startswith(f"a.circuit.lock: {count} images"), pattern
    Path("a.circuit").write_text(SPEC.replace("dogs/*.png", "out.txt"))
    said = call("lock", "a.circuit", code=1).stderr
    assert "error[E387]: line 1 of hf://datasets/me/animals" in said
    assert "a.circuit\n" not in said.replace("a.circuit:", "")


def test_exceptions_and_sets_of_sets(hub: Hub) -> None:
    spec = SPEC.replace("dogs/*.png", "dogs/* except hf://datasets/me/animals/dogs/0.png")
    Path("a.circuit").write_text(spec)
    assert call("lock", "a.circuit").stdout.startswith("a.circuit.lock: 3 images")


def test_an_included_spec_of_another_folder_names_the_same_files(hub: Hub) -> None:
    Path("sets").mkdir()
    Path("sets/dogs.circuit").write_text("images dogs = hf://datasets/me/animals/dogs/*.png\n")
    Path("a.circuit").write_text('include "sets/dogs.circuit"\n' + SPEC.replace(SPEC.splitlines()[1] + "\n", ""))
    call("run", "a.circuit")
    assert "hf://datasets/me/animals@" in ran_with()[1]


def test_a_program_comes_from_the_hub(hub: Hub) -> None:
    program = torch.export.export(network.build().eval(), (torch.zeros(1, 3, 64, 64),))
    torch.export.save(program, "net.pt2")
    hub.repository("me/net").put({"net.pt2": Path("net.pt2").read_bytes()})
    Path("a.circuit").write_text('model file("hf://me/net/net.pt2")\n' + "".join(SPEC.splitlines(keepends=True)[1:]))
    call("run", "a.circuit")
    plan = yaml.safe_load(Path("runs/a/plan.yaml").read_text())
    assert plan["model"]["name"] == f"hf://me/net@{commit(hub.repository('me/net'))}/net.pt2"


def test_from_python(hub: Hub) -> None:
    run = circuitlang.run(SPEC)
    assert run["face"].summary.kept == 676
    assert sorted(hub.fetched) == [*DOGS, "weights/doodle.safetensors"]


def test_the_ready_made_spec_runs(hub: Hub) -> None:
    text = (ROOT / "specs" / "hub" / "dogs.circuit").read_text()
    hub.repository("you/doodle").put({"doodle.safetensors": WEIGHTS})
    hub.repository("you/animals", "datasets").put(DOGS)
    Path("dogs.circuit").write_text(text)
    call("lock", "dogs.circuit")
    call("run", "dogs.circuit", "--locked")
    assert circuitlang.load("runs/dogs/face").summary.kept == 676


def test_a_connection_that_another_thread_closes_is_opened_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    download, failures = HfApi.hf_hub_download, ["dogs/1.png", "dogs/2.png"]

    def closed(self: HfApi, repo: str, path: str, **options: object) -> object:
        if path in failures:
            failures.remove(path)
            raise RuntimeError("Cannot send a request, as the client has been closed.")
        return download(self, repo, path, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(HfApi, "hf_hub_download", closed)
    call("lock", "a.circuit")
    assert failures == []


def test_a_run_differs_from_its_spec_by_revisions_that_were_said_alone(hub: Hub, animals: Repository) -> None:
    call("run", "a.circuit")
    for sides in (["a.circuit", "runs/a/plan.yaml"], ["runs/a/plan.yaml", "a.circuit"]):
        assert call("diff", *sides).stdout == "no difference in meaning\n"
    for name, revision in (("b", "v1"), ("c", "v2")):
        Path(f"{name}.circuit").write_text(SPEC.replace("me/animals/", f"me/animals@{revision}/"))
    said = call("diff", "b.circuit", "c.circuit", code=1).stdout
    assert "hf://datasets/me/animals@v1/dogs/*.png → hf://datasets/me/animals@v2/dogs/*.png" in said


def test_of_a_limited_set_the_images_that_are_drawn_are_fetched_alone(hub: Hub, animals: Repository) -> None:
    animals.put({f"dogs/{number}.png": png("dogs", number) for number in range(4, 9)})
    Path("a.circuit").write_text(SPEC.replace("dogs/*.png", "dogs/*.png limit=3 seed=1"))
    call("lock", "a.circuit")
    locked = yaml.safe_load(Path("a.circuit.lock").read_text())["images"]["dogs"]
    assert len(locked) == 3
    names = [name for name in hub.fetched if name.startswith("dogs/")]
    assert sorted(f"hf://datasets/me/animals/{name}" for name in names) == list(locked)
    for number in range(9):
        Path("dogs").mkdir(exist_ok=True)
        Path(f"dogs/{number}.png").write_bytes(png("dogs", number))
    drawn = find(Images(["dogs/*.png"], limit=3, seed=1), Path())
    assert [path.as_posix() for path in drawn] == sorted(names)
