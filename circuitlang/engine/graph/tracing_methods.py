"""Methods of tracing a network, by torch.fx or torch.export."""

from __future__ import annotations

import io
from collections.abc import Callable

import torch
from torch import fx, nn

from circuitlang.engine.graph.block_outputs import REFUSED
from circuitlang.engine.graph.symbolic_tracers import ImageCall, ParameterTracer, ShapeTracer, SymbolicTracer
from circuitlang.engine.models.sandbox import HOOKS, hooked
from circuitlang.engine.programs.aten_import import network
from circuitlang.engine.programs.interpreted import Interpreted
from circuitlang.engine.programs.pt2_reader import read_exported

# A private copy of a network, the network itself and images → its operations.
TracingMethod = Callable[[nn.Module, nn.Module, torch.Tensor], fx.GraphModule]


def tracing_methods(model: nn.Module) -> list[tuple[str, TracingMethod]]:
    """Return the methods for a network, the fastest first, each with what an error says before its reason.

    For a network with hooks, one of them leaves the hooks out: they may only look at what goes through.
    """
    methods: list[tuple[str, TracingMethod]] = [("", _symbolic), ("traced parameters: ", _with_parameters)]
    methods += [("torch.export: ", _exported), ("traced shapes: ", _with_shapes)]
    if any(map(hooked, model.modules())):
        methods.insert(1, ("without its hooks: ", _without_hooks))
    return methods


def _symbolic(private: nn.Module, model: nn.Module, _images: torch.Tensor) -> fx.GraphModule:
    """Trace by torch.fx."""
    return _interpreted(private, SymbolicTracer(private, model))


def _with_parameters(private: nn.Module, model: nn.Module, _images: torch.Tensor) -> fx.GraphModule:
    """Trace by torch.fx, operations on parameters too: a token may be repeated for each image."""
    return _interpreted(private, ParameterTracer(private, model))


def _with_shapes(private: nn.Module, model: nn.Module, images: torch.Tensor) -> fx.GraphModule:
    """Trace by torch.fx what the network does for images of these shapes, for any number of them."""
    return _interpreted(private, ShapeTracer(private, model, images))


def _interpreted(private: nn.Module, tracer: SymbolicTracer) -> fx.GraphModule:
    graph = tracer.trace(ImageCall(private))
    _remove_hooks(private)
    module = Interpreted(private, graph)
    module.meta[REFUSED] = tracer.refused
    return module


def _exported(private: nn.Module, _model: nn.Module, images: torch.Tensor) -> fx.GraphModule:
    """Export to a program and import it over the private network's own tensors, for any number of images."""
    program = torch.export.export(private, (images,))
    file = io.BytesIO()
    torch.export.save(program, file)
    own = {**dict(private.named_parameters()), **dict(private.named_buffers())}
    return network(read_exported(file, {name: tensor.detach() for name, tensor in own.items()}))


def _without_hooks(private: nn.Module, model: nn.Module, images: torch.Tensor) -> fx.GraphModule:
    """Trace by torch.fx without hooks."""
    _remove_hooks(private)
    return _symbolic(private, model, images)


def _remove_hooks(private: nn.Module) -> None:
    for module in private.modules():
        for name in HOOKS:
            vars(module)[name] = type(vars(module)[name])() if name in vars(module) else {}
