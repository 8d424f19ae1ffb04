"""Compiled loops are kept with their hashes: damaged ones are compiled again, and never run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

CODE = """
from circuitlang.engine.loops.compilation import loops

@loops()
def double(x):
    return 2 * x
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module of a compiled function, whose cache is beside it."""
    (tmp_path / "doubling.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    yield fresh()
    sys.modules.pop("doubling", None)


def fresh() -> ModuleType:
    """As another process would import it."""
    from importlib import import_module

    sys.modules.pop("doubling", None)
    return import_module("doubling")


def kept(module: ModuleType) -> list[Path]:
    return sorted(Path(module.double.stats.cache_path).glob("doubling.double*"))


def hits(module: ModuleType) -> int:
    return sum(module.double.stats.cache_hits.values())


def test_what_is_compiled_is_kept_and_found(module):
    assert module.double(3) == 6
    assert {path.suffix for path in kept(module)} == {".nbi", ".nbc", ".sha256"}
    again = fresh()
    assert again.double(3) == 6
    assert hits(again) == 1


@pytest.mark.parametrize("ending", [".nbi", ".nbc", ".nbi.sha256", ".nbc.sha256"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_what_is_damaged_is_compiled_again(module, ending, damage):
    module.double(3)
    (path,) = (each for each in kept(module) if each.name.endswith(ending))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"flip": bytes(content), "cut": bytes(content[:-7]), "empty": b""}[damage])
    again = fresh()
    assert again.double(3) == 6
    assert hits(again) == 0
    mended = fresh()
    assert mended.double(3) == 6
    assert hits(mended) == 1
