"""Blocks as targets: any module whose output has channels, compared with a hook on it and a naive rewrite."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from circuitlang.base.diagnostics import InputError, SpecError
from circuitlang.base.source import Source
from circuitlang.bundled.layers import layers as bundled_layers
from circuitlang.bundled.network import build as build_doodle
from circuitlang.compiler.compile import compile_source
from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.extraction.extractor import extract
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.named_modules import named_modules
from circuitlang.engine.graph.symbolic_tracers import ParameterTracer, ShapeTracer
from circuitlang.engine.graph.target_verification import wrong_targets
from circuitlang.engine.graph.targets import resolve
from circuitlang.engine.graph.tracer import trace, trace_with
from circuitlang.engine.graph.tracing_methods import tracing_methods
from circuitlang.pipeline import vocabulary
from circuitlang.plan import model as plan
from circuitlang.plan.layers import Layers
from tests.helpers.toy_networks import SIZE, Fixed, build, images, layers


class Block(nn.Module):
    """A residual block whose sum and activation are operations in place."""

    def __init__(self, channels: int, groups: int = 1) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, channels, 3, padding=1, groups=groups)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.two = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.two(self.relu(self.norm(self.one(x))))
        y += x
        return self.relu(y)


class Residuals(nn.Module):
    """Two residual blocks in a sequence, the second with groups."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.blocks = nn.Sequential(Block(4), Block(4, groups=2))
        self.head = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


