"""Every family of convolutional networks in torchvision: read, run, scored, and left as it was.

The table of `docs/networks.md` is what is found here; `pytest tests/engine/graph/test_networks.py --update-golden`
renews it.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.selection import budget, count, select
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_nodes import Layer
from circuitlang.engine.graph.reachability import on_path
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.plan.model import Sparsity
from tests.helpers.toy_networks import Fixed

PAGE = Path(__file__).resolve().parents[3] / "docs" / "networks.md"
# The smallest images, about, that a network takes without its maps becoming single pixels too soon.
FAMILIES = {
    "alexnet": 64,
    "vgg11": 32,
    "vgg11_bn": 32,
    "squeezenet1_0": 48,
    "squeezenet1_1": 48,
    "resnet18": 48,
    "resnet50": 33,
    "resnext50_32x4d": 33,
    "wide_resnet50_2": 33,
    "densenet121": 32,
    "googlenet": 48,
    "inception_v3": 96,
    "mobilenet_v2": 48,
    "mobilenet_v3_small": 48,
    "shufflenet_v2_x0_5": 48,
    "shufflenet_v2_x1_0": 48,
    "mnasnet0_5": 48,
    "efficientnet_b0": 33,
    "efficientnet_v2_s": 33,
    "regnet_x_400mf": 33,
    "regnet_y_400mf": 33,
    "convnext_tiny": 33,
}
UNIT = 1
SPARSITY = 0.05


def build(name: str) -> nn.Module:
    """A network of a family with random weights, drawn fast, and the input transform where it has one."""
    arguments: dict[str, object] = {"weights": None}
    if name in ("googlenet", "inception_v3"):
        arguments |= {"init_weights": False, "transform_input": True}
    # On no device values aren't drawn twice; but the widths of a regnet are computed by tensors.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        model = getattr(models, name)(**arguments)
    model = (model if name.startswith("regnet") else model.to_empty(device="cpu")).eval()
    torch.manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            bound = (4 / parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 0.2
            parameter.uniform_(-bound, bound)
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
                module.weight.uniform_(0.5, 1.5)
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.num_batches_tracked.zero_()
        for word, parameter in model.named_parameters():
            if word.endswith("layer_scale"):
                parameter.uniform_(0.5, 1)
    return model


@dataclass(frozen=True)
class Case:
    """A network, images for it, and a target two thirds of the way down."""

    name: str
    model: nn.Module
    images: Tensor
    graph: Graph

    @property
    def layer(self) -> Layer:
        return self.graph.layers[len(self.graph.layers) * 2 // 3]

    @cached_property
    def subnetwork(self) -> TargetSubnetwork:
        return TargetSubnetwork(self.graph, Target(self.graph.find(self.layer.path), (UNIT,)))

    def activation(self, model: nn.Module) -> Tensor:
        """The target's map by a hook on its module, and a run of the whole network."""
        seen: list[Tensor] = []
        # What follows may write into it.
        handle = model.get_submodule(self.layer.path).register_forward_hook(
            lambda *given: seen.append(given[2].clone())
        )
        with torch.no_grad():
            model(self.images)
        handle.remove()
        output = seen[-1]
        return output[..., UNIT] if self.layer.kind == "linear" else output[:, UNIT]

    @property
    def row(self) -> str:
        """What the page says of the network."""
        words = {"cat": "concatenation", "copy": "copies", "flat": "flattening", "mix": "mixing"}
        steps = self.graph.ancestors(self.subnetwork.target.step.name)
        found = {words[step.kind] for step in steps if step.kind in words}
        if any(step.kind == "each" and len(step.edges) > 1 for step in steps):
            found.add("sums or products")
        if any(layer.groups > 1 for layer in self.subnetwork.layers):
            found.add("groups")
        if self.subnetwork.target.step.axis != 1:
            found.add("channels last")
        relevant = f"{count(self.subnetwork.relevant):,}"
        way = ", ".join(sorted(found)) or "–"
        return f"| {self.name} | {len(self.graph.layers)} | {self.layer.name} | {relevant} | {way} |"


# One of each kind of wiring is read by `make test`, the others in CI.
QUICK = ("squeezenet1_0", "resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "convnext_tiny")


@pytest.fixture(
    scope="module",
    params=[pytest.param(family, marks=() if family in QUICK else pytest.mark.slow) for family in FAMILIES],
)
def case(request: pytest.FixtureRequest) -> Case:
    model, size = build(request.param), FAMILIES[request.param]
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(3))
    return Case(request.param, model, images, trace(model, (size, size)))


