"""Copy a model with only the kernels of a circuit upstream of the target."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.engine.graph.symbolic_tracers import computes_as_torch
from circuitlang.engine.graph.trace_verification import verified
from circuitlang.engine.models.sandbox import private_copy, untouched
from circuitlang.results.types import KeptKernels, LayerEdit, LayerSummary, Result

# The size of the circuit's images: channels, height, width.
Shape = tuple[int, int, int]


def transplant(model: nn.Module, result: Result, shape: Callable[[], Shape]) -> nn.Module:
    """Return a copy of a model, in evaluation mode, with only the circuit's kernels upstream of the target.

    Kernels that the target does not depend on are unchanged. Weights that hooks or parametrisations compute become
    plain parameters. If a forward method computes weights itself, or calls a layer as a function, the copy is the
    traced network instead, whose modules are its layers; only then is `shape` called. Raises InputError if the model
    does not have the circuit's layers.
    """
    with untouched(model):
        twin = _with_gradients(private_copy(model), model).eval()
    layers = result.summary.layers
    computed = [layer for layer in layers if not _plain(twin, layer)]
    if computed:
        twin = _traced(model, computed[0], shape())
    circuit = result.circuit
    with torch.no_grad():
        for layer, kernels, change in zip(layers, circuit.kernels, circuit.changes, strict=True):
            _edit(_module(twin, layer), layer, kernels, change)
    return twin


def _traced(model: nn.Module, layer: LayerSummary, shape: Shape) -> nn.Module:
    """Return a copy of the traced network, in which all layers have plain weights."""
    channels, height, width = shape
    images = torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(0))
    try:
        network = verified(model, (height, width), images)
    except InputError as error:
        raise _other(layer, error.findings[0].message) from None
    if network.doubt:
        raise _other(layer, network.doubt.finding.message)
    return copy.deepcopy(network.graph.module).eval()


def _with_gradients(twin: nn.Module, model: nn.Module) -> nn.Module:
    """Make parameters of a copy require gradients if those of the model do, and return the copy."""
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, parameter in twin.named_parameters():
        parameter.requires_grad_(name in trainable)
    return twin


def _plain(twin: nn.Module, layer: LayerSummary) -> bool:
    """Make a layer's weight a plain parameter of its module; return False if its forward method computes the weight."""
    try:
        module = twin.get_submodule(layer.path)
    except AttributeError:
        return False
    if not isinstance(module, (nn.Conv2d, nn.Linear)):
        return False
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(module, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(module, hook.name)
        elif isinstance(hook, prune.BasePruningMethod):
            prune.remove(module, hook._tensor_name)  # type: ignore[no-untyped-call]
    for name in list(getattr(module, "parametrizations", {})) if parametrize.is_parametrized(module) else ():
        parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    own = "forward" not in vars(module) and "_conv_forward" not in vars(module) and computes_as_torch(type(module))
    return own and isinstance(module._parameters.get("weight"), nn.Parameter)


def _module(model: nn.Module, layer: LayerSummary) -> nn.Module:
    try:
        module = model.get_submodule(layer.path)
    except AttributeError:
        raise _other(layer, "there is no such module") from None
    weight = getattr(module, "weight", None)
    shape = (layer.out_channels, layer.in_channels // layer.groups)
    if not isinstance(weight, torch.Tensor) or tuple(weight.shape[:2]) != shape:
        raise _other(layer, f"it has not {shape[0]} x {shape[1]} kernels")
    return module


def _edit(module: nn.Module, layer: LayerSummary, kernels: KeptKernels, change: LayerEdit) -> None:
    weight, bias = module.weight, module.bias
    assert isinstance(weight, torch.Tensor)
    rows = torch.from_numpy(change.rows).to(weight.device)
    gain = weight.new_ones(weight.shape[:2] if change.gain.ndim == 1 else weight.shape)
    gain[rows] = 0
    place = (torch.from_numpy(kernels.target), torch.from_numpy(kernels.source % weight.shape[1]))
    gain.reshape(-1, *gain.shape[2:])[torch.from_numpy(change.constant).to(weight.device)] = 1
    # Kernels of a linear layer are 1 x 1.
    gain[place] = torch.from_numpy(change.gain).to(weight).reshape(-1, *gain.shape[2:])
    # New parameters: the old ones may be another layer's too.
    gain = gain.reshape(*gain.shape, *[1] * (weight.dim() - gain.dim()))
    module.weight = nn.Parameter(weight * gain, requires_grad=weight.requires_grad)
    if change.offset.any():
        own = bias.clone() if isinstance(bias, torch.Tensor) else weight.new_zeros(layer.out_channels)
        own[rows] += torch.from_numpy(change.offset).to(weight)
        module.bias = nn.Parameter(own, requires_grad=weight.requires_grad)


def _other(layer: LayerSummary, reason: str) -> InputError:
    message = f"the model is not the circuit's: {layer.path} differs"
    return InputError(Finding("E352", message, None, reason, "give the network that the circuit was found in"))
