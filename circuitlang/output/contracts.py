"""What an output format is: a file in `formats/` with one registered function, result → files by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from circuitlang.engine.result import Result
from circuitlang.registry import Registry

Format = Callable[[Result], Mapping[str, bytes]]
F = TypeVar("F", bound=Format)

FORMATS: Registry[Format] = Registry("output format", "circuitlang.output.formats", "circuitlang.formats")


def output_format(function: F) -> F:
    """Register an output format."""
    FORMATS.add(function.__name__, function.__module__, function)
    return function
