"""Circuits built the plain, slow way: removed kernels stood in for by their means, kept ones refitted."""

import copy

import torch
from torch import Tensor, nn

from tests.helpers.toy_networks import layers, naive_trace


def alone(layer: nn.Module, given: Tensor, o: int, i: int) -> Tensor:
    """The output map of a single kernel [N, ...]: only its input channel is there, and no bias."""
    out, inner = layer.weight.shape[:2]
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    channel = o // (out // groups) * inner + i
    only = torch.zeros_like(given)
    only[:, channel] = given[:, channel]
    twin = copy.deepcopy(layer)
    twin.bias = None
    with torch.no_grad():
        return twin.forward(only)[:, o]


def naive_ablate(
    module: nn.Module, path: str, unit: int, x: Tensor, masks: dict[str, Tensor], mean: bool = True
) -> nn.Module:
    """Every kernel that isn't in a mask replaced by the mean of its output over images and positions, or by zero."""
    _, _, seen = naive_trace(module, path, unit, x)
    twin = copy.deepcopy(module)
    for name, mask in masks.items():
        layer = layers(module)[name]
        constant = torch.zeros(len(layer.weight)).double()
        for o, i in (~mask).nonzero().tolist() if mean else ():
            if name != path or o == unit:
                constant[o] += alone(layer, seen[name][0].detach(), o, i).mean()
        edited = layers(twin)[name]
        edited.weight.data *= mask.reshape(*mask.shape, *[1] * (layer.weight.dim() - 2))
        edited.bias = nn.Parameter((0 if layer.bias is None else layer.bias) + constant)
    return twin


def naive_refit(module: nn.Module, path: str, unit: int, x: Tensor, masks: dict[str, Tensor], how: str) -> nn.Module:
    """Layer by layer, by explicit design matrices and ridge rows: the plain, slow way."""
    wanted = naive_trace(module, path, unit, x)[2]
    twin = copy.deepcopy(module)
    for name, mask in masks.items():
        layer = layers(module)[name]
        given = naive_trace(twin, path, unit, x)[2][name][0].detach()
        weight, bias = torch.zeros_like(layer.weight), torch.zeros(len(layer.weight)).double()
        for o in range(len(weight)):
            if name == path and o != unit:
                continue
            kernels = mask[o].nonzero()[:, 0].tolist()
            y = wanted[name][1][:, o].detach().flatten()
            a = torch.stack([alone(layer, given, o, i).flatten() for i in kernels], 1) if kernels else y[:, None][:, :0]
            centred, goal = a - a.mean(0), y - y.mean()
            held = (0.01 * centred.square().mean(0) * len(y)).sqrt()
            if how == "bias" or not kernels:
                gains = torch.ones(len(kernels)).double()
            elif how == "kernels":
                design = torch.cat([centred, held.diag()])
                answer = torch.cat([goal - centred.sum(1), torch.zeros_like(held)])
                # Of a kernel that doesn't vary nothing can be told: the smallest change is none.
                gains = 1 + torch.linalg.lstsq(design, answer[:, None], driver="gelsd").solution[:, 0]
            else:
                design = torch.cat([centred.sum(1), held.square().sum().sqrt()[None]])
                answer = torch.cat([goal, held.square().sum().sqrt()[None]])
                gains = ((design @ answer) / (design @ design)).expand(len(kernels))
            for gain, i in zip(gains, kernels, strict=True):
                weight.data[o, i] = gain * layer.weight.data[o, i]
            bias[o] = y.mean() - (a @ gains).mean()
        layers(twin)[name].weight.data, layers(twin)[name].bias = weight.data, nn.Parameter(bias)
    return twin
