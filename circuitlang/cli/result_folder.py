"""Results by name, for the commands that take a name or a folder."""

from __future__ import annotations

import os
from pathlib import Path


def result_folder(name: str, out: Path) -> Path:
    """Return the folder of a result: `name` itself, or the one of that name in `out`.

    Raises InputError if there is none, or if there are several.
    """
    from circuitlang.base.diagnostics import Finding, InputError, did_you_mean, listing
    from circuitlang.results.run_folders import result_names, results_named

    # `Path.is_dir` raises if a name is too long.
    if os.path.isdir(name):  # noqa: PTH112
        return Path(name)
    places = results_named(name, out)
    if len(places) == 1:
        return places[0]
    if places:
        cure = f"name its folder: {listing([str(place) for place in places], 'or')}"
        raise InputError(Finding("E312", f"several results are named {name}", None, "", cure))
    cure = did_you_mean(name, result_names(out), f"`circuitlang show {out}` lists runs")
    raise InputError(Finding("E312", f"no result in {out} is named {name}", None, "", cure))