def state(model: nn.Module) -> dict[str, tuple]:
    """Of every parameter and buffer its place, its version and a sum of its bits; of every module what hangs on it."""
    found: dict[str, tuple] = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        bits = tensor.detach().reshape(-1).view(torch.int32).sum().item()
        gradient = tensor.grad is not None
        found[name] = tensor.data_ptr(), tensor._version, bits, tensor.requires_grad, gradient
    for name, module in model.named_modules():
        hooks = [len(hooks) for key, hooks in vars(module).items() if key.endswith("_hooks")]
        found[f"{name}()"] = module.training, hooks, getattr(module, "inplace", None), sorted(vars(module))
    return found


def test_every_step_is_followed_and_the_numbers_are_the_models_own(case: Case) -> None:
    for node in case.graph.module.graph.nodes:
        assert node.op == "output" or "followed" in node.meta or node.name in case.graph.steps, node.name
    with torch.no_grad():
        assert torch.equal(case.graph.module(case.images), case.model(case.images))


def test_every_layer_that_runs_is_found(case: Case) -> None:
    run = []
    layers = {path: each for path, each in case.model.named_modules() if isinstance(each, (nn.Conv2d, nn.Linear))}
    handles = [
        each.register_forward_hook(lambda *_, path=path: run.append(path))
        for path, each in layers.items()
    ]  # fmt: skip
    with torch.no_grad():
        case.model(case.images)
    for handle in handles:
        handle.remove()
    assert [layer.path for layer in case.graph.layers] == list(dict.fromkeys(run))


def test_the_feature_is_the_models_own_activation(case: Case) -> None:
    expected = case.activation(case.model)
    found = case.subnetwork.feature(case.images)
    assert expected.std() > 0
    torch.testing.assert_close(found, expected.reshape(found.shape), rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_kernels_that_are_not_relevant_do_not_matter_and_the_others_do(case: Case) -> None:
    """All that aren't are changed at once; then a few of those that are, in each of some layers."""
    expected = case.activation(case.model)
    twin = copy.deepcopy(case.model)
    changed = 0
    with torch.no_grad():
        for layer in case.graph.layers:
            weight = twin.get_submodule(layer.path).weight
            relevant = case.subnetwork.relevant.get(layer.path)
            if relevant is None:
                weight.zero_()
                changed += 1
            else:
                weight[~relevant] += 1
                changed += int((~relevant).sum())
    assert changed
    assert torch.equal(case.activation(twin), expected)
    generator = torch.Generator().manual_seed(5)
    for layer in case.subnetwork.layers[:: max(1, len(case.subnetwork.layers) // 3)]:
        weight = twin.get_submodule(layer.path).weight
        kernels = case.subnetwork.relevant[layer.path].nonzero()
        some = kernels[torch.randperm(len(kernels), generator=generator)[:50]]
        before = weight.detach().clone()
        with torch.no_grad():
            weight[some[:, 0], some[:, 1]] += 5
        assert not torch.equal(case.activation(twin), expected), layer.name
        with torch.no_grad():
            weight.copy_(before)


def test_it_is_scored_to_an_exact_budget_and_left_as_it_was(case: Case) -> None:
    before = state(case.model)
    size = tuple(case.images.shape[2:])
    graph = trace(case.model, (size[0], size[1]))
    subnetwork = TargetSubnetwork(graph, Target(graph.find(case.layer.path), (UNIT,)))
    k = budget(Sparsity(SPARSITY), count(subnetwork.relevant))
    scores = score(Builder(subnetwork, Fixed(case.images)), "actgrad", {}, k, 0)
    assert all(each.isfinite().all() for each in scores.values())
    masks = select(scores, subnetwork.relevant, k)
    assert count(masks) == k > 0
    with subnetwork.edited(masks):
        assert subnetwork.feature(case.images).isfinite().all()
    effective = on_path(graph, subnetwork.target.step.name, torch.tensor([UNIT]), masks)
    assert all((effective[path] <= masks[path]).all() for path in masks)
    assert state(case.model) == before


def test_the_page_says_so(case: Case, request: pytest.FixtureRequest) -> None:
    page = PAGE.read_text(encoding="utf-8")
    line = re.search(rf"^\| {case.name} \|.*$", page, re.MULTILINE)
    assert line, case.name
    if request.config.getoption("--update-golden"):
        PAGE.write_text(page.replace(line[0], case.row), encoding="utf-8")
    else:
        assert line[0] == case.row


def test_the_page_names_these_families_and_no_others() -> None:
    rows = re.findall(r"^\| (\w+) \| *\d", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == list(FAMILIES)
