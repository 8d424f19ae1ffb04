"""Options of a run."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from circuitlang.plugins.progress import TrackProgress
from circuitlang.results.outputs import asked_formats
from circuitlang.results.run_listener import SILENT, RunListener, tracker
from circuitlang.results.visualised_channels import channel_budget

if TYPE_CHECKING:
    from circuitlang.engine.runtime.memory import MemoryObjects


@dataclass(frozen=True)
class Options:
    """Options of a run. Only `fast` changes its numbers.

    Attributes:
        skip_unreadable: Skip broken images; otherwise they stop the run.
        allow_code: Run the Python file that a model statement names.
        visualise: Channels to visualise beside the feature: a number, "all" (or True), or "none", with no feature; None
            for as many as a budget allows, False for the feature alone.
        device: cpu, cuda, cuda:N, mps or auto.
        batch_size: Images per batch; None for as many as suit the device.
        fast: Score in TF32.
        render: Output formats, a `Rendering`; by default CIRCUITLANG_RENDER, or all.
        listener: Receiver of the run's events.
        force: Compute circuits again that are finished.
        packed: Keep circuits as rows of `circuits.parquet` instead of folders.
        shared: Compute only what other processes with the same run and folder do not.
    """

    skip_unreadable: bool = False
    allow_code: bool = False
    visualise: bool | int | str | None = None
    device: str = "auto"
    batch_size: int | None = None
    fast: bool = False
    render: str = field(default_factory=lambda: os.environ.get("CIRCUITLANG_RENDER", "all"))
    listener: RunListener = SILENT
    force: bool = False
    packed: bool = False
    shared: bool = False
    # The module and the images that a Python program gave.
    memory: MemoryObjects | None = None

    @property
    def track(self) -> TrackProgress:
        """A function that passes items on and tells the listener of each."""
        return tracker(self.listener)

    def __post_init__(self) -> None:
        # A word from Python or from the environment is checked before anything is computed. Raises InputError.
        asked_formats(self.render)
        channel_budget(self.visualise)
