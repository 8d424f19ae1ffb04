"""Results are pushed to the Hub and pulled again, whole and verified; a server on this machine stands for the Hub."""

from __future__ import annotations

import builtins
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import circuitlang
from circuitlang.base.diagnostics import InputError
from circuitlang.base.hub_address import HubAddress, hub_address
from circuitlang.cli.main import main
from circuitlang.results.shared_folder import refuse_names, shared_files, shared_folder
from tests.conftest import ROOT
from tests.helpers.hub_server import Hub, hub_server, talk_to

# The run that its tests share takes seconds.
pytestmark = pytest.mark.slow

SPEC = """images dogs = images/dogs/* limit=12
circuit one = preserve conv5:34 on dogs kernels<=60 criterion=magnitude tests=sufficiency
circuit two = preserve conv4:45 on dogs kernels<=30 criterion=magnitude
"""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A Hub on this machine that this process talks to, with an empty cache of its files."""
    with hub_server() as server:
        talk_to(server, tmp_path / "hub-cache", monkeypatch)
        yield server


@pytest.fixture
def run(standard_run: Callable[..., None], here: Path) -> Path:
    """The folder of a run of two circuits."""
    standard_run(SPEC, "pair.circuit")
    return here / "runs" / "pair"


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    return result


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pushed(hub: Hub, repo: str = "me/pair") -> dict[str, bytes]:
    return hub.repository(repo).commits[-1][1]


def card(hub: Hub, repo: str = "me/pair") -> tuple[dict[str, object], str]:
    """The header and the text of a repository's page."""
    _, header, text = pushed(hub, repo)["README.md"].decode().split("---\n", 2)
    return yaml.safe_load(header), text


def test_a_run_is_the_same_after_it_is_pushed_and_pulled(hub: Hub, run: Path) -> None:
    result = call("push", "pair", "hf://me/pair")
    commit = hub.repository("me/pair").commits[-1][0]
    assert result.stdout.splitlines()[0].startswith(f"hf://me/pair@{commit}: a run with 2 circuits, ")
    pulled = call("pull", "hf://me/pair", "runs/copy")
    assert pulled.stdout.splitlines()[-1] == f"hf://me/pair@{commit}"
    copy = contents(run.parent / "copy")
    assert copy.pop("README.md")
    assert copy == contents(run)
    assert [circuit.summary.kept for circuit in map(circuitlang.load, (run / "one", run.parent / "copy" / "one"))] == [
        60,
        60,
    ]
    assert not list(run.parent.glob(".partial-*"))


def test_files_that_a_repository_has_beside_the_results_stay_and_hidden_ones_are_not_pulled(
    hub: Hub, run: Path
) -> None:
    hub.repository("me/pair").put({"weights.bin": b"own", ".gitattributes": b"*", ".git/config": b"[core]"})
    call("push", "pair", "hf://me/pair")
    assert pushed(hub)["weights.bin"] == b"own"
    call("pull", "hf://me/pair", "copy")
    assert (run.parents[1] / "copy" / "weights.bin").read_bytes() == b"own"
    assert not list((run.parents[1] / "copy").rglob(".git*"))


def test_a_commit_is_had_again_after_others(hub: Hub, run: Path) -> None:
    call("push", "runs/pair/one", "hf://me/one")
    first = hub.repository("me/one").commits[-1][0]
    call("push", "runs/pair/two", "hf://me/one", "--message", "another")
    assert hub.repository("me/one").commits[-1][0] != first
    call("pull", f"hf://me/one@{first}", "first")
    call("pull", "hf://me/one", "second")
    assert [circuitlang.load(name).summary.plan.id for name in ("first", "second")] == ["one", "two"]


def test_the_page_of_a_circuit_says_what_it_claims_and_how_far_it_holds(hub: Hub, run: Path) -> None:
    call("push", "one", "hf://me/one", "--licence", "cc-by-4.0")
    header, text = card(hub, "me/one")
    assert header["license"] == "cc-by-4.0"
    assert header["library_name"] == "circuitlang"
    summary = circuitlang.load(run / "one").summary
    assert "circuit one = preserve conv5:34 on dogs kernels<=60" in text
    assert f"60 of {summary.relevant:,} kernels" in text
    assert summary.test is not None
    assert f"| {summary.test.metrics['pearson']:.3f} | {summary.train.metrics['pearson']:.3f} |" in text
    assert f"| sufficiency | {summary.tests['sufficiency'].statistic:.2f} |" in text
    assert summary.provenance.weights in text
    assert summary.provenance.test_images in text
    assert "cc-by-4.0." in text.split("## Licence")[1]


def test_the_page_of_a_run_has_a_row_for_each_circuit(hub: Hub, run: Path) -> None:
    call("push", "pair", "hf://me/pair")
    header, text = card(hub)
    assert "license" not in header
    assert "None was stated." in text.split("## Licence")[1]
    for name in ("one", "two"):
        summary = circuitlang.load(run / name).summary
        assert f"| {name} | {summary.plan.target} | dogs | {summary.kept} " in text
        assert f"| {summary.judged.metrics['pearson']:.3f} |" in text
    assert text.count("circuit one = ") == 1


