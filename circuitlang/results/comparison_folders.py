"""Folders of comparisons: their names, and reading them back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from circuitlang.base.diagnostics import InputError
from circuitlang.base.source import resolved
from circuitlang.plan.model import Plan, digest
from circuitlang.results.comparison import FILE, Comparison
from circuitlang.results.manifest import damage
from circuitlang.results.reader import planned_folders, read_json, read_summary
from circuitlang.results.types import Summary
from circuitlang.results.validation import sound_comparison

_LONGEST = 80  # letters of a folder's name


def read_comparison(folder: Path) -> Comparison:
    """A comparison from its folder. Raises InputError where it isn't there or isn't one."""
    return read_json(folder, FILE, Comparison, sound_comparison)


def identity(names: Sequence[str], summaries: Sequence[Summary]) -> str:
    """Return a hash of what a comparison follows from."""
    version = [summary.provenance.versions.get("circuitlang", "") for summary in summaries]
    parts = zip(names, (summary.provenance.identity for summary in summaries), version, strict=True)
    return digest("\n".join("\t".join(part) for part in parts).encode())


def stored_comparison(folders: Sequence[Path]) -> Comparison | None:
    """Return the comparison of finished circuits that their run has made, if all are of one run.

    Parts of splits are left to be compared again: a run compares them on the images of all parts. Raises InputError if
    a circuit can't be read.
    """
    places = [resolved(folder) for folder in folders]
    summaries = [read_summary(place) for place in places]
    if len({place.parent for place in places}) > 1 or any(summary.part for summary in summaries):
        return None
    wanted = identity([place.name for place in places], summaries)
    for folder in comparisons(places[0].parent):
        with suppress(InputError):
            comparison = read_comparison(folder)
            if comparison.identity == wanted and not damage(folder):
                # Its files stay where they are.
                return msgspec.structs.replace(comparison, missing={}, unrendered=[])
    return None


def comparisons(folder: Path) -> list[Path]:
    """The folders of comparisons: `folder` itself, or those in it, by name."""

    def names(plan: Plan) -> list[str]:
        return folder_names(plan.comparisons, [circuit.id for circuit in plan.circuits])

    return planned_folders(folder, FILE, names)


def folder_names(comparisons: Sequence[Sequence[str]], taken: Sequence[str]) -> list[str]:
    """A folder for each comparison, by the ids of its circuits; no two are the same, and none is a circuit's."""
    names: list[str] = []
    for ids in comparisons:
        name = "-".join(("compare", *ids))
        if len(name) > _LONGEST:
            name = f"compare-{ids[0][:40]}-and-{len(ids) - 1}-more-{digest(chr(10).join(ids).encode())[:6]}"
        while name in (*names, *taken):
            name += "'"
        names.append(name)
    return names
