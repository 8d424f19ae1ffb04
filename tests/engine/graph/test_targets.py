"""Targets of every kind: what is preserved is what the words say, in the scores as in the feature."""

import base64
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from circuitlang.base.diagnostics import InputError
from circuitlang.bundled import network
from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import Target, resolve
from circuitlang.engine.graph.tracer import trace
from circuitlang.plan import model as plan
from tests.helpers.toy_networks import (
    SIZE,
    Branches,
    Chain,
    Fixed,
    Groups,
    Residual,
    build,
    images,
    layers,
    naive_trace,
)


def vector(layer: str, values: list[float], bias: float = 0.0, rectified: bool = False, at: plan.Position = None):
    content = base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    return plan.Vector(layer, f"v.npy {bias} {rectified}", content, bias=bias, rectified=rectified, at=at)


CLASSES = ("golden retriever", "tabby", "goldfish")
TARGETS = [
    (Branches, plan.Channel("head", 2)),
    (Branches, plan.Channel("act", 2)),
    (Branches, plan.Joint("head", [4, 1])),
    (Groups, plan.Joint("grouped", [0, 3])),
    (Groups, plan.Joint("grouped", [3, 2])),
    (Residual, plan.Direction("head", [plan.Term(0, 0.7), plan.Term(2, -0.3)])),
    (Residual, plan.Channel("relu", 1, "center")),
    (Residual, plan.Channel("head", 1, (2, 0))),
    (Branches, plan.Channel("head", 3, "max")),
    (Branches, plan.Joint("head", [3, 0], "max")),
    (Groups, plan.Direction("point", [plan.Term(1, 1.0), plan.Term(3, 2.0)], "max")),
    (Residual, vector("head", [0.75, 0.0, -0.5])),
    (Branches, vector("act", [0.5, -1.5, 2.0], bias=-0.25, rectified=True)),
    (Groups, vector("point", [0.0, 1.0, 0.0, 2.0], bias=0.5, at="max")),
    (Chain, plan.ClassOutput(2)),
    (Chain, plan.ClassOutput("Golden_Retriever")),
    (Chain, plan.ClassSum([plan.ClassTerm("tabby", 1.0), plan.ClassTerm(0, -1.0)])),
    (Chain, plan.ClassSum([plan.ClassTerm(2, -0.5), plan.ClassTerm("golden retriever", 2.0)])),
    (Chain, plan.Joint("fc1", [0, 5])),
]


