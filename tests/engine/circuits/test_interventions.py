"""Edits of networks against naive float64 rewrites: a deep copy with other weights, or hooks that overwrite maps."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from circuitlang.base.diagnostics import InputError
from circuitlang.engine.circuits.interventions import EditedNetwork, EditedPart, channels, kernel
from circuitlang.engine.circuits.subnetwork import as_maps
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.tracer import trace
from tests.helpers.toy_networks import (
    CHANNEL_CASES,
    CHANNEL_IDS,
    SIZE,
    Again,
    Branches,
    Chain,
    ChannelsLast,
    Excited,
    Groups,
    Residual,
    Shuffling,
    build,
    images,
    layers,
)

NETS = Chain, Branches, Residual, Groups, Excited, Shuffling, ChannelsLast, Again
# A layer of each whose channels are edited, and one behind it.
PAIRS = {
    Chain: ("conv1", "fc2"), Branches: ("squeeze", "head"), Residual: ("stem", "head"), Groups: ("stem", "depthwise"),
    Excited: ("stem", "head"), Shuffling: ("stem", "head"), ChannelsLast: ("wide", "head"), Again: ("twice", "head"),
}  # fmt: skip
NAMES = [net.__name__ for net in NETS]


def edited(graph: Graph, path: str, part: EditedPart, scale: float | None, x: Tensor, others: Tensor | None = None):
    step = graph.find(path)
    values = EditedNetwork(graph, [step.name], part, scale).values(x, others)
    return as_maps(values[step.name], step)


def run(module: nn.Module, path: str, x: Tensor) -> Tensor:
    """The last output of a module, its channels second."""
    return second(module, path, calls(module, path, x)[-1])


def second(module: nn.Module, path: str, output: Tensor) -> Tensor:
    return output.movedim(-1, 1) if isinstance(module.get_submodule(path), nn.Linear) else output


def calls(module: nn.Module, path: str, x: Tensor) -> list[Tensor]:
    """The output of each call of a module."""
    outputs = []
    hook = module.get_submodule(path).register_forward_hook(
        lambda _module, _inputs, output: outputs.append(output.detach().clone())
    )
    with torch.no_grad():
        module(x)
    hook.remove()
    return outputs


def naive_channels(module: nn.Module, path: str, units: list[int], scale: float | None, others: Tensor) -> nn.Module:
    """A copy in which channels of a module's output are scaled, or are those of other images."""
    twin = copy.deepcopy(module).eval()
    patch = calls(copy.deepcopy(module).eval(), path, others)
    number = 0

    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        nonlocal number
        maps = second(twin, path, output.clone())
        for unit in units:
            maps[:, unit] = maps[:, unit] * scale if scale is not None else second(twin, path, patch[number])[:, unit]
        number = (number + 1) % len(patch)
        return maps.movedim(1, -1) if isinstance(twin.get_submodule(path), nn.Linear) else maps

    twin.get_submodule(path).register_forward_hook(hook)
    return twin


def naive_kernels(module: nn.Module, masks: dict[str, Tensor], scale: float | None, others: Tensor) -> nn.Module:
    """A copy with kernels scaled; or without them, and what they make of other images added to their layers."""
    twin = copy.deepcopy(module).eval()
    for path, mask in masks.items():
        layer, whole = layers(twin)[path], layers(copy.deepcopy(module))[path]
        shape = mask.reshape(*mask.shape, *[1] * (layer.weight.dim() - mask.dim()))
        if scale is not None:
            layer.weight.data = torch.where(shape, layer.weight * scale, layer.weight)
            continue
        seen = []
        inputs = copy.deepcopy(module).eval()
        layers(inputs)[path].register_forward_hook(lambda _m, given, _o, seen=seen: seen.append(given[0].clone()))
        with torch.no_grad():
            inputs(others)
        layer.weight.data *= ~shape
        whole.weight.data *= shape
        whole.bias = None
        layer.register_forward_hook(lambda _m, _i, output, whole=whole, seen=seen: output + whole(seen.pop(0)).detach())
    return twin


@pytest.mark.parametrize("scale", [0.0, 0.5, -2.0, None])
@pytest.mark.parametrize("net", NETS, ids=NAMES)
def test_edited_channels(net, scale):
    module, x = build(net).eval(), images(6)
    path, behind = PAIRS[net]
    graph, units = trace(module, (SIZE, SIZE)), [1, 2]
    x, others = x[:3], x[3:]
    found = edited(graph, behind, channels(graph, path, units), scale, x, None if scale is not None else others)
    expected = run(naive_channels(module, path, units, scale, others), behind, x)
    torch.testing.assert_close(found, expected.reshape(found.shape), rtol=1e-9, atol=1e-10)
    whole = run(module, behind, x).reshape(found.shape)
    assert not torch.allclose(found, whole), "the edit changes nothing here, so that this tests nothing"


