"""Render results into the contents of files, format by format: one that fails takes nothing from the others.

A result names the formats that are absent: those that failed, with the reason, and those that were not asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

import msgspec

from circuitlang.base.diagnostics import Finding, reason
from circuitlang.plugins.registry import Registry
from circuitlang.results.edit import EditResult
from circuitlang.results.labelling import labelled, labelled_comparison
from circuitlang.results.outputs import (
    COMPARISON_FORMATS,
    DRAWINGS,
    EDIT_FORMATS,
    FORMATS,
    MODULE,
    SPLIT_FORMATS,
    ComparisonResult,
    Files,
)
from circuitlang.results.split import SplitResult
from circuitlang.results.types import Result

T = TypeVar("T")
# The formats that say what the others lack; without them there is no result, so they come last and may raise.
_CIRCUIT, _SPLIT, _COMPARISON, _EDIT = "circuit", "split", "comparison", "edit"


def rendered(
    result: Result, asked: Collection[str] | None = None, again: Collection[str] | None = None
) -> tuple[dict[str, bytes], Result]:
    """Return the files of a circuit by name, and the result with its absent formats.

    Args:
        result: The result, whose `missing` has the formats that are known to fail.
        asked: The formats that its folder is to have; every registered one if None.
        again: The formats among them to render, where the folder has the others; all of them if None.

    Raises whatever the format `circuit` raises.
    """
    names = _others(FORMATS, _CIRCUIT)
    chosen = [name for name in names if (asked is None or name in asked) and (again is None or name in again)]
    files, missing = _render(FORMATS, chosen, result)
    summary = msgspec.structs.replace(
        result.summary, missing={**result.summary.missing, **missing}, unrendered=_unasked(names, asked)
    )
    result = replace(result, summary=summary)
    return labelled({**files, **FORMATS.load(_CIRCUIT)(result)}, summary), result


def rendered_split(result: SplitResult, asked: Collection[str] | None = None) -> tuple[dict[str, bytes], SplitResult]:
    """Return the files of a split by name, of all formats or those asked for, and the split with its absent formats.

    Raises whatever the format `split` raises.
    """
    names = _others(SPLIT_FORMATS, _SPLIT)
    files, missing = _render(SPLIT_FORMATS, [name for name in names if asked is None or name in asked], result)
    split = msgspec.structs.replace(result.split, missing=missing, unrendered=_unasked(names, asked))
    result = replace(result, split=split)
    return {**files, **SPLIT_FORMATS.load(_SPLIT)(result)}, result


def rendered_comparison(
    result: ComparisonResult, asked: Collection[str] | None = None
) -> tuple[dict[str, bytes], ComparisonResult]:
    """Return the files of a comparison by name, of all formats or those asked for, and the comparison with its absent
    formats.

    Raises whatever the format `comparison` raises.
    """
    names = _others(COMPARISON_FORMATS, _COMPARISON)
    files, missing = _render(COMPARISON_FORMATS, [name for name in names if asked is None or name in asked], result)
    comparison = msgspec.structs.replace(result.comparison, missing=missing, unrendered=_unasked(names, asked))
    result = replace(result, comparison=comparison)
    labels = next((circuit.summary.labels for circuit in result.circuits if circuit.summary.labels), None)
    return labelled_comparison({**files, **COMPARISON_FORMATS.load(_COMPARISON)(result)}, comparison, labels), result


def rendered_edit(result: EditResult, asked: Collection[str] | None = None) -> tuple[dict[str, bytes], EditResult]:
    """Return the files of an edit by name, of all formats or those asked for, and the edit with its absent formats.

    Raises whatever the format `edit` raises.
    """
    names = _others(EDIT_FORMATS, _EDIT)
    files, missing = _render(EDIT_FORMATS, [name for name in names if asked is None or name in asked], result)
    result = msgspec.structs.replace(result, missing=missing, unrendered=_unasked(names, asked))
    return {**files, **EDIT_FORMATS.load(_EDIT)(result)}, result


def missing_formats(name: str, missing: Mapping[str, str], kept: str, circuit: str = "") -> list[Finding]:
    """Return a finding for each output format of `name` that failed; `kept` says what of it is there."""
    cure = f"run again: {kept}"
    return [
        Finding("E393", f"{name}: its {what} could not be made", None, why, cure, circuit)
        for what, why in missing.items()
    ]


def needs(formats: Collection[str], part: str) -> bool:
    """Return whether one of some output formats needs a part of a result: the module, the exemplars and
    contributions that the diagram shows, or other images, which are for pages."""
    if part == MODULE:
        return MODULE in formats
    return not set(formats) <= DRAWINGS or (part in ("exemplars", "contributions") and "diagram" in formats)


def due(formats: Collection[str], missing: Mapping[str, str], unrendered: Collection[str]) -> set[str]:
    """Return the formats, and the parts of a result that they need, which are asked for and absent."""
    failed = {name for name in missing if name in formats or needs(formats, name)}
    return failed | set(unrendered) & set(formats)


def _unasked(names: Iterable[str], asked: Collection[str] | None) -> list[str]:
    return [] if asked is None else sorted(set(names) - set(asked))


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
