"""Damaged files of weights: a reader ends in tensors or in findings, and never takes more memory than the file."""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import nn

from circuitlang.engine.models.checkpoint_reader import read
from circuitlang.engine.models.state_dicts import fill
from tests.helpers.fuzzing import all_night, damaged, replaced, survives

# A checkpoint of `network()` in PyTorch's format before 1.6. It holds memory addresses, so that no two are alike.
OLD = Path(__file__).parent / "data" / "checkpoint_before_1.6.pt"


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def checkpoint() -> bytes:
    content = {"net": network().state_dict(), "epoch": 3, "args": argparse.Namespace(lr=0.1), "names": ["a", {"b": 1}]}
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def safetensors() -> bytes:
    return save(network().state_dict(), {"classes": '["a", "b"]'})


def headers(content: bytes, number: int, seed: int) -> list[bytes]:
    """Safetensors files whose header says something else."""
    size = int.from_bytes(content[:8], "little")
    header, rest = json.loads(content[8 : 8 + size]), content[8 + size :]
    found = []
    for changed in replaced(header, number, seed):
        try:
            text = json.dumps(changed).encode()
        except (ValueError, UnicodeEncodeError):
            continue
        found.append(len(text).to_bytes(8, "little") + text + rest)
    return found


def pickles(content: bytes, number: int, seed: int) -> list[bytes]:
    """Archives whose pickle is damaged and whose records are sound."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (name for name in records if name.endswith("data.pkl"))
    found = []
    for pickle in damaged(records[name], number, seed):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for record, each in records.items():
                archive.writestr(record, pickle if record == name else each)
        found.append(file.getvalue())
    return found


KINDS: dict[str, Callable[[int, int], Any]] = {
    "archive": lambda number, seed: damaged(checkpoint(), number, seed),
    "pickle": lambda number, seed: pickles(checkpoint(), number, seed),
    "old": lambda number, seed: damaged(OLD.read_bytes(), number, seed),
    "safetensors": lambda number, seed: damaged(safetensors(), number, seed),
    "header": lambda number, seed: headers(safetensors(), number, seed),
}


def tried(kind: str, folder: Path, number: int, seed: int) -> tuple[int, int]:
    """How many damaged files were read, and into how many networks a sound state dict went."""
    path, count, sound = folder / "w", 0, 0
    for content in KINDS[kind](number, seed):
        path.write_bytes(content)
        sound += survives(lambda: fill(network(), read(path)))
        with torch.device("meta"):
            survives(lambda: fill(network(), read(path)))
        count += 1
    return count, sound


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_of_weights_ends_in_a_network_or_a_finding(tmp_path, kind):
    count, sound = tried(kind, tmp_path, 80, 0)
    assert count > 60
    assert sound < count


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
def test_many_damaged_files_of_weights_end_in_networks_or_findings(tmp_path):
    for seed in all_night():
        for kind in KINDS:
            tried(kind, tmp_path, 50, seed)
