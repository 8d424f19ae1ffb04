"""The page about several runs, `index.html` in the folder that has them, made from the files of their results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.base.plain_files import read_beginning
from circuitlang.base.source import resolved
from circuitlang.reporting.html.runs_index import MARK, ListedRun, runs_index
from circuitlang.reporting.thumbnail import stored_thumbnail
from circuitlang.results.comparison_folders import comparisons
from circuitlang.results.packed.circuits import PackedCircuits
from circuitlang.results.packed.files import is_packed_run
from circuitlang.results.reader import circuits, plan_of, read_split, splits
from circuitlang.results.result_store import FolderStore, PackedStore, ResultStore
from circuitlang.results.run_folders import run_folders
from circuitlang.results.split import Split
from circuitlang.results.types import Summary
from circuitlang.results.writer import write_file

PAGE = "index.html"
# The part of a page that has its mark, in bytes.
_HEAD = 1024


def write_overview(folders: Sequence[Path], out: Path) -> Path:
    """Write the page about runs into a folder and return its path; without folders, about all runs in that folder.

    Results that can't be read are left out. Raises InputError if there is no run, or if the folder has a page of
    another kind.
    """
    folders = folders or [run.folder for run in run_folders(out)]
    runs = [_listed(folder, out) for folder in folders]
    if not runs:
        raise InputError(Finding("E312", f"no run is in {out}", None, "", "`circuitlang run` writes one"))
    page = out / PAGE
    if page.exists() and MARK.encode() not in _beginning(page):
        cure = "it would be replaced: --out takes a folder that has runs, or is empty"
        raise InputError(Finding("E312", f"{page} is not a page about several runs", None, "", cure))
    out.mkdir(parents=True, exist_ok=True)
    write_file(page, runs_index(resolved(out).name, runs))
    return page


def _listed(folder: Path, out: Path) -> ListedRun:
    """Return a run with the results in its folder. Raises InputError if the folder is not one of a run."""
    plan = plan_of(folder)
    if plan is None:
        cure = f"`circuitlang show {out}` lists runs"
        raise InputError(Finding("E312", f"{folder} is not the folder of a run", None, "it has no plan.yaml", cure))
    place = os.path.relpath(resolved(folder), resolved(out)).replace(os.sep, "/")
    finished: dict[str, Summary] = {}
    split: dict[str, Split] = {}
    store: ResultStore = FolderStore(folder)
    names = [path.name for path in circuits(folder)]
    if is_packed_run(folder):
        store, names = PackedStore(folder), list(PackedCircuits.read(folder).places)
    for name in names:
        with suppress(InputError):
            finished[name] = store.summary(name)
    for path in splits(folder):
        with suppress(InputError):
            split[path.name] = read_split(path)
    images = {name: image for name in finished if (image := stored_thumbnail(folder / name))}
    has_page = (folder / PAGE).is_file()
    return ListedRun(place, plan, finished, split, images, len(comparisons(folder)), has_page)


def _beginning(path: Path) -> bytes:
    with suppress(OSError):
        return read_beginning(path, _HEAD)
    return b""