def test_text_of_a_spec_is_no_markdown(hub: Hub, run: Path) -> None:
    path = run / "one" / "circuit.json"
    summary = json.loads(path.read_bytes())
    summary["plan"]["statement"] = "circuit one = `` [a](http://b) ```\n# c <b>"
    path.write_text(json.dumps(summary))
    (run / "one" / "SHA256SUMS").unlink()
    from circuitlang.results.manifest import manifest

    (run / "one" / "SHA256SUMS").write_bytes(manifest(contents(run / "one")))
    call("push", "runs/pair/one", "hf://me/one")
    assert "\n````text\ncircuit one = `` [a](http://b) ```\n# c <b>\n````\n" in card(hub, "me/one")[1]


def test_a_packed_run_and_its_circuits(hub: Hub, here: Path) -> None:
    call("run", "-e", SPEC, "--packed", "--quiet")
    call("push", "inline", "hf://datasets/me/pair")
    assert hub.repository("me/pair", "datasets").commits
    pulled = call("pull", "hf://datasets/me/pair", "copy")
    assert pulled.stdout.startswith("copy: a packed run with 2 circuits, ")
    frame = circuitlang.load("copy").to_frame()  # type: ignore[union-attr]
    assert sorted(frame.index) == ["one", "two"]


def test_an_atlas(hub: Hub, run: Path) -> None:
    call("atlas", "pair", "--out", "site")
    call("push", "site", "hf://me/site")
    assert "index.html" in pushed(hub, "me/site")
    assert call("pull", "hf://me/site", "copy").stdout.startswith("copy: an atlas, ")
    copy = contents(Path("copy"))
    copy.pop("README.md")
    assert copy == contents(Path("site"))


def test_a_new_repository_is_private_if_asked_for(hub: Hub, run: Path) -> None:
    call("push", "one", "hf://me/one", "--private")
    call("push", "two", "hf://me/two")
    assert [hub.repository(name).private for name in ("me/one", "me/two")] == [True, False]


@pytest.mark.parametrize("name", ["circuit.json", "module.pt2", "SHA256SUMS", "metrics.json"])
def test_a_damaged_file_is_neither_pushed_nor_pulled(hub: Hub, run: Path, name: str) -> None:
    call("push", "pair", "hf://me/pair")
    hub.repository("me/pair").put({f"one/{name}": pushed(hub)[f"one/{name}"][:-9]})
    damaged = call("pull", "hf://me/pair", "copy", code=1)
    assert "error[E384]" in damaged.stderr
    assert f"hf://me/pair@{hub.repository('me/pair').commits[-1][0]}" in damaged.stderr
    assert not Path("copy").exists()
    assert ".partial" not in damaged.stderr
    (run / "one" / name).write_bytes((run / "one" / name).read_bytes()[:-9])
    before = len(hub.repository("me/pair").commits)
    assert "runs/pair/one" in call("push", "pair", "hf://me/pair", code=1).stderr
    assert len(hub.repository("me/pair").commits) == before


@pytest.mark.parametrize(
    "name",
    ["../evil", "one/../../evil", "/etc/evil", "one//evil", "C:/evil", "one\\..\\evil", "con/evil", "nul.txt", "a\x07",
     "one/evil.", "one/evil ", "e" * 256, "one/circuit.json/evil", "One/circuit.json"],
)  # fmt: skip
def test_a_name_that_leaves_the_folder_is_refused_before_anything_is_fetched(hub: Hub, run: Path, name: str) -> None:
    call("push", "pair", "hf://me/pair")
    hub.repository("me/pair").put({name: b"evil"})
    before = {path for path in Path().resolve().parent.rglob("*") if "cache" not in path.parts}
    hub.requests.clear()
    assert "error[E384]" in call("pull", "hf://me/pair", "copy", code=1).stderr
    assert not [request for request in hub.requests if "/resolve/" in request]
    assert {path for path in Path().resolve().parent.rglob("*") if "cache" not in path.parts} == before


@given(st.lists(st.sampled_from(["a", "..", ".", "", "b c", "/", "\\", ":", "\0", "\u202e", "x"]), min_size=1))
def test_names_that_pass_stay_inside(parts: list[str]) -> None:
    name = "/".join(parts)
    try:
        refuse_names([name], "it")
    except InputError:
        return
    root = Path("/anywhere")
    assert Path(os.path.normpath(root / name)).is_relative_to(root)
    assert (root / name).parts[len(root.parts) :] == tuple(name.split("/"))


