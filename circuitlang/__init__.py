"""A language and compiler for feature-preserving circuits in CNNs.

`compile` returns the plan of a spec and `run` its circuits. `load` reads a finished circuit, and `compare` measures
what several have in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from circuitlang.base.diagnostics import CircuitError, InputError, OutputError, SpecError
from circuitlang.base.source import Source

if TYPE_CHECKING:
    from circuitlang.api import LoadedCircuit, LoadedComparison, Run
    from circuitlang.plan.model import Plan
    from circuitlang.results.outputs import Rendering

__version__ = "0.1.0"
__all__ = ["CircuitError", "InputError", "OutputError", "SpecError", "compare", "compile", "load", "run"]


def compile(text: str, folder: str | Path = ".") -> Plan:
    """Return the plan of a spec's text.

    Args:
        text: The spec.
        folder: Folder that the spec's paths are relative to.

    Raises:
        SpecError: With all mistakes in the text.

    Example:
        >>> plan = circuitlang.compile("preserve conv5:34 on images/dogs/* sparsity<=0.1")
        >>> plan.circuits[0].id
        'conv5_34-greedy-0.1'
    """
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
    render: Rendering | None = None,
    jobs: int = 1,
    only: Sequence[str] = (),
    shard: str = "1/1",
) -> Run:
    """Run a spec or plan and return its circuits, a split's one for each part. Finished circuits are skipped.

    Args:
        spec: A spec or plan file (a Path, or a string that ends in .circuit or .yaml), or the text of a spec.
        out: Folder for the results.
        allow_code: Run the Python file of a `model python(...)`.
        visualise: Visualise every channel of a circuit, not only the feature.
        device: cpu, cuda, cuda:N, mps or auto.
        batch_size: Images per batch, by default chosen for the device. Results don't depend on it.
        fast: Score in TF32 on a GPU, and report the difference to single precision.
        render: Output formats: numbers alone ("none"), also the module, the diagram and texts ("diagram"), or every one
            ("all"). By default CIRCUITLANG_RENDER if that is set, else all.
        jobs: Number of processes. A script must then call this below `if __name__ == "__main__":`.
        only: Ids of circuits; others are not computed.
        shard: Share of the circuits, "i/N" for every N-th starting with the i-th.

    Returns:
        A list of circuits as `load` returns them, which a notebook shows side by side; warnings are in its `notes`.

    Raises:
        CircuitError: At once if the spec can't be run; about circuits that failed, after all others.

    Example:
        >>> (circuit,) = circuitlang.run("preserve conv5:34 on images/dogs/* sparsity<=0.1")
        >>> round(circuit.metrics["train.pearson"], 2)
        1.0
    """
    from circuitlang import pipeline
    from circuitlang.api import LoadedCircuit, Run
    from circuitlang.compiler.sources import open_source
    from circuitlang.engine.runtime.jobs import Options
    from circuitlang.engine.runtime.runner import CircuitOutcome, WorkSelection

    is_file = isinstance(spec, Path) or (spec.endswith((".circuit", ".yaml")) and "\n" not in spec)
    source = open_source(Path(spec)) if is_file else Source("<text>", str(spec))
    compiled = pipeline.compile_source(source)
    folder = Path(out) / pipeline.run_name(source)
    notes = [*compiled.warnings]
    options = Options(False, allow_code, visualise, device, batch_size, fast, note=notes.append)
    if render is not None:
        options = replace(options, render=render)
    outcomes = pipeline.run_compiled(compiled, folder, options, work=WorkSelection(tuple(only), shard, jobs))
    # Several processes finish circuits in any order.
    circuits: dict[str, list[LoadedCircuit]] = {circuit.id: [] for circuit in compiled.plan.circuits}
    for outcome in outcomes:
        if isinstance(outcome, CircuitOutcome):
            circuits[outcome.result.summary.asked_as].append(LoadedCircuit(outcome.folder, outcome.result))
    return Run(folder, (circuit for parts in circuits.values() for circuit in parts), notes)


def load(folder: str | Path) -> LoadedCircuit:
    """Read a finished circuit from its folder.

    Its measurements, masks and graph need no torch; its module and the network with the circuit do.

    Raises:
        InputError: If the folder has no circuit, or a damaged one.

    Example:
        >>> circuit = circuitlang.load("runs/dogs/sketch")
        >>> int(circuit.masks["conv5"].sum())
        12
    """
    from circuitlang import api

    return api.load(Path(folder))


def compare(*circuits: str | Path | LoadedCircuit) -> LoadedComparison:
    """Compare finished circuits of one network: their overlap, against chance, and the agreement of their responses.

    Args:
        circuits: Circuits as `load` returns them, or folders of circuits; the folder of a run stands for all of its.

    Raises:
        InputError: If a circuit can't be read, or is of another network.

    Example:
        >>> comparison = circuitlang.compare("runs/dogs/sketch", "runs/dogs/conv5_34-snip-0.1")
        >>> round(float(comparison.iou[0, 1]), 2)
        0.2
    """
    from circuitlang import api

    return api.compare([Path(each) if isinstance(each, str | Path) else each.folder for each in circuits])
