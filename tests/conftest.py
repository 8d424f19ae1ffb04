"""Options and fixtures of all tests.

What some tests want and a machine may lack must be there in CI, so that no test is skipped unseen.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers import fuzzing, standard_runs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

ROOT = Path(__file__).resolve().parents[1]
# A mistake of the program shows its traceback.
os.environ["CIRCUITLANG_DEBUG"] = "1"
RENDER = "CIRCUITLANG_RENDER"
# Modules that make something costly once for many tests.
SHARING = (
    "test_api", "test_artifacts", "test_bundled", "test_comparisons", "test_docs", "test_exporters",
    "test_extending", "test_first_session", "test_fuzz_results", "test_networks",
    "test_packaging", "test_process_pool", "test_raster", "test_real", "test_report", "test_split_job",
)  # fmt: skip
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
# In milliseconds: two minutes, far more than a busy machine takes, and little enough to say which test failed.
PATIENCE = 120_000
# A busy machine is slow, and no test may say so. The examples are the same each time; nightly tests draw others.
settings.register_profile(
    "steady", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what is said now into the golden cases")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of several processes one has all tests of such a module, so that what they share is made once."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.split("::")[0]
            return path if Path(path).stem in SHARING else nodeid

    return Scheduling(config, log) if config.getoption("dist") == "load" else None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In one of several processes: hand over how many damaged inputs its readers were given."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["fuzzing"] = dict(fuzzing.TRIED), dict(fuzzing.READ)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    tried, read = getattr(node, "workeroutput", {}).get("fuzzing", ({}, {}))
    fuzzing.TRIED.update(tried)
    fuzzing.READ.update(read)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in fuzzing.figures(fuzzing.TRIED, fuzzing.READ):
        terminalreporter.write_line(line)


def _missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and in CI it must not be", pytrace=False)
    pytest.skip(f"{what} is missing")


@pytest.fixture(scope="session", autouse=True)
def few_visualisations() -> Iterator[None]:
    """Images that excite a unit are made in a few steps, and none that nobody asks for; tests of them say otherwise."""
    from circuitlang.engine.visuals import amounts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(amounts, "STEPS", 4)
        patch.setattr(amounts, "OPERATIONS", 0)
        yield


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of a real network and real photographs, which is kept beside the project."""
    folder = ROOT.parent / "shared" / "real"
    if not folder.is_dir():
        _missing("the folder ../shared/real")
    return folder


def _program(name: str, kind: str) -> str:
    """Return the path of a program that CI installs."""
    path = shutil.which(name)
    if path is None:
        _missing(f"the {kind} {name}")
    return path or ""


@pytest.fixture(scope="session")
def browser() -> str:
    """The path of a browser that can run without a screen."""
    return _program("chromium", "browser")


@pytest.fixture(scope="session")
def neovim() -> str:
    """The path of Neovim."""
    return _program("nvim", "editor")


@pytest.fixture(scope="session")
def emacs() -> str:
    """The path of Emacs."""
    return _program("emacs", "editor")


@pytest.fixture(scope="session")
def c_compiler() -> str:
    """The path of a compiler of C."""
    return _program("cc", "compiler")


@pytest.fixture(scope="module")
def chromium(browser: str) -> Iterator[Browser]:
    """The browser without a screen; it waits for a busy machine as long as that takes."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=browser, args=FLAGS, timeout=PATIENCE)
        opened = running.new_context

        def new_context(**options: Any) -> BrowserContext:
            context = opened(**options)
            context.set_default_timeout(PATIENCE)
            return context

        running.new_context = new_context  # type: ignore[method-assign]
        yield running
        running.close()


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


@pytest.fixture
def standard_run(here: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Puts what a run of a spec leaves into the test's folder, for tests that begin with it; computed once a session.

    It is rendered as the test asks for. With a name, the spec is the file of that name.
    """

    def put(text: str, name: str = "") -> None:
        shared = standard_runs.shared_folder(tmp_path_factory.getbasetemp())
        standard_runs.put(here, shared, text, name, os.environ[RENDER])

    return put


@pytest.fixture(autouse=True)
def _own_cache(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each test remembers models for itself, and nothing in the cache of whoever runs it."""
    place = tmp_path_factory.getbasetemp() / "cache" / str(abs(hash(request.node.nodeid)))
    monkeypatch.setenv("CIRCUITLANG_CACHE", str(place))


@pytest.fixture(scope="module", autouse=True)
def _rendering(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave out pages, half of a short run, but in modules that look at them and say `RENDER = "all"`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(RENDER, getattr(request.module, "RENDER", "diagram"))
        yield


@pytest.fixture
def numbers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that look at numbers, and not at what is drawn or packed of a circuit."""
    monkeypatch.setenv(RENDER, "none")


@pytest.fixture
def with_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that look at pages in modules that don't."""
    monkeypatch.setenv(RENDER, "all")
