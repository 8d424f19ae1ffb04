"""A language and compiler for feature-preserving circuits in CNNs.

`compile` returns the plan of a spec and `run` its circuits; `preserve` finds one circuit of a module, and `edit` says
what becomes of it without a part. `load` reads a finished circuit, and `compare` measures what several have in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from circuitlang.base.diagnostics import CircuitError, InputError, OutputError, SpecError
from circuitlang.base.source import Source

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell
    from torch import nn

    from circuitlang.api import LoadedCircuit, LoadedComparison, LoadedEdit, Run
    from circuitlang.base.diagnostics import Finding
    from circuitlang.engine.runtime.options import Options
    from circuitlang.engine.runtime.work_selection import WorkSelection
    from circuitlang.plan.model import Plan
    from circuitlang.results.outputs import Rendering
    from circuitlang.results.run_listener import RunListener

__version__ = "0.1.0"
__all__ = [
    "CircuitError",
    "InputError",
    "OutputError",
    "SpecError",
    "compare",
    "compile",
    "edit",
    "load",
    "preserve",
    "run",
]


def compile(text: str, folder: str | Path = ".") -> Plan:
    """Return the plan of a spec's text.

    Args:
        text: The spec.
        folder: Folder that the spec's paths are relative to.

    Raises:
        SpecError: With all mistakes in the text.

    Examples:
        >>> plan = circuitlang.compile("preserve conv5:34 on images/dogs/* keep<=10%")
        >>> plan.circuits[0].id
        'conv5_34-annealed-0.1'
    """
    from circuitlang.pipeline import compile_source

    return compile_source(Source("<text>", text, Path(folder))).plan


def run(
    spec: str | Path,
    out: str | Path = "runs",
    allow_code: bool = False,
    visualise: bool | int | Literal["none", "all"] | None = None,
    *,
    model: nn.Module | None = None,
    images: Mapping[str, object] | None = None,
    preprocess: object = None,
    device: str = "auto",
    batch_size: int | None = None,
    fast: bool = False,
    render: Rendering | None = None,
    jobs: int = 1,
    only: Sequence[str] = (),
    shard: str = "1/1",
    packed: bool = False,
    progress: bool | RunListener = False,
) -> Run:
    """Run a spec or plan and return its circuits, a split's one for each part. Finished circuits are skipped.

    Args:
        spec: A spec or plan file (a Path, or a string that ends in .circuit or .yaml), or the text of a spec.
        out: Folder for the results.
        allow_code: Run the Python file of a `model python(...)`.
        visualise: "all" (True), "none" or a number of channels, 0 (False) for the feature alone; by default a few.
        model: A module in place of the model that a spec names. It is left as it is.
        images: Image sets by the names that the spec has for them: float tensors or arrays [N, C, H, W], which are
            network inputs; lists of PIL images or paths; data sets or loaders of any of these, with or without labels.
        preprocess: The preparation of each PIL image or file: a dict of `resize`, `crop`, `mean` and `std`, transforms
            of torchvision, or any function to a network input [C, H, W]. By default the model's, or ImageNet's.
        device: cpu, cuda, cuda:N, mps or auto.
        batch_size: Images per batch, by default chosen for the device. Results don't depend on it.
        fast: Score in TF32 on a GPU, and report the difference to single precision.
        render: Output formats: "none" (numbers alone), "diagram" (no pages) or "all"; by default CIRCUITLANG_RENDER.
        jobs: Number of processes, 1 with `model` or `images`. Scripts then need `if __name__ == "__main__":`.
        only: Ids of circuits; others are not computed.
        shard: Share of the circuits, "i/N" for every N-th starting with the i-th.
        packed: Keep circuits as rows of `circuits.parquet` instead of folders, for runs of thousands.
        progress: Show a line of progress, in a notebook or on standard error. Or a listener for the run's events.

    Returns:
        The circuits in a list, as `load` returns them; `run["face"]` is one by its name, `notes` are the warnings.

    Raises:
        CircuitError: At once if the spec can't be run; about circuits that failed, after all others.

    Examples:
        >>> (circuit,) = circuitlang.run("preserve conv5:34 on images/dogs/* keep<=10%")
        >>> round(circuit.metrics["train.pearson"], 2)
        1.0
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
        >>> circuitlang.run('preserve "2":1 on noise kernels<=6', model=net, images={"noise": torch.rand(8, 3, 32, 32)})
        <run of 1 circuit: 2_1-annealed-6kernels, runs/inline>
    """
    from circuitlang import api

    options = replace(_options(allow_code, visualise, device, batch_size, fast, render), packed=packed)
    objects = api.ObjectArguments(model, images, preprocess)
    return api.run_source(api.source_of(spec), Path(out), options, _selection(only, shard, jobs), objects, progress)


def preserve(
    model: nn.Module | None,
    target: str,
    *,
    on: object,
    sparsity: float | None = None,
    kernels: int | None = None,
    preprocess: object = None,
    name: str = "",
    out: str | Path = "runs",
    device: str = "auto",
    batch_size: int | None = None,
    render: Rendering | None = None,
    **clauses: object,
) -> LoadedCircuit:
    """Find the circuit of one target in a module and return it.

    Args:
        model: A module, which is left as it is; None for the bundled network.
        target: A target as in the language: `layer3.1.conv1:10`, `layer4:joint(3, 7)`, `class(5)`.
        on: Images: a tensor, list, data set or loader as `images` of `run` takes them, or a pattern of files.
        sparsity: Largest fraction of the relevant kernels that is kept.
        kernels: Largest number of kernels that are kept.
        preprocess: The preparation of images; see `run`.
        name: Name of the circuit and its folder, by default made of its values.
        out: Folder for the results.
        device: cpu, cuda, cuda:N, mps or auto.
        batch_size: Images per batch, by default chosen for the device.
        render: Output formats, as `run` takes them.
        clauses: Other clauses of the language by their names, as `criterion="force(steps=5)"`, `correlation=0.9`,
            `seed=1`; `test` and `contrast` are images as `on` takes them.

    Raises:
        CircuitError: If the words, the module or the images can't be used.

    Examples:
        >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
        >>> noise = torch.rand(8, 3, 32, 32)
        >>> circuitlang.preserve(network, "2:1", on=noise, kernels=6, criterion="snip", name="second")
        <circuit 2:1: 6 of 32 kernels, runs/second/second>
    """
    from circuitlang import api

    options = _options(False, False, device, batch_size, False, render)
    objects = api.ObjectArguments(model, None, preprocess)
    clauses = {"sparsity": sparsity, "kernels": kernels, **clauses}
    source, objects = api.preserve(target, objects, on, clauses, name)
    return api.run_one(source, Path(out), options, _selection((), "1/1", 1), objects)


def edit(
    model: nn.Module | None,
    part: str,
    *,
    on: object,
    measure: Sequence[str],
    scale: float | None = None,
    patch: object = None,
    preprocess: object = None,
    name: str = "edit",
    out: str | Path = "runs",
    device: str = "auto",
    batch_size: int | None = None,
    render: Rendering | None = None,
) -> LoadedEdit:
    """Scale or patch a part of a network, and return what becomes of targets and of the classes.

    Args:
        model: A module, which is left as it is; None for the bundled network.
        part: Channels or a kernel as in the language: `layer3.1.conv1:10`, `conv4:[3, 8]`, `conv5:34 <- conv4:45`.
        on: Images: a tensor, list, data set or loader as `images` of `run` takes them, or a pattern of files.
        measure: Targets as in the language, and `classes` for the table of classes.
        scale: The factor of the part; 0 removes it.
        patch: Images that the part is taken from instead, as `on` takes them.
        preprocess: The preparation of images; see `run`.
        name: Name of the edit and its folder.
        out: Folder for the results.
        device: cpu, cuda, cuda:N, mps or auto.
        batch_size: Images per batch, by default chosen for the device.
        render: Output formats, as `run` takes them.

    Raises:
        CircuitError: If the words, the module or the images can't be used.

    Examples:
        >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
        >>> edit = circuitlang.edit(network, "2:1 <- 0:5", scale=0, on=torch.rand(8, 3, 32, 32), measure=["2:1", "2:3"])
        >>> edit["2:1"].change != 0, edit["2:3"].change
        (True, 0.0)
    """
    from circuitlang import api

    options = _options(False, False, device, batch_size, False, render)
    objects = api.ObjectArguments(model, None, preprocess)
    source, objects = api.edit(part, objects, on, measure, scale, patch, name)
    return api.run_edit(source, Path(out), options, _selection((), "1/1", 1), objects)


def _options(
    allow_code: bool,
    visualise: bool | int | str | None,
    device: str,
    batch_size: int | None,
    fast: bool,
    render: Rendering | None,
) -> Options:
    from circuitlang.engine.runtime.options import Options

    options = Options(False, allow_code, visualise, device, batch_size, fast)
    return options if render is None else replace(options, render=render)


def _selection(only: Sequence[str], shard: str, jobs: int) -> WorkSelection:
    from circuitlang.engine.runtime.work_selection import WorkSelection
    from circuitlang.plugins.placements import Placement

    return WorkSelection(tuple(only), shard, Placement(workers=jobs))


def load(folder: str | Path) -> LoadedCircuit | Run:
    """Read a finished circuit from its folder, or all of a run from the folder of that.

    Measurements, masks and graph of a circuit need no torch; its module and the network with the circuit do. The
    circuits of a packed run are made when they are asked for.

    Raises:
        InputError: If the folder has no circuit, or a damaged one.

    Examples:
        >>> circuit = circuitlang.load("runs/dogs/sketch")
        >>> int(circuit.masks["conv5"].sum())
        12
        >>> circuitlang.load("runs/dogs")["sketch"]
        <circuit conv5:34: 135 of 6,768 kernels, runs/dogs/sketch>
    """
    from circuitlang import api

    return api.load_either(Path(folder))


def compare(*circuits: str | Path | LoadedCircuit) -> LoadedComparison:
    """Compare finished circuits of one network: their overlap, against chance, and the agreement of their responses.

    Args:
        circuits: Circuits as `load` returns them, or folders of circuits; the folder of a run stands for all of its.

    Raises:
        InputError: If a circuit can't be read, or is of another network.

    Examples:
        >>> comparison = circuitlang.compare("runs/dogs/sketch", "runs/dogs/conv5_34-annealed-0.05")
        >>> round(float(comparison.iou[0, 1]), 2)
        0.4
    """
    from circuitlang import api

    return api.compare([Path(circuit) if isinstance(circuit, str | Path) else circuit.folder for circuit in circuits])


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Add the cell magic `%%circuit` to IPython, which calls this for `%load_ext circuitlang`."""
    from circuitlang.api.notebook import register

    register(shell)


def _notebook_lines(findings: Sequence[Finding]) -> list[str]:
    """Return findings as lines of plain text, with the words that they are about."""
    import io

    from rich.console import Console

    from circuitlang.reporting.diagnostics import render

    text = io.StringIO()
    Console(file=text, width=120, highlight=False, color_system=None).print(render(findings), soft_wrap=True)
    return text.getvalue().rstrip().split("\n")


CircuitError.notebook_lines = staticmethod(_notebook_lines)
