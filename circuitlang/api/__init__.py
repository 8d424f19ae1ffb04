"""Finished results as Python objects: circuits, runs and comparisons, which show themselves in a notebook.

- `circuits`: one finished circuit.
- `runs`: the circuits of a run.
- `edits`: an edit of a network.
- `comparisons`: what circuits have in common.
- `packed_runs`: the circuits of a packed run.
- `running`: a spec, or one circuit, run with objects of the program.
- `notebook`: the cell magic `%%circuit`.
- `tables`: results as pandas data frames.
- `plots`: results as matplotlib axes.
- `frames`: pages in a notebook.
"""

from __future__ import annotations

from circuitlang.api.circuits import Channel, LoadedCircuit, load
from circuitlang.api.comparisons import LoadedComparison, compare
from circuitlang.api.edits import LoadedEdit
from circuitlang.api.loading import load_either
from circuitlang.api.packed_runs import PackedRun
from circuitlang.api.running import ObjectArguments, edit, preserve, run_edit, run_one, run_source, source_of
from circuitlang.api.runs import Run

__all__ = [
    "Channel",
    "LoadedCircuit",
    "LoadedComparison",
    "LoadedEdit",
    "ObjectArguments",
    "PackedRun",
    "Run",
    "compare",
    "edit",
    "load",
    "load_either",
    "preserve",
    "run_edit",
    "run_one",
    "run_source",
    "source_of",
]
