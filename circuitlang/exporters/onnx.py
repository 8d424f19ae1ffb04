import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from circuitlang.base.diagnostics import CircuitError, Finding, InputError
from circuitlang.engine.programs.aten_import import network
from circuitlang.engine.programs.pt2_reader import read_program
from circuitlang.results.outputs import export
from circuitlang.results.reader import unchanged

if TYPE_CHECKING:
    from circuitlang.results.finished_circuit import FinishedCircuit

# Whole maps may differ by this much of their largest value: another runtime adds up in another order.
_TOLERANCE = 1e-4


@export
def onnx(circuit: "FinishedCircuit") -> bytes:
    """The circuit's module, for any runtime of ONNX: `images` [N, C, H, W] → `maps` [N, maps, H, W].

    What it computes is compared with the module before it is written. How images are prepared is in its metadata,
    as `preprocess`. It needs `pip install 'circuitlang[onnx]'`.
    """
    if find_spec("onnx") is None or find_spec("onnxscript") is None:
        cure = "pip install 'circuitlang[onnx]'"
        raise InputError(Finding("E361", "what writes ONNX is not installed", None, "", cure))
    unchanged(circuit.folder, "module.pt2")
    read = read_program(circuit.folder / "module.pt2")
    module = network(read).eval()
    shape = [int(size) for size in read.sizes[read.image][1:]]
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    try:
        with _quiet():
            program: Any = torch.onnx.export(
                module,
                (images,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("N")},),
                input_names=["images"],
                output_names=["maps"],
            )
    except Exception as error:  # the exporter raises whatever an operation drives it to
        reason = str(error).strip().split("\n")[0]
        raise CircuitError(Finding("E351", "the circuit's module can't be written as ONNX", None, reason)) from None
    program.model.metadata_props["preprocess"] = read.preprocess.decode()
    model = program.model_proto
    _verify(module, model, images[:1])
    content: bytes = model.SerializeToString()
    return content


def _verify(module: nn.Module, model: Any, images: Tensor) -> None:
    """Raises CircuitError where ONNX's own reference computes something else."""
    evaluator: Any = importlib.import_module("onnx.reference").ReferenceEvaluator(model)
    with torch.no_grad():
        expected = module(images)
    outputs = torch.from_numpy(evaluator.run(None, {"images": images.numpy()})[0])
    difference = float((outputs - expected).abs().max()) / max(float(expected.abs().max()), 1e-30)
    if outputs.shape != expected.shape or not difference <= _TOLERANCE:
        message = f"what was written as ONNX differs from the circuit's module by {difference:.1e}"
        raise CircuitError(Finding("E350", message, None, "", "report the network and the spec as a bug"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's progress within the block; failures are exceptions."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
