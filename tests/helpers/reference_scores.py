"""What every network must show: SNIP's scores against autograd, extraction against the masked network, in float64."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn

from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.extraction.extractor import extract
from circuitlang.engine.circuits.selection import count
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork, as_maps
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.plugins.protocols import Edit, Masks
from tests.helpers.toy_networks import Fixed

# So many kernels' scores are compared, of so many layers.
KERNELS, LAYERS = 5, 5
SHARES = (0.8,)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def naive_norm(x: Tensor, mean: Tensor, variance: Tensor, weight: Any = None, bias: Any = None, *rest: Any) -> Tensor:
    """A batch norm by its formula: torch's own goes wrong backwards for some strides of a batch of one image."""
    assert not rest
    column = (slice(None), *[None] * (x.dim() - 2))
    x = (x - mean[column]) / (variance[column] + 1e-5).sqrt()
    x = x if weight is None else x * weight[column]
    return x if bias is None else x + bias[column]


class _Norm(nn.Module):
    def __init__(self, norm: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        # The formula has 1e-5.
        return naive_norm(x, norm.running_mean, norm.running_var + norm.eps - 1e-5, norm.weight, norm.bias)


def scores_are_right(graph: Graph, subnetwork: TargetSubnetwork, images: Tensor, every: bool = False) -> None:
    """SNIP's scores of some kernels are those of autograd, in a copy in which no layer is used twice; `every` relevant
    kernel has a score, where the network's wiring is known exactly."""
    masks, units = subnetwork.relevant, list(subnetwork.target.units)
    found = score(Builder(subnetwork, Fixed(images, 1)), "snip", {}, count(masks), 0)
    twin = fx.GraphModule(graph.module, copy.deepcopy(graph.module.graph))
    owners: dict[str, list[nn.Module]] = {}
    steps = {step.name: step for step in graph.steps.values() if step.layer}
    for node in twin.graph.nodes:
        if node.name in steps:
            path, free = str(node.target), f"own_{node.name}"
            twin.add_submodule(free, copy.deepcopy(graph.module.get_submodule(path)).requires_grad_(True))
            node.target = free
            owners.setdefault(path, []).append(twin.get_submodule(free))
        if node.name == subnetwork.target.step.name:
            target = node
        elif node.op == "call_module" and type(norm := twin.get_submodule(str(node.target))) in _NORMS:
            twin.add_submodule(f"own_{node.name}", _Norm(norm))
            node.target = f"own_{node.name}"
    for node in list(twin.graph.nodes):
        if node.op == "output":
            node.args = (target,)
    twin.graph.eliminate_dead_code()
    twin.recompile()
    some = subnetwork.layers[:: max(1, len(subnetwork.layers) // LAYERS)]
    expected = {layer.path: torch.zeros(layer.out_channels, layer.in_channels_per_group).double() for layer in some}
    for image in images.split(1):
        feature = as_maps(twin(image), subnetwork.target.step)[:, units].abs().sum()
        weights = [each.weight for layer in some for each in owners[layer.path]]
        gradients = iter(torch.autograd.grad(feature, weights, allow_unused=True))
        for layer in some:
            for each in owners[layer.path]:
                gradient = next(gradients)
                if gradient is not None:
                    effect = (each.weight * gradient).detach().abs()
                    expected[layer.path] += effect.reshape(layer.out_channels, layer.in_channels_per_group, -1).mean(-1)
    generator = torch.Generator().manual_seed(1)
    for layer in some:
        kernels = masks[layer.path].nonzero()
        kernels = kernels[torch.randperm(len(kernels), generator=generator)[:KERNELS]]
        close(found[layer.path][kernels[:, 0], kernels[:, 1]], expected[layer.path][kernels[:, 0], kernels[:, 1]])
        assert not expected[layer.path][~masks[layer.path]].any()
        assert not every or expected[layer.path][masks[layer.path]].all()


def extraction_is_right(subnetwork: TargetSubnetwork, images: Tensor) -> None:
    """A module cut out of some kernels computes what the masked network does, and the network with all of them."""
    whole = subnetwork.feature(images)
    with subnetwork.edited(subnetwork.relevant):
        close(subnetwork.feature(images), whole)
    generator = torch.Generator().manual_seed(4)
    masks: Masks = {
        path: (torch.rand(mask.shape, generator=generator) < 0.8) & mask for path, mask in subnetwork.relevant.items()
    }
    module = extract(subnetwork, {path: Edit(mask) for path, mask in masks.items()})
    with subnetwork.edited(masks):
        expected = subnetwork.maps(images)
    close(module(images), expected)
    close(module(images[:1]), expected[:1])


def feature_is_right(model: nn.Module, path: str, subnetwork: TargetSubnetwork, images: Tensor) -> None:
    """The feature of one unit of a layer is what a hook on the model's layer sees last."""
    seen: list[Tensor] = []
    handle = model.get_submodule(path).register_forward_hook(lambda *call: seen.append(call[2].clone()))
    with torch.no_grad():
        model(images)
    handle.remove()
    expected = as_maps(seen[-1], subnetwork.target.step)[:, list(subnetwork.target.units)]
    assert expected.std() > 0
    close(subnetwork.feature(images), expected)


def draw_weights(model: nn.Module) -> None:
    """Draw weights and statistics with which every path of a network matters."""
    with torch.no_grad():
        for word, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embed" not in word and "token" not in word:
                bound = (3 / parameter[0].numel()) ** 0.5
                parameter.uniform_(-bound, bound)
            elif word.endswith("bias"):
                parameter.uniform_(-0.2, 0.2)
            else:
                parameter.uniform_(0.5, 1)
        for word, buffer in model.named_buffers():
            if word.endswith("running_mean"):
                buffer.uniform_(-0.1, 0.1)
            elif word.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)


def close(found: Tensor, expected: Tensor) -> None:
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected.reshape(found.shape), rtol=0, atol=1e-6 * scale + 1e-300)
