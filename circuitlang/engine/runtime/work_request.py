"""A run as it was asked for: a plan, what its paths are relative to, where its values came from, and the options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuitlang.engine.runtime.known_job import KnownJob
from circuitlang.engine.runtime.options import Options
from circuitlang.plan.model import Origins, Plan
from circuitlang.results.outputs import MODULE, NUMBERS, asked_formats
from circuitlang.results.result_store import ResultStore, open_store
from circuitlang.results.visualised_channels import NOTHING, channel_budget


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

    def formats(self, job: KnownJob[Any]) -> frozenset[str]:
        """Return the output formats that a job's folder is to have. A comparison runs the modules of its circuits."""
        if self.options.packed:
            return NUMBERS
        asked = asked_formats(self.options.render)
        name = job.part.of if job.part else job.plan.id
        compared = any(name in circuits for circuits in self.plan.comparisons)
        return asked | {MODULE} if compared else asked

    def visualises(self, job: KnownJob[Any]) -> int:
        """Return the number of channels to visualise on the page of a circuit, or the one that stands for a word."""
        return channel_budget(self.options.visualise) if "diagram_html" in self.formats(job) else NOTHING
