"""The atlas of a run: its circuits, packed or in folders, as a static site."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.base.source import resolved
from circuitlang.compiler.sources import open_source
from circuitlang.plugins.progress import TrackProgress, no_progress

if TYPE_CHECKING:
    from circuitlang.plan.compiled import CompiledPlan
    from circuitlang.reporting.atlas.entries import AtlasEntry

_READING = "reading circuits"


@dataclass(frozen=True)
class WrittenAtlas:
    """An atlas in its folder.

    Attributes:
        circuits: Number of its circuits.
        size: Bytes of its files.
        findings: About circuits that can't be read, which it lacks.
    """

    folder: Path
    circuits: int
    size: int
    findings: tuple[Finding, ...]

    @property
    def page(self) -> Path:
        """The first page."""
        return self.folder / "index.html"


def write_atlas(
    run: Path, out: Path | None = None, allow_code: bool = False, track: TrackProgress = no_progress
) -> WrittenAtlas:
    """Write the atlas of a run into a folder, by default `atlas` in that of the run.

    The model of a packed run is loaded, as its rows have no weights. Raises CircuitError.
    """
    from circuitlang.pipeline import compile_source
    from circuitlang.reporting.atlas.site import Atlas
    from circuitlang.reporting.atlas.site_files import write_site
    from circuitlang.results.packed.files import is_packed_run
    from circuitlang.results.reader import plan_of

    if plan_of(run) is None:
        cure = "give the folder of a run, as `circuitlang show` lists them"
        raise InputError(Finding("E312", f"{run} holds no run", None, "plan.yaml is missing or damaged", cure))
    compiled = compile_source(open_source(run / "plan.yaml"))
    findings: list[Finding] = []
    if is_packed_run(run):
        read = _packed(run, compiled, findings, allow_code, track)
    else:
        read = _in_folders(run, findings, track)
    entries = list(read)
    if not entries:
        raise InputError(findings or Finding("E312", f"{run} has no finished circuit", None, "", "run its spec"))
    folder = out or run / "atlas"
    name, plan = resolved(run).name, compiled.plan
    site = Atlas(name, str(plan.model), entries, plan.labels, os.path.relpath(run, folder).replace(os.sep, "/"))
    return WrittenAtlas(folder, len(entries), write_site(folder, site.files(track)), tuple(findings))


def _packed(
    run: Path, compiled: CompiledPlan, findings: list[Finding], allow_code: bool, track: TrackProgress
) -> Iterator[AtlasEntry]:
    """Yield the circuits of a packed run."""
    from circuitlang.engine.runtime.network_wiring import network_wiring
    from circuitlang.reporting.atlas.entries import entry, writes_paths
    from circuitlang.results.packed.circuits import PackedCircuits
    from circuitlang.results.packed.wiring import wired

    network = network_wiring(compiled.plan, compiled.folder, allow_code)
    there = PackedCircuits.read(run)
    findings += [Finding("E312", f"{run} is damaged", None, problem, "run its spec again") for problem in there.damaged]
    planned, paths = {circuit.id for circuit in compiled.plan.circuits} & there.places.keys(), None
    for packed in track(there.circuits(planned), _READING, len(planned)):
        summary = msgspec.structs.replace(packed.summary, labels=compiled.plan.labels)
        folder = run / summary.plan.id
        page = next((name for name in ("report.html", "diagram.html") if (folder / name).is_file()), "")
        paths = writes_paths(summary) if paths is None else paths
        yield entry(summary, wired(packed, network), packed.crops, f"{folder.name}/{page}" if page else "", paths)


def _in_folders(run: Path, findings: list[Finding], track: TrackProgress) -> Iterator[AtlasEntry]:
    """Yield the circuits that a run has in folders; of a damaged one there is a finding."""
    from circuitlang.reporting.atlas.entries import entry, writes_paths
    from circuitlang.reporting.thumbnail import stored_thumbnail
    from circuitlang.results.reader import circuits, read

    paths = None
    folders = list(circuits(run))
    for folder in track(iter(folders), _READING, len(folders)):
        try:
            result = read(folder)
        except InputError as error:
            findings += error.findings
            continue
        page = next((name for name in ("report.html", "diagram.html") if (folder / name).is_file()), "")
        paths = writes_paths(result.summary) if paths is None else paths
        place = f"{folder.name}/{page}" if page else ""
        yield entry(result.summary, result.circuit, stored_thumbnail(folder), place, paths)
