"""Options and fixtures of all tests.

What some tests want and a machine may lack must be there in CI, so that no test is skipped unseen.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what is said now into the golden cases")


def _missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and in CI it must not be", pytrace=False)
    pytest.skip(f"{what} is missing")


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of a real network and real photographs, which is kept beside the project."""
    folder = ROOT.parent / "shared" / "real"
    if not folder.is_dir():
        _missing("the folder ../shared/real")
    return folder


@pytest.fixture(scope="session")
def browser() -> str:
    """The path of a browser that can run without a screen."""
    path = shutil.which("chromium")
    if path is None:
        _missing("the browser chromium")
    return path or ""


def draw_pictures(folder: Path, kind: str, number: int) -> None:
    """Pictures of a kind in `images/KIND`, which the bundled network has not seen."""
    from circuitlang.bundled.doodles import draw

    place = folder / "images" / kind
    place.mkdir(parents=True)
    for index in range(number):
        draw(kind, 2_000_000 + index).save(place / f"{index}.png")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures of five dogs, to stand in."""
    draw_pictures(tmp_path, "dogs", 5)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _own_cache(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each test remembers models for itself, and nothing in the cache of whoever runs it."""
    place = tmp_path_factory.getbasetemp() / "cache" / str(abs(hash(request.node.nodeid)))
    monkeypatch.setenv("CIRCUITLANG_CACHE", str(place))


@pytest.fixture(autouse=True)
def _few_steps_of_visualisation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs don't take long over pictures that most tests don't look at; those that do have their steps."""
    if request.module.__name__ not in ("tests.test_visualise", "tests.test_diagram_page"):
        monkeypatch.setattr("circuitlang.engine.visualise.STEPS", 1)