@pytest.mark.parametrize("scale", [0.0, 0.5, None])
@pytest.mark.parametrize("net", NETS, ids=NAMES)
def test_edited_kernels_of_all_layers(net, scale):
    module, x = build(net).eval(), images(6)
    graph, generator = trace(module, (SIZE, SIZE)), torch.Generator().manual_seed(5)
    masks = {
        layer.path: torch.rand(layer.out_channels, layer.in_channels_per_group, generator=generator) < 0.4
        for layer in graph.layers
        if layer.path != "called"  # it has no module's call to hook into
    }
    behind, others = PAIRS[net][1], x[3:]
    found = edited(graph, behind, EditedPart(masks), scale, x[:3], None if scale is not None else others)
    expected = run(naive_kernels(module, masks, scale, others), behind, x[:3])
    torch.testing.assert_close(found, expected.reshape(found.shape), rtol=1e-9, atol=1e-10)
    assert not torch.allclose(found, run(module, behind, x[:3]).reshape(found.shape))


@pytest.mark.parametrize(("net", "path", "unit"), CHANNEL_CASES, ids=CHANNEL_IDS)
def test_edited_channels_of_every_family(net, path, unit):
    module, x = build(net).eval(), images(3)
    graph = trace(module, (SIZE, SIZE))
    part = channels(graph, path, [unit])
    output = graph.output()
    found = EditedNetwork(graph, [output.name], part, 0.25).values(x)[output.name]
    with torch.no_grad():
        expected = naive_channels(module, path, [unit], 0.25, x)(x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_single_weights():
    module, x = build(Residual).eval(), images(2)
    graph = trace(module, (SIZE, SIZE))
    mask = torch.rand(4, 4, 3, 3, generator=torch.Generator().manual_seed(1)) < 0.5
    found = edited(graph, "head", EditedPart({"body": mask}), 0.0, x)
    expected = run(naive_kernels(module, {"body": mask}, 0.0, x), "head", x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_nothing_edited_and_a_patch_by_the_same_images_change_nothing():
    module, x = build(Groups).eval(), images(3)
    graph = trace(module, (SIZE, SIZE))
    whole = run(module, "point", x)
    torch.testing.assert_close(edited(graph, "point", EditedPart(), None, x), whole, rtol=1e-9, atol=1e-10)
    for part in (channels(graph, "stem", [1, 4]), kernel(graph, "grouped", 2, "depthwise", 4)):
        torch.testing.assert_close(edited(graph, "point", part, None, x, x), whole, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(edited(graph, "point", part, 1.0, x), whole, rtol=1e-9, atol=1e-10)


def test_the_network_and_the_weights_stay_as_they_are():
    module, x = build(Branches).eval(), images(2)
    before = copy.deepcopy(module.state_dict())
    graph = trace(module, (SIZE, SIZE))
    edited(graph, "head", channels(graph, "squeeze", [0]), 0.0, x)
    edited(graph, "head", kernel(graph, "head", 0, "left", 1), None, x, x.flip(0))
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    torch.testing.assert_close(edited(graph, "head", EditedPart(), None, x), run(module, "head", x))


@pytest.mark.parametrize(
    ("net", "word", "unit", "source", "number", "inputs"),
    [
        (Chain, "conv2", 1, "conv1", 3, [3]),
        # Behind a flatten a channel is four inputs.
        (Chain, "fc1", 2, "conv2", 1, [4, 5, 6, 7]),
        # Behind a concatenation, and through a sum.
        (Branches, "head", 0, "right", 2, [6]),
        (Residual, "head", 1, "stem", 2, [2]),
        (Residual, "head", 1, "body", 2, [2]),
        # The second group reads the last three channels.
        (Groups, "grouped", 3, "depthwise", 4, [1]),
        (Chain, "conv1", 0, "image", 2, [2]),
        (Shuffling, "mix", 0, "branch", 0, [1]),
    ],
)
def test_a_kernel_by_the_channel_that_it_reads(net, word, unit, source, number, inputs):
    graph = trace(build(net).eval(), (SIZE, SIZE))
    (mask,) = kernel(graph, word, unit, source, number).kernels.values()
    assert mask.nonzero().tolist() == [[unit, place] for place in inputs]


@pytest.mark.parametrize(
    ("net", "words", "code", "says"),
    [
        (Chain, ("fc2", 0, "conv1", 1), "E132", "no kernel leads from conv1:1 to fc2:0"),
        (Groups, ("grouped", 0, "depthwise", 5), "E132", "no kernel leads from depthwise:5 to grouped:0"),
        (Chain, ("conv2", 9, "conv1", 1), "E111", "conv2 has no channel 9"),
        (Chain, ("conv2", 1, "conv1", 9), "E111", "conv1 has no channel 9"),
        (Chain, ("conv1", 1, "image", 3), "E111", "image has no channel 3"),
        (Chain, ("conv2", 1, "conv9", 1), "E102", "unknown layer 'conv9'"),
        (Chain, ("conv2", 1, "relu1", 1), "E132", "'relu1' has no kernels"),
    ],
)
def test_kernels_that_are_not_there(net, words, code, says):
    graph = trace(build(net).eval(), (SIZE, SIZE))
    with pytest.raises(InputError) as caught:
        kernel(graph, *words)
    (finding,) = caught.value.findings
    assert (finding.code, finding.message) == (code, says)


def test_channels_that_are_not_there():
    graph = trace(build(Chain).eval(), (SIZE, SIZE))
    with pytest.raises(InputError, match="conv1 has no channel 4"):
        channels(graph, "conv1", [0, 4])
