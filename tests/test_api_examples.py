"""Every public name has an example in its docstring, and each does what it says."""

from __future__ import annotations

import doctest
import inspect
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import circuitlang
from circuitlang import api
from tests.conftest import ROOT

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def public_objects() -> Iterator[tuple[str, Any]]:
    """Yield the functions of the package, the classes of its results and their members, but not exceptions."""
    for name in circuitlang.__all__:
        if not inspect.isclass(getattr(circuitlang, name)):
            yield name, getattr(circuitlang, name)
    for holder in (api.LoadedCircuit, api.Run, api.PackedRun, api.LoadedComparison, api.LoadedEdit):
        yield holder.__name__, holder
        for name, member in vars(holder).items():
            described = isinstance(member, property) or hasattr(member, "func") or inspect.isfunction(member)
            if described and not name.startswith("_"):
                yield f"{holder.__name__}.{name}", member


OBJECTS = dict(public_objects())


def test_public_members_are_found() -> None:
    assert {"run", "LoadedCircuit.masks", "LoadedCircuit.module", "LoadedComparison.iou"} <= OBJECTS.keys()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the examples with the runs of one of them."""
    folder = tmp_path_factory.mktemp("examples") / "examples"
    shutil.copytree(ROOT / "examples", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        circuitlang.run("dogs.circuit")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTS)
def test_example(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = inspect.getdoc(OBJECTS[name])
    assert text is not None
    monkeypatch.chdir(folder)
    circuit = circuitlang.load("runs/dogs/sketch")
    names = {"circuitlang": circuitlang, "torch": torch, "circuit": circuit}
    if "run" in text:
        names["run"] = circuitlang.run("dogs.circuit")
    if "comparison" in text:
        names["comparison"] = circuitlang.compare("runs/dogs/conv5_34-annealed-0.05", "runs/dogs/sketch")
    examples = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    assert examples.examples, f"{name} has no example"
    results = doctest.DocTestRunner(optionflags=OPTIONS).run(examples)
    assert results.failed == 0
