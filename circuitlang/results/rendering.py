"""Render results into the contents of files, format by format: one that fails takes nothing from the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

import msgspec

from circuitlang.base.diagnostics import Finding, reason
from circuitlang.plugins.registry import Registry
from circuitlang.results.outputs import COMPARISON_FORMATS, FORMATS, SPLIT_FORMATS, ComparisonResult, Files
from circuitlang.results.split import SplitResult
from circuitlang.results.types import Result

T = TypeVar("T")
# The formats that say what the others lack; without them there is no result, so they come last and may raise.
_CIRCUIT, _SPLIT, _COMPARISON = "circuit", "split", "comparison"


def rendered(result: Result, only: Collection[str] = ()) -> tuple[dict[str, bytes], Result]:
    """Return the files of every registered format, or of some, by name, and the result with its missing formats.

    Raises whatever the format `circuit` raises.
    """
    chosen = [name for name in FORMATS.declarations if name != _CIRCUIT and (not only or name in only)]
    files, missing = _render(FORMATS, chosen, result)
    summary = msgspec.structs.replace(result.summary, missing={**result.summary.missing, **missing})
    result = replace(result, summary=summary)
    return {**files, **FORMATS.load(_CIRCUIT)(result)}, result


def rendered_split(result: SplitResult) -> tuple[dict[str, bytes], SplitResult]:
    """Return the files of a split by name, and the split with its missing formats.

    Raises whatever the format `split` raises.
    """
    files, missing = _render(SPLIT_FORMATS, _others(SPLIT_FORMATS, _SPLIT), result)
    result = replace(result, split=msgspec.structs.replace(result.split, missing=missing))
    return {**files, **SPLIT_FORMATS.load(_SPLIT)(result)}, result


def rendered_comparison(result: ComparisonResult) -> tuple[dict[str, bytes], ComparisonResult]:
    """Return the files of a comparison by name, and the comparison with its missing formats.

    Raises whatever the format `comparison` raises.
    """
    files, missing = _render(COMPARISON_FORMATS, _others(COMPARISON_FORMATS, _COMPARISON), result)
    result = replace(result, comparison=msgspec.structs.replace(result.comparison, missing=missing))
    return {**files, **COMPARISON_FORMATS.load(_COMPARISON)(result)}, result


def missing_formats(name: str, missing: Mapping[str, str], kept: str, circuit: str = "") -> list[Finding]:
    """Return a finding for each output format of `name` that failed; `kept` says what of it is there."""
    cure = f"run again: {kept}"
    return [
        Finding("E393", f"{name}: its {what} could not be made", None, why, cure, circuit)
        for what, why in missing.items()
    ]


def _others(registry: Registry[Callable[[T], Files]], essential: str) -> list[str]:
    return [name for name in registry.declarations if name != essential]


def _render(
    registry: Registry[Callable[[T], Files]], names: Iterable[str], result: T
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the files of some formats, and why formats failed, by format."""
    files: dict[str, bytes] = {}
    missing: dict[str, str] = {}
    for name in names:
        try:
            files.update(registry.load(name)(result))
        except Exception as error:  # a format may come from anywhere and meet anything
            missing[name] = reason(error)
    return files, missing
