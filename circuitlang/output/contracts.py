"""What output formats and exports are.

An output format is a file in `formats/` with one registered function, result → files by name: every run writes them.
An export is a file in `circuitlang/exports/` with one registered function, finished circuit → content of a file with
that ending: it is written when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from circuitlang.engine.result import Result
from circuitlang.registry import Registry

if TYPE_CHECKING:
    from circuitlang.loaded import Loaded

    Export = Callable[[Loaded], bytes]
    E = TypeVar("E", bound=Export)

Format = Callable[[Result], Mapping[str, bytes]]
F = TypeVar("F", bound=Format)

EXPORTS: Registry[Export] = Registry("export", "circuitlang.exports", "circuitlang.exports")
FORMATS: Registry[Format] = Registry("output format", "circuitlang.output.formats", "circuitlang.formats")


def output_format(function: F) -> F:
    """Register an output format."""
    FORMATS.add(function.__name__, function.__module__, function)
    return function


def export(function: E) -> E:
    """Register an export."""
    EXPORTS.add(function.__name__, function.__module__, function)
    return function
