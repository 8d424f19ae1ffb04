"""Trace a model into a channel graph: its forward method as operations, none of them in place, and their channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import torch
from torch import fx, nn

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.graph.block_outputs import note_modules, take_marks
from circuitlang.engine.graph.changing_strides import unify_strides
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_tracking import track_channels
from circuitlang.engine.graph.error_reasons import reason
from circuitlang.engine.graph.functional_layers import layers_of_functions
from circuitlang.engine.graph.functionalization import remove_in_place_operations
from circuitlang.engine.graph.image_mixing import BATCH
from circuitlang.engine.graph.tracing_methods import TracingMethod, tracing_methods
from circuitlang.engine.graph.value_recording import ValueRecorder
from circuitlang.engine.models.outputs import unpacked
from circuitlang.engine.models.sandbox import private_copy, quiet, random_states, untouched, unwrapped

_NO_CODE = "give the module that it was made of"


class _UntraceableError(Exception):
    """The reason why a tracing method fails for a network."""


def trace(model: nn.Module, size: tuple[int, int], channels: int = 3) -> Graph:
    """Trace a network for images of `size` (height, width) and so many channels. The model is left as it is.

    Raises InputError if the forward method can't be traced. An operation whose channels can't be tracked is an error
    only for targets behind it (see `NodeLookup.find`). `trace_verification.verified` also compares the traced network
    with the model.
    """
    return next(graphs(model, size, channels))


def graphs(model: nn.Module, size: tuple[int, int], channels: int = 3) -> Iterator[Graph]:
    """Yield the network as each tracing method reads it. Raises InputError at the end if none could."""
    check_traceable(model)
    failures: list[str] = []
    for number, (name, method) in enumerate(tracing_methods(model)):
        try:
            graph = trace_with(model, size, method, channels)
        except _UntraceableError as error:
            failures.append(f"{name}{error}")
            continue
        graph.module.meta["way"] = number
        yield graph
        failures.append("")
    if all(failures):
        label = "; ".join(failures[1:])
        raise InputError(Finding("E308", f"the network can't be traced: {failures[0]}", None, label))


def trace_with(model: nn.Module, size: tuple[int, int], method: TracingMethod, channels: int = 3) -> Graph:
    """Trace a network by one method.

    Raises `_UntraceableError` if the method fails, and InputError if the network doesn't run on images of that size.
    """
    parameters = next(model.parameters(), torch.zeros(()))
    device = parameters.device
    images = torch.zeros(BATCH, channels, *size, device=device, dtype=parameters.dtype)
    # Without weights, tensors that the forward method creates have no content either.
    default_device = device if device.type == "meta" else nullcontext()
    with untouched(model), quiet(), random_states(0, device), default_device:
        private = private_copy(model)
        try:
            private.eval()
            with torch.no_grad():
                module = method(private, model, images)
        except InputError as error:
            raise _UntraceableError(f"{error.findings[0].message}: {error.findings[0].label}") from None
        except Exception as error:  # tracing runs the model's own code, which may raise anything
            raise _UntraceableError(reason(error)) from None
        _share_tensors(private, model)
        _normalise(module)
        note_modules(module, private)
        _record_values(module, model, images)
    return track_channels(module)


def _normalise(module: fx.GraphModule) -> None:
    """Rewrite a traced network so that every layer is a module and no operation writes into its input."""
    unify_strides(module)
    layers_of_functions(module)
    remove_in_place_operations(module)
    take_marks(module)
    _replace_synchronised_norms(module)
    module.requires_grad_(False)


def _record_values(module: fx.GraphModule, model: nn.Module, images: torch.Tensor) -> None:
    """Run a traced network and record shapes and constants. Raises an error if it can't take the images."""
    with torch.no_grad():
        try:
            ValueRecorder(module).run(images)
            while unpacked(module):
                ValueRecorder(module).run(images)
        except Exception as error:  # what a network does to an image of another size may raise anything
            if _runs(private_copy(model).eval(), images):
                # A forward method that changes the attributes of layers leaves them as the last call has them.
                raise _UntraceableError(f"the traced network fails: {reason(error)}") from None
            raise unfit(tuple(images.shape[1:]), error) from None


def _runs(model: nn.Module, images: torch.Tensor) -> bool:
    """Return whether a network runs on images."""
    try:
        model(images)
    except Exception:  # a network may raise anything
        return False
    return True


def unfit(shape: Sequence[int], error: Exception) -> InputError:
    """Return the error for a network that raised another for images of a shape (channels, height, width)."""
    depth = "" if shape[0] == 3 else f"{shape[0]} channel{'s' if shape[0] > 1 else ''} and "
    images = f"the network can't take images of {depth}{shape[1]} x {shape[2]} pixels"
    return InputError(Finding("E308", f"{images}: {reason(error)}"))


def check_traceable(model: nn.Module) -> None:
    """Raise InputError for networks that no method can trace: compiled ones, and any with hooks for all modules."""
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            where = f"'{path}' in it" if path else "it"
            message = f"the network can't be read: {where} is a module of torch.jit"
            label = "what it computes is compiled and has no layers that can be followed"
            raise InputError(Finding("E308", message, None, label, _NO_CODE))
    hooks = nn.modules.module
    if hooks._global_forward_hooks or hooks._global_forward_pre_hooks:
        message = "the network can't be read: hooks are registered for all modules"
        label = "they would change what the engine's own layers compute"
        raise InputError(Finding("E308", message, None, label, "register them on the modules they are for"))


def _share_tensors(private: nn.Module, model: nn.Module) -> None:
    """Let a private copy use the model's own tensors, except those that tracing changed."""
    inner = unwrapped(model)
    originals = {**dict(inner.named_parameters()), **dict(inner.named_buffers())}
    for name, tensor in (*private.named_parameters(), *private.named_buffers()):
        original = originals.get(name)
        if original is not None and original.shape == tensor.shape and not tensor.is_meta:
            same_kind = original.dtype == tensor.dtype and original.device == tensor.device
            if same_kind and torch.equal(original, tensor):
                tensor.data = original.detach()


def _replace_synchronised_norms(module: fx.GraphModule) -> None:
    """Replace batch norms that gather statistics from several processes in training: in evaluation they are plain."""
    for path, norm in list(module.named_modules()):
        if isinstance(norm, nn.SyncBatchNorm):
            plain = object.__new__(nn.BatchNorm2d)
            plain.__dict__.update(vars(norm))
            module.add_submodule(path, plain)