class Fork(nn.Module):
    """Branches of which one is a module that is activated outside, in place; joined by concatenation."""

    class Join(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Sequential(nn.Conv2d(4, 3, 1), nn.Tanh()), nn.Conv2d(4, 2, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.left(x), self.right(x)], 1)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
        self.join = Fork.Join()
        self.head = nn.Conv2d(5, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        F.relu_(y)
        return self.head(self.join(y))


class Activated(nn.Module):
    """A convolution and a functional activation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x), inplace=True)


class Repeated(nn.Module):
    """A block that is called twice, and one that has two names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Activated(3)
        self.again = Activated(4)
        self.alias = self.again
        self.head = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.again(self.stem(x))
        return self.head(self.alias(x + 1))


class Shaped(nn.Module):
    """A forward method that decides by shapes, which plain tracing can't do."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Activated(3)
        self.head = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(x)
        return self.head(y if y.shape[2] > 3 else y * 2)


TARGETS = [
    (Residuals, plan.Channel("blocks", 3)),
    (Residuals, plan.Channel("blocks.0", 1, "center")),
    (Residuals, plan.Joint("blocks.1", [2, 0])),
    (Residuals, plan.Channel("blocks.0.relu", 2)),
    (Fork, plan.Channel("stem", 2)),
    (Fork, plan.Direction("join", [plan.Term(1, 0.5), plan.Term(4, -2.0)])),
    (Fork, plan.Channel("join.left", 0, "max")),
    (Repeated, plan.Channel("stem", 1)),
    (Repeated, plan.Channel("again", 3)),
    (Repeated, plan.Channel("alias", 3)),
]
IDS = [f"{net.__name__}-{target}" for net, target in TARGETS]


def traced(net: type[nn.Module]) -> tuple[nn.Module, Graph]:
    module = build(net)
    return module, trace(module, (SIZE, SIZE))


def maps(module: nn.Module, target: Any, x: Tensor, masks: dict[str, Tensor]) -> tuple[Tensor, nn.Module]:
    """The target's maps by a hook on the block of a masked copy, and the copy."""
    whole = module_output(module, target.layer, x, {})[0].detach()
    output, twin = module_output(module, target.layer, x, masks)
    if isinstance(target, plan.Direction):
        rows = [sum(term.times * y[:, term.unit] for term in target.terms) for y in (output, whole)]
        return rows[0][:, None], twin
    units = target.units if isinstance(target, plan.Joint) else [target.unit]
    output, whole = output[:, units], whole[:, units]
    if target.at == "center":
        return output[:, :, SIZE // 2, SIZE // 2][..., None, None], twin
    if target.at == "max":
        places = whole.flatten(2).argmax(2, keepdim=True)
        return output.flatten(2).gather(2, places)[..., None], twin
    return output, twin


def module_output(module: nn.Module, path: str, x: Tensor, masks: dict[str, Tensor]) -> tuple[Tensor, nn.Module]:
    twin = copy.deepcopy(module).eval()
    for name, mask in masks.items():
        layers(twin)[name].weight.data *= mask[..., None, None]
    outputs: list[Tensor] = []
    # What follows may write into the output.
    twin.get_submodule(path).register_forward_hook(lambda _module, _inputs, output: outputs.append(output.clone()))
    twin(x.clone())
    return outputs[-1], twin


@pytest.mark.parametrize(("net", "target"), TARGETS, ids=IDS)
def test_a_block_is_what_a_hook_on_it_gives(net: type[nn.Module], target: Any) -> None:
    module, graph = traced(net)
    x = images()
    assert wrong_targets(graph, module, x, [target.layer]) == {}
    part = TargetSubnetwork(graph, resolve(target, graph, ()))
    torch.testing.assert_close(part.feature(x), maps(module, target, x, {})[0].detach())
    masks = {
        path: (torch.rand(mask.shape, generator=torch.Generator().manual_seed(1)) < 0.7) & mask
        for path, mask in part.relevant.items()
    }
    with part.edited(masks):
        torch.testing.assert_close(part.feature(x), maps(module, target, x, masks)[0].detach())


@pytest.mark.parametrize(("net", "target"), TARGETS, ids=IDS)
def test_scores_of_a_block_are_those_of_the_formula(net: type[nn.Module], target: Any) -> None:
    """The mean over a kernel of |w dL/dw|, with L the sum of absolute values of the target's maps, image by image."""
    module, graph = traced(net)
    x = images(3)
    part = TargetSubnetwork(graph, resolve(target, graph, ()))
    scores = score(Builder(part, Fixed(x)), "snip", {}, 5, 0)
    expected = {path: torch.zeros(layer.weight.shape[:2]).double() for path, layer in layers(module).items()}
    for image in x.split(1):
        output, twin = maps(_with_a_weight_for_each_call(module), target, image, {})
        output.abs().sum().backward()
        for path, layer in layers(twin).items():
            assert isinstance(layer, OwnWeights)
            for weight in layer.own:
                if weight.grad is not None:
                    expected[path] += (weight * weight.grad).abs().detach().flatten(2).mean(-1)
    assert any(values.any() for values in scores.values())
    for path, values in scores.items():
        torch.testing.assert_close(values, expected[path] * part.relevant[path], rtol=1e-9, atol=1e-12)


class OwnWeights(nn.Conv2d):
    """A convolution each of whose calls has a copy of its weight."""

    own: list[Tensor]

    def forward(self, x: Tensor) -> Tensor:
        self.own.append(self.weight.detach().clone().requires_grad_())
        return F.conv2d(x, self.own[-1], self.bias, self.stride, self.padding, self.dilation, self.groups)


def _with_a_weight_for_each_call(module: nn.Module) -> nn.Module:
    twin = copy.deepcopy(module)
    for layer in layers(twin).values():
        layer.__class__ = OwnWeights
        layer.own = []
    return twin


def test_every_module_of_these_networks_can_be_named() -> None:
    for net in {net for net, _ in TARGETS}:
        module, graph = traced(net)
        rows = {row.path: row for row in named_modules(graph)}
        assert list(rows) == [path for path, _ in module.named_modules(remove_duplicate=False) if path]
        for path, row in rows.items():
            output, _ = module_output(module, path, images(2), {})
            assert not row.refused
            assert row.shape == tuple(output.shape[1:])
            assert row.kind == type(module.get_submodule(path)).__name__
            assert graph.widths()[path] == row.shape[0]


def test_the_side_of_the_activation() -> None:
    stages = {row.path: row.stage for row in named_modules(traced(Residuals)[1])}
    assert stages["stem"] == stages["blocks.0.one"] == stages["blocks.0.norm"] == "before"
    assert stages["blocks.0"] == stages["blocks.0.relu"] == stages["blocks"] == "after"
    forked = {row.path: row.stage for row in named_modules(traced(Fork)[1])}
    assert (forked["stem"], forked["join.left"], forked["join"]) == ("before", "after", "mixed")


def test_the_bundled_network_is_listed_without_being_built() -> None:
    assert bundled_layers().modules == tuple(named_modules(trace(build_doodle(), (64, 64))))


@pytest.mark.parametrize("tracer", [ParameterTracer, ShapeTracer])
def test_other_ways_of_tracing_know_blocks(tracer: type) -> None:
    module = build(Residuals)
    methods = dict(tracing_methods(module))
    name = "traced parameters: " if tracer is ParameterTracer else "traced shapes: "
    graph = trace_with(module, (SIZE, SIZE), methods[name])
    assert wrong_targets(graph, module, images(), ["blocks", "blocks.0", "blocks.1.relu"]) == {}
    assert graph.find("blocks").width == 4


def test_an_exported_network_has_layers_and_no_blocks() -> None:
    _, graph = traced(Shaped)
    assert graph.find("block.conv").width == 4
    with pytest.raises(InputError, match="'block' has no channels to preserve"):
        graph.find("block")


class Pair(nn.Module):
    """A block that gives a tuple, one that gives a dictionary, and one that is called without its call."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Any:
            y = self.conv(x)
            return y, y + 1

    class Named(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return {"maps": x}

    def __init__(self) -> None:
        super().__init__()
        self.two, self.named, self.passed = Pair.Two(), Pair.Named(), Activated(4)
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.unused = nn.ReLU()
        self.head = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.two(x)
        values, _ = self.pool(self.named(first + second)["maps"])
        return self.head(self.passed.forward(values))


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("two", "its output is a tuple of 2"),
        ("named", "its output is a dict"),
        ("pool", "its output is a tuple of 2"),
        ("passed", "it is not called, or its output can't be told"),
        ("unused", "it is not called, or its output can't be told"),
    ],
)
def test_what_has_no_channels_is_refused_with_a_cure(word: str, reason: str) -> None:
    _, graph = traced(Pair)
    with pytest.raises(InputError) as caught:
        graph.find(word)
    (finding,) = caught.value.findings
    assert (finding.code, finding.message) == ("E308", f"'{word}' has no channels to preserve: {reason}")
    assert "name a module inside it" in finding.help
    assert word not in graph.widths()
    assert {row.path: row.refused for row in named_modules(graph)}[word] == reason
    assert graph.find("two.conv").width == 4


def test_the_compiler_says_the_same_of_a_model_that_is_known() -> None:
    _, graph = traced(Pair)
    words = vocabulary()
    known = Layers(graph.widths(), ("conv1",), tuple(named_modules(graph)))
    text = "preserve two:3 on images/dogs/* keep<=10%"
    with pytest.raises(SpecError) as caught:
        compile_source(Source("<text>", text, Path()), _with(words, known))
    (finding,) = caught.value.findings
    assert finding.code == "E308"
    assert finding.span is not None
    assert finding.span.text == "two"


def _with(words: Any, known: Layers) -> Any:
    import msgspec

    return msgspec.structs.replace(words, layers={"bundled.doodle": known})


def test_a_module_that_gives_no_tensor_when_it_is_run_is_refused() -> None:
    module, graph = traced(Residuals)
    other = build(Residuals)
    other.blocks.forward = lambda x: (nn.Sequential.forward(other.blocks, x),)  # type: ignore[method-assign]
    other.head.forward = lambda x: nn.Conv2d.forward(other.head, x[0])  # type: ignore[method-assign]
    assert wrong_targets(graph, module, images(), ["blocks"]) == {}
    (finding,) = wrong_targets(graph, other, images(), ["blocks"]).values()
    assert finding.label == "when the network itself is run, 'blocks' gives no tensor"


@pytest.mark.parametrize(("net", "target"), TARGETS, ids=IDS)
def test_an_extracted_circuit_of_a_block_computes_what_the_masked_network_does(
    net: type[nn.Module], target: Any
) -> None:
    module, graph = traced(net)
    part = TargetSubnetwork(graph, resolve(target, graph, ()))
    builder = Builder(part, Fixed(images()))
    generator = torch.Generator().manual_seed(2)
    scores = {path: torch.rand(mask.shape, generator=generator).double() for path, mask in part.relevant.items()}
    budget = sum(int(mask.sum()) for mask in part.relevant.values()) * 2 // 3
    edits = builder.build(builder.select(scores, budget))
    with part.edited(edits):
        expected = part.maps(images())
    assert expected.std() > 0
    torch.testing.assert_close(extract(part, edits)(images()), expected, rtol=1e-10, atol=1e-10)
    del module
