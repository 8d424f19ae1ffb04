"""Damaged locks end in a lock or in findings, and in no more memory than they are long."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml

from circuitlang.base import yaml_document
from circuitlang.engine.runtime import lockfile as locking
from circuitlang.engine.runtime.lockfile import Lock, Model, drifted, lock_path, outdated, read_lock, write_lock
from tests.fuzzing.test_fuzz_plan import with_yaml
from tests.helpers.fuzzing import all_night, damaged, replaced, survives

HASH = "0" * 64
LOCK = Lock(
    plan=HASH,
    circuits={"c": HASH, "d-1": "f" * 64},
    model=Model(HASH, "IMAGENET1K_V1", HASH, HASH),
    images={"dogs": {f"dogs/{number}.png": HASH for number in range(20)}, "é [x]": {"a": HASH}},
    versions={"torch": "2.6.0"},
)
TEXT = write_lock(LOCK)


def read(path: Path, content: bytes) -> None:
    lock_path(path).write_bytes(content)
    found = read_lock(path)
    drifts = [*drifted(found, LOCK), *drifted(LOCK, found), *outdated(found.versions, LOCK.versions)]
    assert all(each.message for each in locking.findings(drifts, {}))


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.setattr(yaml_document, "MAX_VALUES", 2 * len(TEXT))
    return tmp_path / "s.circuit"


def test_the_lock_is_sound(spec):
    assert survives(lambda: read(spec, TEXT.encode()))
    assert read_lock(spec) == LOCK


def test_bytes_of_a_lock_are_answered(spec):
    for content in damaged(TEXT.encode(), 300, seed=1):
        survives(lambda content=content: read(spec, content))


def test_locks_of_other_parts_are_answered(spec):
    for value in replaced(msgspec.to_builtins(LOCK), 150, seed=2):
        survives(lambda value=value: read(spec, yaml.safe_dump(value).encode()))


def test_locks_with_the_rest_of_yaml_are_answered(spec):
    for seed in range(200):
        survives(lambda seed=seed: read(spec, with_yaml(TEXT, seed).encode()))


@pytest.mark.nightly
def test_locks_all_night(spec):
    for seed in all_night():
        for content in (*damaged(TEXT.encode(), 50, seed), with_yaml(TEXT, seed).encode()):
            survives(lambda content=content: read(spec, content))
        for value in replaced(msgspec.to_builtins(LOCK), 20, seed):
            survives(lambda value=value: read(spec, yaml.safe_dump(value).encode()))
