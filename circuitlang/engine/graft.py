"""A circuit in its whole network: a copy of a model in which the target sees nothing but the circuit."""

from __future__ import annotations

import copy

import torch
from torch import nn

from circuitlang.engine.result import Change, Kernels, Layer, Result
from circuitlang.errors import Finding, InputError


def graft(model: nn.Module, result: Result) -> nn.Module:
    """A copy of a model, in evaluation mode, that has only the circuit's kernels upstream of the target; kernels that
    the target doesn't depend on are as they were. Raises InputError where the model has not the circuit's layers."""
    twin = copy.deepcopy(model).eval()
    circuit = result.circuit
    with torch.no_grad():
        for layer, kernels, change in zip(result.summary.layers, circuit.kernels, circuit.changes, strict=True):
            _edit(_module(twin, layer), layer, kernels, change)
    return twin


def _module(model: nn.Module, layer: Layer) -> nn.Module:
    try:
        module = model.get_submodule(layer.path)
    except AttributeError:
        raise _other(layer, "there is no such module") from None
    weight = getattr(module, "weight", None)
    shape = (layer.out_channels, layer.in_channels // layer.groups)
    if not isinstance(weight, torch.Tensor) or tuple(weight.shape[:2]) != shape:
        raise _other(layer, f"it has not {shape[0]} x {shape[1]} kernels")
    return module


def _edit(module: nn.Module, layer: Layer, kernels: Kernels, change: Change) -> None:
    weight, bias = module.weight, module.bias
    assert isinstance(weight, torch.Tensor)
    rows = torch.from_numpy(change.rows).to(weight.device)
    gain = weight.new_ones(weight.shape[:2] if change.gain.ndim == 1 else weight.shape)
    gain[rows] = 0
    place = (torch.from_numpy(kernels.target), torch.from_numpy(kernels.source % weight.shape[1]))
    # Kernels of a linear layer are 1 x 1.
    gain[place] = torch.from_numpy(change.gain).to(weight).reshape(-1, *gain.shape[2:])
    # New parameters: the old ones may be another layer's too.
    gain = gain.reshape(*gain.shape, *[1] * (weight.dim() - gain.dim()))
    module.weight = nn.Parameter(weight * gain, requires_grad=weight.requires_grad)
    if change.offset.any():
        own = bias.clone() if isinstance(bias, torch.Tensor) else weight.new_zeros(layer.out_channels)
        own[rows] += torch.from_numpy(change.offset).to(weight)
        module.bias = nn.Parameter(own, requires_grad=weight.requires_grad)


def _other(layer: Layer, reason: str) -> InputError:
    message = f"the model is not the circuit's: {layer.path} differs"
    return InputError(Finding("E352", message, None, reason, "give the network that the circuit was found in"))
