"""The reader of programs takes whatever is in a file: it ends in a network or in findings."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.programs.aten_import import network
from circuitlang.engine.programs.pt2_reader import read_program
from tests.engine.programs.test_hostile_pt2 import SIZE, good
from tests.helpers.fuzzing import all_night, damaged, damaged_json, survives

__all__ = ["good"]
# Of each record of JSON, and of the whole.
NUMBER, MANY = 20, 120


def read(path: Path) -> None:
    """What every command does with a program, without weights and with them."""
    with torch.device("meta"):
        network(read_program(path))
    trace(network(read_program(path)), (SIZE, SIZE))


def changed(path: Path, records: dict[str, bytes], number: int, seed: int) -> Iterator[Path]:
    """Programs with other JSON in one record, and with other bytes in one or anywhere."""
    names = sorted(name for name in records if records[name])
    described = [name for name in names if name.endswith(".json")]
    for name in described:
        for content in damaged_json(records[name], number, seed):
            yield packed(path, {**records, name: content})
    for name in names:
        for content in damaged(records[name], -(-number // 10), seed):
            yield packed(path, {**records, name: content})
    for content in damaged(packed(path, records).read_bytes(), number, seed):
        path.write_bytes(content)
        yield path


def packed(path: Path, records: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return path


def hold(path: Path, records: dict[str, bytes], number: int, seed: int) -> None:
    """Every change of a program is survived. Raises AssertionError where one isn't, which says which."""
    read_well = 0
    for place, each in enumerate(changed(path, records, number, seed)):
        try:
            read_well += survives(lambda each=each: read(each))
        except Exception as error:
            raise AssertionError(f"seed {seed}, change {place}: {type(error).__name__}: {error}") from error
    assert 0 < read_well < place


@pytest.mark.slow
def test_a_damaged_program_is_read_or_refused(tmp_path: Path, good: dict[str, bytes]) -> None:
    hold(tmp_path / "module.pt2", good, NUMBER, 0)


@pytest.mark.nightly
def test_damaged_programs_all_night(tmp_path: Path, good: dict[str, bytes]) -> None:
    for seed in all_night():
        hold(tmp_path / "module.pt2", good, MANY, seed)
