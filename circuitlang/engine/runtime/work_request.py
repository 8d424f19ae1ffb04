"""A run as it was asked for: a plan, what its paths are relative to, where its values came from, and the options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from circuitlang.engine.runtime.options import Options
from circuitlang.plan.model import Circuit, Origins, Plan
from circuitlang.results.outputs import MODULE, NUMBERS, asked_formats
from circuitlang.results.result_store import ResultStore, open_store
from circuitlang.results.types import Part, Provenance
from circuitlang.results.visualised_channels import NOTHING, channel_budget


class RequestedJob(Protocol):
    """A circuit or split of a plan, or a part of a split, whose provenance is known."""

    @property
    def plan(self) -> Circuit: ...
    @property
    def provenance(self) -> Provenance: ...
    @property
    def part(self) -> Part | None: ...


@dataclass(frozen=True)
class WorkRequest:
    """A run as it was asked for."""

    plan: Plan
    folder: Path
    origins: Origins
    options: Options

    def store(self, folder: Path) -> ResultStore:
        """Return where the circuits of the run are kept, in its folder."""
        return open_store(folder, self.options.packed, self.plan.labels)

    def formats(self, job: RequestedJob) -> frozenset[str]:
        """Return the output formats that a job's folder is to have. A comparison runs the modules of its circuits."""
        if self.options.packed:
            return NUMBERS
        asked = asked_formats(self.options.render)
        name = job.part.of if job.part else job.plan.id
        compared = any(name in circuits for circuits in self.plan.comparisons)
        return asked | {MODULE} if compared else asked

    def visualises(self, job: RequestedJob) -> int:
        """Return the number of channels to visualise on the page of a circuit, or the one that stands for a word."""
        return channel_budget(self.options.visualise) if "diagram_html" in self.formats(job) else NOTHING
