"""What takes long in a run and is left out in tests that don't look at it.

`python -m tests.helpers.fast_mode` is the command line without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from circuitlang.results.outputs import FORMATS

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def no_drawing(figure: object, name: str) -> str:
    return f'<svg class="chart chart-{name}" aria-hidden="true"></svg>'


def nothing(*_: object) -> bytes:
    return b""


@dataclass(frozen=True)
class Brief:
    """A module's name for something, what stands there instead, and the tests that look at what it does."""

    module: str
    name: str
    instead: Any
    looked_at: tuple[str, ...] = ()


BRIEF = (
    Brief(
        "circuitlang.engine.visuals.feature_visualisation",
        "STEPS",
        1,
        ("tests.engine.visuals.test_feature_visualisation", "tests.reporting.diagram.test_interactive"),
    ),
    Brief(
        "circuitlang.reporting.html.charts",
        "as_svg",
        no_drawing,
        ("tests.reporting.html.test_report", "tests.engine.runtime.test_split_job", "tests.results.test_sweep"),
    ),
)
# To write of circuits their numbers and kernels alone.
UNDRAWN = (
    Brief(
        "circuitlang.results.rendering",
        "FORMATS",
        SimpleNamespace(declarations=("circuit", "metrics"), load=FORMATS.load),
    ),
    Brief("circuitlang.engine.runtime.artifacts", "pack", nothing),
)
# To write of circuits their modules as well.
PAGELESS = Brief(
    "circuitlang.results.rendering",
    "FORMATS",
    SimpleNamespace(declarations=("circuit", "metrics", "module"), load=FORMATS.load),
)


def be_brief(briefs: tuple[Brief, ...] = BRIEF) -> None:
    """Leave it out in a process of a test's own."""
    for brief in briefs:
        setattr(import_module(brief.module), brief.name, brief.instead)


def leave_undrawn(patch: pytest.MonkeyPatch) -> None:
    """Write of circuits their numbers and kernels alone, in a run's own processes too."""
    for brief in UNDRAWN:
        patch.setattr(f"{brief.module}.{brief.name}", brief.instead)
    patch.setattr("circuitlang.engine.runtime.runner.start_worker", undrawn_worker)


def leave_pages(patch: pytest.MonkeyPatch) -> None:
    """Write of circuits their numbers, kernels and modules, in this process alone."""
    patch.setattr(f"{PAGELESS.module}.{PAGELESS.name}", PAGELESS.instead)


def worker(again: Any, folder: Path, threads: int) -> Any:
    """What a process of a run does with circuits, in brief."""
    from circuitlang.engine.runtime import runner

    be_brief()
    return runner.start_worker(again, folder, threads)


def undrawn_worker(again: Any, folder: Path, threads: int) -> Any:
    """The same, and nothing is drawn."""
    be_brief(UNDRAWN)
    return worker(again, folder, threads)


if __name__ == "__main__":
    from circuitlang.cli.main import main

    be_brief()
    main(prog_name="circuitlang")
