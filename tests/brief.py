"""What takes long in a run and is left out in tests that don't look at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest


def no_drawing(figure: object, name: str) -> str:
    return f'<svg class="chart chart-{name}" aria-hidden="true"></svg>'


@dataclass(frozen=True)
class Brief:
    """A module's name for something, what stands there instead, and the tests that look at what it does."""

    module: str
    name: str
    instead: int | Callable[..., Any]
    looked_at: tuple[str, ...]


BRIEF = (
    Brief("circuitlang.engine.visualise", "STEPS", 1, ("tests.test_visualise", "tests.test_diagram_page")),
    # Processes of a run's own draw, so what they write could not be compared.
    Brief(
        "circuitlang.output.charts", "_svg", no_drawing, ("tests.test_jobs", "tests.test_report_page", "tests.test_split")
    ),
)


def leave_undrawn(patch: pytest.MonkeyPatch) -> None:
    """Write of circuits their numbers and kernels alone: of a real network's, drawing takes longer than finding."""
    from circuitlang.output.contracts import FORMATS

    few = SimpleNamespace(declarations=("circuit", "metrics"), load=FORMATS.load)
    patch.setattr("circuitlang.output.write.FORMATS", few)
    patch.setattr("circuitlang.engine.execute.pack", lambda *_: b"")
