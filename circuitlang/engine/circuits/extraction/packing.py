"""Write an extracted module as a program of torch.export."""

from __future__ import annotations

import io

import msgspec
import torch
from torch import fx

from circuitlang.base.diagnostics import CircuitError, Finding
from circuitlang.engine.programs.pt2_reader import PREPROCESS
from circuitlang.plugins.preprocess import Preprocess


def pack(module: fx.GraphModule, shape: tuple[int, ...], preprocess: Preprocess | None = None) -> bytes:
    """Return a module as torch.export.save writes it, for any number of images of this shape (channels, height, width).

    The preprocessing of images goes with it as an extra file, which `pt2_reader` reads. The module is moved to the CPU,
    which every reader has.

    Raises CircuitError where torch.export can't write it.
    """
    module.cpu()
    example = next((parameter for parameter in module.parameters()), torch.zeros(()))
    images = torch.zeros(2, *shape, dtype=example.dtype)
    try:
        with torch.no_grad():
            program = torch.export.export(module.eval(), (images,), dynamic_shapes=({0: torch.export.Dim("images")},))
    except Exception as error:  # the exporter raises whatever an operation drives it to
        reason = str(error).strip().split("\n")[0]
        raise CircuitError(Finding("E351", "the circuit's module can't be exported", None, reason)) from None
    # The images it was traced with would be most of a small circuit's file.
    program.example_inputs = None
    for node in program.graph.nodes:
        # It names files of this machine.
        node.meta.pop("stack_trace", None)
    file = io.BytesIO()
    extra = {PREPROCESS: msgspec.json.encode(preprocess).decode()} if preprocess else {}
    torch.export.save(program, file, extra_files=extra)
    return file.getvalue()
