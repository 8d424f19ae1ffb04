"""A target is what the module of its name gives, or it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import circuitlang
from circuitlang import pipeline
from circuitlang.base.diagnostics import InputError
from circuitlang.engine.graph.target_verification import wrong_targets
from circuitlang.engine.graph.trace_verification import verified
from circuitlang.engine.runtime.options import Options

IMAGES = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(3))


class Net(nn.Module):
    """Two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)))


class Tripled(Net):
    """A hook changes the output of its first layer, a block; the block's own output is no value of the trace."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(self.a)
        self.a.register_forward_hook(lambda _module, _inputs, output: output * 3)


class Watched(Tripled):
    """The same with a hook that changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(*self.a)
        self.a.register_forward_hook(lambda _module, _inputs, output: output)


class Doubled(Net):
    """The forward method of its first layer was replaced; the network takes that back."""

    def __init__(self) -> None:
        super().__init__()
        own = self.a.forward
        self.a.forward = lambda x: own(x) * 2

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)) / 2)


class Unused(Net):
    """Its first layer is called once more, for nothing, at the start."""

    def forward(self, x: Tensor) -> Tensor:
        self.a(x.flip(-1))
        return super().forward(x)


class Twice(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.relu(self.a(x)))


class Hooked(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a.register_forward_hook(lambda _module, _inputs, output: output * 3)
        self.a.register_forward_pre_hook(lambda _module, inputs: (inputs[0] * 3,))


class InPlace(Net):
    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        y.relu_()
        y.add_(1)
        return self.b(y)


class Function(Net):
    """Its first layer's weights are used by a function."""

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.conv2d(x, self.a.weight * 2, self.a.bias, padding=1))


def wrong(net: type[Net], layer: str) -> dict[str, str]:
    torch.manual_seed(0)
    model = net().eval()
    network = verified(model, (12, 12), IMAGES)
    assert network.doubt is None
    return {name: finding.label for name, finding in wrong_targets(network.graph, model, IMAGES, [layer]).items()}


@pytest.mark.parametrize("net", [Net, Unused, Twice, Hooked, InPlace, Function, Doubled, Watched])
@pytest.mark.parametrize("layer", ["a", "b"])
def test_sound_targets(net: type[Net], layer: str) -> None:
    assert wrong(net, layer) == {}


def test_a_hook_that_changes_a_block_is_found() -> None:
    assert wrong(Tripled, "b") == {}
    (label,) = wrong(Tripled, "a").values()
    assert label == "values that differ by 2.0e+00 of the largest value; the module is called once"


def test_a_module_whose_forward_was_replaced_is_its_own_output() -> None:
    """Not the convolution inside, which the short name stands for."""
    torch.manual_seed(0)
    model = Doubled().eval()
    graph = verified(model, (12, 12), IMAGES).graph
    assert graph.find("a").layer is None
    layer = graph.find("conv1").layer
    assert layer is not None
    assert layer.path == "a"


def test_the_last_call_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node of a layer is compared with its last call: with another node the target is refused."""
    torch.manual_seed(0)
    model = Twice().eval()
    graph = verified(model, (12, 12), IMAGES).graph
    first = next(node.name for node in graph.module.graph.nodes if node.target == "a")
    assert first != graph.find("a").name
    monkeypatch.setattr(type(graph), "find", lambda _graph, _layer: graph.steps[first])
    (finding,) = wrong_targets(graph, model, IMAGES, ["a"]).values()
    assert "called 2 times, and its last output counts" in finding.label


NETS = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    net = nn.Sequential()
    net.a, net.b = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()), nn.Conv2d(3, 4, 3, padding=1)
    net.a.register_forward_hook(lambda _module, _inputs, output: output * 3)
    return net
"""


def test_a_run_refuses_the_target_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The finding stands at the layer of the spec; a target behind it is sound."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"{number}.png")
    model = 'model python("nets.py:build", resize=12, crop=12)\n'
    with pytest.raises(InputError, match="other values at 'a'") as error:
        circuitlang.run(f"{model}preserve a:1 on *.png keep<=50%\n", allow_code=True)
    (finding,) = error.value.findings
    assert finding.code == "E308"
    assert finding.span is not None
    assert finding.span.text == "a"
    Path("deep.circuit").write_text(f"{model}preserve a:1 on *.png keep<=50%\npreserve b:1 on *.png keep<=50%\n")
    findings = pipeline.check_file(Path("deep.circuit"), Options(allow_code=True)).findings
    assert [(finding.code, finding.span.text if finding.span else "") for finding in findings] == [("E308", "a")]
    (circuit,) = circuitlang.run(f"{model}preserve b:1 on *.png keep<=50%\n", allow_code=True)
    assert circuit.masks["b"].any()
