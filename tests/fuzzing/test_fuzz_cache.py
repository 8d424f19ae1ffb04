"""What is kept in the cache is what was put there, or it is not there: never another circuit, never a traceback."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import circuitlang
from circuitlang.base import atomic_files
from circuitlang.cli.main import main
from circuitlang.engine.cache import tensor_cache
from circuitlang.engine.cache.tensor_cache import ScoreCache
from circuitlang.engine.models import layer_index
from circuitlang.plan.model import Model
from tests.helpers.fuzzing import all_night, damaged, damaged_json, survives

SPEC = "preserve conv5:34 on images/dogs/* sparsity<=10% criterion=snip\n"
TENSORS = {"conv1": torch.linspace(0, 1, 60, dtype=torch.float64).reshape(3, 20), "conv2": torch.arange(5)}
MODEL = Model("torchvision", "alexnet")


def entries() -> list[Path]:
    """Every file in the cache."""
    return sorted(path for path in tensor_cache.folder().parent.rglob("*") if path.is_file())


def found() -> dict[str, np.ndarray]:
    shutil.rmtree("runs", ignore_errors=True)
    (made,) = circuitlang.run(SPEC)
    return {name: np.asarray(each) for name, each in made.masks.items()} | {"metrics": json.dumps(made.metrics)}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("where", [0, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.003, 0.9))])
def test_one_flipped_bit_in_every_entry_changes_nothing(here, with_pages, where):
    fresh = found()
    kept = {path: path.read_bytes() for path in entries()}
    assert {path.parts[-3] for path in kept} >= {"scores", "responses"}
    for path, content in kept.items():
        flipped = bytearray(content)
        flipped[int(where * (len(content) - 1))] ^= 16
        path.write_bytes(flipped)
    assert same(found(), fresh)
    # Receipts come once the images have been there for a while, which may be in between.
    there = [path for path in entries() if path in kept or path.parts[-2] != "receipts"]
    assert {path: path.read_bytes() for path in there} == kept


@pytest.mark.parametrize("content", [b"", b"\xff" * 100])
def test_an_entry_of_anything_else_changes_nothing(here, numbers_alone, content):
    fresh = found()
    for path in entries():
        path.write_bytes(content)
    assert same(found(), fresh)


def test_an_entry_of_something_else_changes_nothing(here, numbers_alone):
    """Sound in itself, but moved: what one size was scored by in the place of another's."""
    fresh = found()
    everything = entries()
    contents = [path.read_bytes() for path in everything]
    for path, content in zip(everything, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)
    assert same(found(), fresh)


def test_that_an_entry_was_dropped_is_told_to_who_asks(tmp_path, caplog):
    score_cache = ScoreCache(tmp_path, "key")
    score_cache.put(None, TENSORS)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.INFO, "circuitlang"):
        assert score_cache.read() is None
        assert score_cache.read() is None
    assert [record.message for record in caplog.records] == [f"damaged, and dropped from the cache: {path}"]
    assert not path.exists()


def test_what_is_kept_comes_back(tmp_path):
    score_cache = ScoreCache(tmp_path, "key")
    for size in (None, 3):
        score_cache.put(size, TENSORS)
        back = score_cache.read(size)
        assert all(torch.equal(back[name], each) for name, each in TENSORS.items())
        assert back["conv1"].dtype == torch.float64


def kept(tmp_path: Path, versions: Iterator[bytes]) -> None:
    """Every version of an entry is read as it was put there, or not at all."""
    score_cache = ScoreCache(tmp_path, "key")
    path = score_cache.path(None)
    for content in versions:
        path.write_bytes(content)
        back: dict[str, torch.Tensor] | None = None

        def read() -> None:
            nonlocal back
            back = score_cache.read()

        assert survives(read)
        assert back is None or all(torch.equal(back[name], each) for name, each in TENSORS.items())