def naive_maps(module: nn.Module, target: plan.Target, x: torch.Tensor, masks=None) -> tuple[torch.Tensor, nn.Module]:
    """The target's maps [N, maps, H, W], and the copy that was run, by a hook on its module."""
    if isinstance(target, plan.ClassOutput):
        path = "fc2"
        unit = target.label if isinstance(target.label, int) else 0
        units, weights, at = [unit], None, None
    elif isinstance(target, plan.ClassSum):
        path, at, weights = "fc2", None, [term.times for term in target.terms]
        units = [{"tabby": 1, "golden retriever": 0}.get(term.label, term.label) for term in target.terms]
    else:
        path, at = target.layer, target.at
        units = {
            plan.Channel: lambda: [target.unit],
            plan.Joint: lambda: target.units,
            plan.Direction: lambda: [term.unit for term in target.terms],
            plan.Vector: lambda: range(len(target.values)),
        }[type(target)]()
        weights = [term.times for term in target.terms] if isinstance(target, plan.Direction) else None
        weights = target.values if isinstance(target, plan.Vector) else weights
    whole, twin = output_of(module, path, x, masks)
    original, _ = output_of(module, path, x, None)

    def reduce(y):
        y = y if y.dim() == 4 else y[..., None, None]
        maps = [y[:, unit] for unit in units]
        if weights:
            maps = [sum(w * m for w, m in zip(weights, maps, strict=True))]
        if isinstance(target, plan.Vector):
            maps = [maps[0] + target.bias]
            maps = [maps[0].clamp_min(0)] if target.rectified else maps
        return torch.stack(maps, 1)

    maps, first = reduce(whole), reduce(original).detach()
    if at == "center":
        at = (maps.shape[2] // 2, maps.shape[3] // 2)
    if at == "max":
        rows = []
        for n in range(len(maps)):
            best = [(first[n, m] == first[n, m].max()).nonzero()[0] for m in range(maps.shape[1])]
            rows.append(torch.stack([maps[n, m, r, c] for m, (r, c) in enumerate(best)]))
        return torch.stack(rows)[..., None, None], twin
    return (maps if at is None else maps[:, :, at[0] : at[0] + 1, at[1] : at[1] + 1]), twin


def output_of(module, path, x, masks):
    if path in layers(module):
        _, twin, seen = naive_trace(module, path, 0, x, masks)
        return seen[path][1], twin
    found = []
    _, twin, _ = naive_trace(module, next(iter(layers(module))), 0, x[:0], masks)
    twin.get_submodule(path).register_forward_hook(lambda _m, _i, output: found.append(output))
    twin(x)
    return found[-1], twin


@pytest.mark.parametrize(("net", "target"), TARGETS, ids=lambda each: str(getattr(each, "__name__", each)))
def test_a_target_is_what_its_words_say(net, target):
    module, x = build(net), images()
    graph = trace(module, (SIZE, SIZE))
    part = TargetSubnetwork(graph, resolve(target, graph, CLASSES))
    torch.testing.assert_close(part.feature(x), naive_maps(module, target, x)[0].detach())
    masks = {
        path: (torch.rand(mask.shape, generator=torch.Generator().manual_seed(1)) < 0.6) & mask
        for path, mask in part.relevant.items()
    }
    with part.edited(masks):
        # Also where the response is largest is asked of the network, not of the circuit.
        torch.testing.assert_close(part.feature(x), naive_maps(module, target, x, masks)[0].detach())


@pytest.mark.parametrize(("net", "target"), TARGETS, ids=lambda each: str(getattr(each, "__name__", each)))
def test_scores_are_of_the_sum_of_absolute_values_of_all_that_is_preserved(net, target):
    module, x = build(net), images(3)
    graph = trace(module, (SIZE, SIZE))
    part = TargetSubnetwork(graph, resolve(target, graph, CLASSES))
    found = score(Builder(part, Fixed(x)), "snip", {}, 5, 0)
    expected = {name: torch.zeros(layer.weight.shape[:2]).double() for name, layer in layers(module).items()}
    for image in x.split(1):
        maps, twin = naive_maps(module, target, image)
        maps.abs().sum().backward()
        for name, layer in layers(twin).items():
            if layer.weight.grad is not None:
                product = (layer.weight * layer.weight.grad).abs().detach()
                expected[name] += product.reshape(*product.shape[:2], -1).mean(-1)
    for name, scores in found.items():
        torch.testing.assert_close(scores, expected[name] * part.relevant[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (plan.Channel("head", 5), "E111"),
        (plan.Joint("head", [1, -1]), "E111"),
        (plan.Channel("head", 1, (SIZE, 0)), "E125"),
        (plan.ClassOutput("tabbby"), "E126"),
        (plan.ClassOutput(7), "E126"),
        (plan.ClassSum([plan.ClassTerm(0, 1.0), plan.ClassTerm(7, -1.0)]), "E126"),
        (plan.ClassSum([plan.ClassTerm(1, 1.0), plan.ClassTerm("Tabby", -1.0)]), "E126"),
        (plan.Channel("heat", 1), "E102"),
        (vector("head", [1.0] * 4), "E133"),
    ],
)
def test_what_is_not_there_is_named(target, code):
    graph = trace(build(Branches), (SIZE, SIZE))
    with pytest.raises(InputError) as caught:
        resolve(target, graph, CLASSES)
    assert caught.value.findings[0].code == code


@pytest.mark.parametrize("affine", [True, False])
def test_a_batch_norm_is_what_torch_makes_of_it_and_keeps_nothing_for_the_backward_pass(affine):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4, affine=affine)
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    if affine:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -1, 1)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.Tanh(), nn.Conv2d(4, 2, 3)).double().eval()
    graph = trace(net, (8, 8))
    subnetwork = TargetSubnetwork(graph, Target(graph.find("3"), (1,)))
    images = torch.randn(2, 3, 8, 8).double().requires_grad_()
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda each: kept.update({each.data_ptr(): each}) or each, lambda each: each
    ):
        found = subnetwork.feature(images)
    # Of the maps of 6 x 6 the tanh's own, which it and the convolution behind it share.
    assert [tuple(each.shape) for each in kept.values() if each.shape[-1] == 6] == [(2, 4, 6, 6)]
    expected = net(images)[:, 1:]
    torch.testing.assert_close(found, expected)
    wanted, own = (torch.autograd.grad(maps.square().sum(), images)[0] for maps in (expected, found))
    torch.testing.assert_close(own, wanted)


def test_the_direction_of_the_examples_is_the_difference_of_two_means():
    examples = Path(__file__).parents[3] / "examples"
    doodle = network.build()
    doodle.load_state_dict(load_file(Path(network.__file__).with_name("weights.safetensors")))
    maps = []
    doodle.conv5.register_forward_hook(lambda _m, _i, output: maps.append(output.detach().relu().double()))
    for kind in ("dogs", "cats"):
        pixels = [
            np.asarray(Image.open(path).convert("RGB")) for path in sorted((examples / "images" / kind).iterdir())
        ]
        scaled = (torch.from_numpy(np.stack(pixels)) / 255 - torch.tensor(network.MEAN)) / torch.tensor(network.STD)
        doodle(scaled.permute(0, 3, 1, 2))
    difference = maps[0].mean((0, 2, 3)) - maps[1].mean((0, 2, 3))
    stored = load_file(examples / "directions.safetensors")["dogs"].double()
    torch.testing.assert_close(stored, difference / difference.norm(), rtol=1e-3, atol=1e-4)
