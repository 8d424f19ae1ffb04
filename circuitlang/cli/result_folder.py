"""Results by name, for the commands that take a name or a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from circuitlang.engine.runtime.options import Options


def result_folder(name: str, out: Path, circuit: str | None = None) -> Path:
    """Return the folder of a result: `name` itself, or the one of that name in `out`; or that of a circuit in it, by
    its name or its target. The circuit of a packed run may have no folder yet.

    Raises InputError if there is none, or if there are several.
    """
    from circuitlang.results.run_folders import circuit_named

    folder = _named(name, out)
    return folder if circuit is None else circuit_named(folder, circuit)


def made_folder(place: Path, options: Options | None = None) -> Path:
    """Return the folder of a result, which is made first if it is that of a packed circuit. Raises CircuitError."""
    from circuitlang.results.run_folders import is_packed_circuit

    if not is_packed_circuit(place):
        return place
    from circuitlang import pipeline

    return pipeline.unpack(place.parent, [place.name], options)[0]


def _named(name: str, out: Path) -> Path:
    from circuitlang.base.diagnostics import Finding, InputError, did_you_mean, listing
    from circuitlang.results.run_folders import is_packed_circuit, result_names, results_named

    # `Path.is_dir` raises if a name is too long.
    if os.path.isdir(name):  # noqa: PTH112
        return Path(name)
    if "/" in name and "\0" not in name and is_packed_circuit(Path(name)):
        return Path(name)
    places = results_named(name, out)
    if len(places) == 1:
        return places[0]
    if places:
        cure = f"name its folder: {listing([str(place) for place in places], 'or')}"
        raise InputError(Finding("E312", f"several results are named {name}", None, "", cure))
    cure = did_you_mean(name, result_names(out), f"`circuitlang show {out}` lists runs")
    raise InputError(Finding("E312", f"no result in {out} is named {name}", None, "", cure))