def remembered(versions: Iterator[bytes]) -> None:
    """Every version of a file of remembered layers is read as it was written, or not at all."""
    (path,) = layer_index.folder().iterdir()
    for content in versions:
        path.write_bytes(content)
        layers = layer_index.LayerIndex({})
        assert survives(lambda layers=layers: list(layers))
        (key,) = layers or (None,)
        assert key is None or (layers[key].widths, layers[key].short) == ({"conv1": 64}, ("conv1",))


def entry(tmp_path: Path) -> bytes:
    ScoreCache(tmp_path, "key").put(None, TENSORS)
    return ScoreCache(tmp_path, "key").path(None).read_bytes()


def layers() -> bytes:
    layer_index.remember(MODEL, {"conv1": 64}, ["conv1"])
    (path,) = layer_index.folder().iterdir()
    return path.read_bytes()


def test_damaged_entries(tmp_path):
    content = entry(tmp_path)
    kept(tmp_path, damaged(content, 400))
    every = (bytes([*content[:at], content[at] ^ 1, *content[at + 1 :]]) for at in range(len(content)))
    kept(tmp_path, every)


def test_damaged_layers():
    content = layers()
    remembered(damaged(content, 200))
    remembered(damaged_json(content, 200))
    remembered(iter([b"", b"\xff", b"[" * 100_000]))


@pytest.mark.nightly
def test_damaged_entries_all_night(tmp_path):
    content, record = entry(tmp_path), layers()
    for seed in all_night():
        kept(tmp_path, damaged(content, 100, seed))
        remembered(damaged(record, 100, seed))
        remembered(damaged_json(record, 100, seed))


def call(*arguments: str, code: int = 0) -> str:
    ran = CliRunner().invoke(main, ["cache", *arguments])
    assert ran.exit_code == code, ran.output
    assert ran.exception is None or isinstance(ran.exception, SystemExit)
    return ran.output


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_cache_that_cannot_be_cleared_is_a_finding(monkeypatch, number):
    ScoreCache(tensor_cache.folder() / "plan", "key").put(None, TENSORS)

    def refused(path: Path, missing_ok: bool = False) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refused)
        said = call("--clear", code=1)
    assert "E390" in said
    assert "make it writable" in said
    assert len(entries()) == 1


def test_a_cache_is_cleared_of_what_killed_runs_left(monkeypatch):
    score_cache = ScoreCache(tensor_cache.folder() / "plan", "key")
    score_cache.put(None, TENSORS)
    (score_cache.folder / ".partial-abc").write_bytes(b"half")
    call("--clear")
    assert entries() == []


@pytest.mark.parametrize("place", ["file", "file/below", "x" * 300, "loop", "file/layers"])
def test_a_cache_that_is_no_folder_does_no_harm(here, numbers_alone, monkeypatch, place):
    (here / "file").write_text("mine")
    (here / "loop").symlink_to(here / "loop")
    monkeypatch.setenv("CIRCUITLANG_CACHE", str(here / place))
    layer_index.remember(MODEL, {"conv1": 64}, ["conv1"])
    assert list(layer_index.LayerIndex({})) == []
    assert call().startswith("0 files")
    assert call("--clear").startswith("removed 0 files")
    score_cache = ScoreCache(tensor_cache.folder() / "plan", "key")
    score_cache.put(None, TENSORS)
    assert not score_cache.has(None)
    assert score_cache.read() is None
    assert (here / "file").read_text() == "mine"


def test_a_full_disk_keeps_nothing_half(monkeypatch):
    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    score_cache = ScoreCache(tensor_cache.folder() / "plan", "key")
    with monkeypatch.context() as patched:
        patched.setattr(atomic_files.os, "fdopen", full)
        score_cache.put(None, TENSORS)
        layer_index.remember(MODEL, {"conv1": 64}, ["conv1"])
    assert entries() == []
    score_cache.put(None, TENSORS)
    assert score_cache.has(None)