def test_a_link_is_not_followed_and_hidden_files_stay_here(run: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (run / "link.txt").symlink_to(secret)
    (run / "folder").symlink_to(tmp_path, target_is_directory=True)
    (run / ".token").write_text("secret")
    assert not {"link.txt", ".token"} & shared_files(run).keys()
    assert not [name for name in shared_files(run) if name.startswith("folder/")]
    assert {"plan.yaml", "one/circuit.json"} < shared_files(run).keys()


def test_a_folder_with_files_is_left_alone(hub: Hub, run: Path) -> None:
    Path("copy").mkdir()
    Path("copy", "notes.txt").write_text("mine")
    assert "error[E385]" in call("pull", "hf://me/pair", "copy", code=1).stderr
    assert contents(Path("copy")) == {"notes.txt": b"mine"}
    assert hub.requests == []
    assert "error[E385]" in call("pull", "hf://me/pair", "copy/notes.txt", code=1).stderr


def test_an_empty_folder_is_taken(hub: Hub, run: Path) -> None:
    call("push", "one", "hf://me/one")
    Path("copy").mkdir()
    call("pull", "hf://me/one", "copy")
    assert shared_folder(Path("copy")).kind == "circuit"


@pytest.mark.parametrize(
    ("address", "refuses", "code"),
    [("hf://me/none", 0, "E383"), ("hf://me/one@v9", 0, "E383"), ("hf://me/one", 401, "E382"),
     ("hf://me/one", 403, "E382"), ("hf://me/one", 500, "E383"), ("hf://datasets/me/one", 0, "E383")],
)  # fmt: skip
def test_refusals_of_the_hub_are_findings(hub: Hub, run: Path, address: str, refuses: int, code: str) -> None:
    call("push", "one", "hf://me/one")
    hub.repository("me/one").refuses = refuses
    assert f"error[{code}]" in call("pull", address, "copy", code=1).stderr
    assert not Path("copy").exists()


def test_a_push_that_is_not_allowed_is_a_finding(hub: Hub, run: Path) -> None:
    hub.repository("me/one").refuses = 403
    refused = call("push", "one", "hf://me/one", code=1)
    assert "error[E382]" in refused.stderr
    assert "hf auth login" in refused.stderr


def test_offline_it_says_what_is_missing(hub: Hub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        offline = call("pull", "hf://me/one", "copy", code=1)
    assert "error[E381]" in offline.stderr
    assert "HF_HUB_OFFLINE is set" in offline.stderr
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for command in (("pull", "hf://me/one", "copy"), ("push", "one", "hf://me/one")):
        unreachable = call(*command, code=1)
        assert "error[E381]: http://127.0.0.1:9 can't be reached" in unreachable.stderr
        assert "HF_ENDPOINT" in unreachable.stderr


def test_without_its_package_the_extra_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imports = builtins.__import__

    def missing(name: str, *arguments: object, **options: object) -> object:
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return imports(name, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", missing)
    for command in (("pull", "hf://me/one", "copy"), ("push", "one", "hf://me/one")):
        assert "pip install 'circuitlang[hub]'" in call(*command, code=1).stderr


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf://me/dogs", HubAddress("me/dogs")),
        ("hf://me/dogs@v1.0", HubAddress("me/dogs", "model", "v1.0")),
        ("hf://datasets/me/d.o_g-s@refs/pr/3", HubAddress("me/d.o_g-s", "dataset", "refs/pr/3")),
    ],
)
def test_addresses(text: str, address: HubAddress) -> None:
    assert hub_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["dogs", "hf://", "hf://dogs", "hf://me/dogs/file", "hf://me/do..gs", "hf://me/do--gs", "hf://me/../x",
     "hf:/me/dogs", "hf://me/dogs@", "hf://me/dogs@a b", "hf://me/dogs@a/b", f"hf://me/{'d' * 96}", "hf://mé/dogs", "hf://me/dogs.",
     "hf://me/dogs\n", "https://huggingface.co/me/dogs"],
)  # fmt: skip
def test_other_texts_are_no_addresses(text: str, run: Path) -> None:
    with pytest.raises(InputError) as caught:
        hub_address(text)
    assert caught.value.findings[0].code == "E380"
    assert "error[E380]" in call("push", "one", text, code=1).stderr


def test_the_environment_names_the_hub_and_no_torch_is_imported(run: Path, tmp_path: Path) -> None:
    with hub_server() as server:
        environment = {
            **os.environ,
            "HF_ENDPOINT": server.endpoint,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": "hf_secret",
            "PYTHONPATH": str(ROOT),
        }
        program = "import sys; from circuitlang.cli.main import main\ntry: main(sys.argv[1:])\n"
        program += "finally: print('torch' in sys.modules)"
        for arguments in (("push", "pair", "hf://me/pair"), ("pull", "hf://me/pair", "copy")):
            command = [sys.executable, "-c", program, *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert done.stdout.endswith("False\n")
    copy = contents(Path("copy"))
    assert b"hf_secret" not in b"".join(copy.values())
    shutil.rmtree("copy")
