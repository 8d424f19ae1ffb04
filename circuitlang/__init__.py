"""A language and compiler for feature-preserving circuits in CNNs.

`run` does what a spec says; `load` reads what a run left, and `compare` sets circuits side by side; `compile` stops at
the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from circuitlang.base.diagnostics import CircuitError, InputError, OutputError, SpecError
from circuitlang.base.source import Source

if TYPE_CHECKING:
    from circuitlang.api import LoadedCircuit, LoadedComparison, Run
    from circuitlang.plan.model import Plan

__version__ = "0.1.0"
__all__ = ["CircuitError", "InputError", "OutputError", "SpecError", "compare", "compile", "load", "run"]


def compile(text: str, folder: str | Path = ".") -> Plan:
    """The plan of a spec's text, its paths relative to `folder`. Raises SpecError with every mistake."""
    from circuitlang.pipeline import compile_source

    return compile_source(Source("<text>", text, Path(folder))).plan


def run(
    spec: str | Path,
    out: str | Path = "runs",
    allow_code: bool = False,
    visualise: bool = False,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    fast: bool = False,
    jobs: int = 1,
    only: Sequence[str] = (),
    shard: str = "1/1",
) -> Run:
    """Run a spec or plan file (a Path, or a string that names one), or a spec's text, and give back its circuits: a
    list of what `load` gives, of a split one for each part, which a notebook shows side by side.

    Finished circuits are read rather than done again; `allow_code` lets the Python file of a `model python(...)` run;
    `visualise` draws what excites every channel of a circuit, not the feature alone.
    `device` is cpu, cuda, cuda:N, mps or auto; `batch_size`, how many pictures it takes at a time, has no say in the
    result; `fast` scores in TF32, on a GPU with it, and reports how far scores are off. `jobs` is how many processes
    compute a circuit each (a script then calls this below `if __name__ == "__main__":`). `only` and `shard`, "i/N",
    choose circuits by id and by number. Warnings are in `notes` of what is given back. Raises CircuitError; one about
    circuits that failed comes when all others are done.
    """
    from circuitlang import pipeline
    from circuitlang.api import LoadedCircuit, Run
    from circuitlang.engine.runtime.jobs import Options
    from circuitlang.engine.runtime.runner import CircuitOutcome, WorkSelection

    is_file = isinstance(spec, Path) or (spec.endswith((".circuit", ".yaml")) and "\n" not in spec)
    source = pipeline.open_source(Path(spec)) if is_file else Source("<text>", str(spec))
    compiled = pipeline.compile_source(source)
    folder = Path(out) / pipeline.run_name(source)
    notes = [*compiled.warnings]
    options = Options(False, allow_code, visualise, device, batch_size, fast, note=notes.append)
    outcomes = pipeline.run_compiled(compiled, folder, options, work=WorkSelection(tuple(only), shard, jobs))
    found: dict[str, list[LoadedCircuit]] = {}
    for outcome in outcomes:
        if isinstance(outcome, CircuitOutcome):
            found.setdefault(outcome.result.summary.asked_as, []).append(LoadedCircuit(outcome.folder, outcome.result))
    circuits = (each for circuit in compiled.plan.circuits for each in found.get(circuit.id, ()))
    return Run(folder, circuits, notes)


def load(folder: str | Path) -> LoadedCircuit:
    """A finished circuit from its folder: its numbers, masks and graph, and, with torch, its module and the network
    with nothing but the circuit in it. Raises InputError."""
    from circuitlang import api

    return api.load(Path(folder))


def compare(*circuits: str | Path | LoadedCircuit) -> LoadedComparison:
    """Finished circuits of one network side by side, each as `load` gives it or by its folder, a run's for all of its
    circuits: what they share, against chance, and how alike their maps are. Raises InputError."""
    from circuitlang import api

    return api.compare([Path(each) if isinstance(each, str | Path) else each.folder for each in circuits])
