"""Result → the contents of its files, format by format: one that fails takes nothing from the others."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import msgspec

from circuitlang.engine.result import Result
from circuitlang.errors import reason
from circuitlang.output.contracts import FORMATS

# The format without which there is no circuit, and which says what the others lack.
_CIRCUIT = "circuit"


def rendered(result: Result, only: Collection[str] = ()) -> tuple[dict[str, bytes], Result]:
    """The files of every registered format, or of some, by name, and the result with the formats that are missing.

    Raises whatever the circuit's own format raises.
    """
    files: dict[str, bytes] = {}
    missing = dict(result.summary.missing)
    for name in FORMATS.declarations:
        if name == _CIRCUIT or (only and name not in only):
            continue
        try:
            files.update(FORMATS.load(name)(result))
        except Exception as error:  # a format may come from anywhere and meet anything
            missing[name] = reason(error)
    result = replace(result, summary=msgspec.structs.replace(result.summary, missing=missing))
    return {**files, **FORMATS.load(_CIRCUIT)(result)}, result
