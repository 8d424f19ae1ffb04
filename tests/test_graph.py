"""What lies on a path, what a position sees, and that the user's model is left alone."""

import copy

import pytest
import torch
from torch import nn

from circuitlang.engine.graph import Graph
from circuitlang.engine.intervene import Section, Target
from circuitlang.engine.trace import trace
from circuitlang.errors import InputError
from tests.nets import (
    CASES, CHANNEL_CASES, CHANNEL_IDS, IDS, SIZE, Branches, Chain, Fixed, Groups, Residual, Shuffling, Again,
    build, images, layers,
    naive_trace,
)  # fmt: skip


def section(module: nn.Module, path: str, unit: int) -> Section:
    graph = trace(module, (SIZE, SIZE))
    return Section(graph, Target(graph.find(path), unit))


def positive(module: nn.Module) -> nn.Module:
    """The network with positive weights, no biases and plain norms: a gradient is zero only where there is no path."""
    module = copy.deepcopy(module)
    torch.manual_seed(5)
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            # All different, so that nothing cancels in a norm over channels.
            layer.weight.data.uniform_(0.2, 0.4)
            if layer.bias is not None:
                layer.bias.data.zero_()
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.reset_parameters()
    return module


def random_masks(module: nn.Module, share: float, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(layer.weight.shape[:2], generator=generator) < share for name, layer in layers(module).items()
    }


def reached(module, path, unit, masks=None):
    """Kernels through which a positive signal flows from image to target: kernels with a gradient."""
    module = positive(module)
    feature, twin, _ = naive_trace(module, path, unit, images(1).abs() + 0.1, masks)
    if not feature.requires_grad:
        return {name: torch.zeros(layer.weight.shape[:2], dtype=torch.bool) for name, layer in layers(module).items()}
    feature.sum().backward()
    found = {}
    for name, layer in layers(twin).items():
        gradient = torch.zeros_like(layer.weight) if layer.weight.grad is None else layer.weight.grad
        alive = gradient.reshape(*gradient.shape[:2], -1).abs().sum(-1) > 0
        found[name] = alive & masks[name] if masks else alive
    return found


@pytest.mark.parametrize(("net", "path", "unit"), [*CASES, *CHANNEL_CASES], ids=[*IDS, *CHANNEL_IDS])
def test_relevant_kernels_are_those_a_signal_flows_through(net, path, unit):
    module = build(net)
    part = section(module, path, unit)
    expected = reached(module, path, unit)
    for name, alive in expected.items():
        assert torch.equal(part.relevant.get(name, torch.zeros_like(alive)), alive), name


@pytest.mark.parametrize("seed", range(4))
# A dead channel is zero here only where nothing adds to it; in other networks a kernel may scale a constant.
@pytest.mark.parametrize(
    ("net", "path", "unit"), [*CASES, *(case for case in CHANNEL_CASES if case[0] in (Shuffling, Again))]
)
def test_effective_kernels_are_those_a_signal_flows_through_under_a_mask(net, path, unit, seed):
    module = build(net)
    part = section(module, path, unit)
    masks = random_masks(module, 0.4, seed)
    kept = {name: masks[name] & part.relevant[name] for name in part.relevant}
    live = part.graph.live(part.target.step.name, torch.tensor([unit]), kept)
    expected = reached(module, path, unit, masks)
    for name, alive in live.items():
        assert torch.equal(alive, expected[name] & kept[name]), name


@pytest.mark.parametrize(("net", "path", "unit"), [*CASES, *CHANNEL_CASES], ids=[*IDS, *CHANNEL_IDS])
def test_a_masked_section_computes_what_a_masked_copy_does(net, path, unit):
    module, x = build(net), images()
    part = section(module, path, unit)
    masks = random_masks(module, 0.5, 0)
    whole = part.feature(x)
    with part.masked({name: masks[name] for name in part.relevant}):
        masked = part.feature(x)
    expected = naive_trace(module, path, unit, x, {name: masks[name] for name in part.relevant})[0]
    torch.testing.assert_close(masked, expected.detach().reshape(masked.shape), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(part.feature(x), whole, rtol=0, atol=0)


# A border that wraps around has no single box.
@pytest.mark.parametrize(
    ("net", "path", "unit"), [case for case in [*CASES, *CHANNEL_CASES] if case[0] is not Residual]
)
def test_a_receptive_field_is_where_the_gradient_is(net, path, unit):
    module = positive(build(net))
    graph = trace(module, (SIZE, SIZE))
    x = (images(1).abs() + 0.1).requires_grad_()
    feature = naive_trace(module, path, unit, x)[0]
    feature = feature.reshape(1, *feature.shape[1:]) if feature.dim() == 3 else feature.reshape(1, 1, 1)
    height, width = feature.shape[1:]
    for row, column in {(0, 0), (height // 2, width // 2), (height - 1, width - 1)}:
        (gradient,) = torch.autograd.grad(feature[0, row, column], x, retain_graph=True)
        rows = gradient.abs().sum((0, 1, 3)).nonzero()[:, 0]
        columns = gradient.abs().sum((0, 1, 2)).nonzero()[:, 0]
        seen = rows.min().item(), columns.min().item(), rows.max().item() + 1, columns.max().item() + 1
        top, left, bottom, right = graph.receptive_field(graph.find(path).name, row, column) or (0, 0, SIZE, SIZE)
        clipped = max(top, 0), max(left, 0), min(bottom, SIZE), min(right, SIZE)
        # Dilated kernels and maxima see only some of the pixels of their box, never one outside.
        assert clipped[0] <= seen[0]
        assert clipped[1] <= seen[1]
        assert seen[2] <= clipped[2]
        assert seen[3] <= clipped[3]
        if path in ("conv1", "left", "depthwise"):
            assert clipped == seen


def test_feeders_name_every_layer_behind_an_input_channel():
    graph = trace(build(Residual), (SIZE, SIZE))
    names = [layer.path for layer in graph.layers]
    head = next(layer for layer in graph.layers if layer.path == "head")
    source, origin, channel = graph.feeders(head)
    pairs = {(i, names[o], c) for i, o, c in zip(source.tolist(), origin.tolist(), channel.tolist(), strict=True)}
    assert pairs == {(i, name, i) for i in range(4) for name in ("stem", "body")}
    graph = trace(build(Branches), (SIZE, SIZE))
    names = [layer.path for layer in graph.layers]
    source, origin, channel = graph.feeders(graph.layers[-1])
    pairs = {(i, names[o], c) for i, o, c in zip(source.tolist(), origin.tolist(), channel.tolist(), strict=True)}
    assert pairs == {(i, "left", i) for i in range(4)} | {(i, "right", i - 4) for i in range(4, 7)}
    graph = trace(build(Chain), (SIZE, SIZE))
    source, origin, channel = graph.feeders(graph.layers[2])
    assert [(c, i) for i, c in zip(source.tolist(), channel.tolist(), strict=True)] == [
        (number // 4, number) for number in range(20)
    ]
    assert graph.feeders(graph.layers[0])[1].tolist() == [-1, -1, -1]


def test_layers_are_called_by_their_order_unless_the_model_has_such_names():
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.Flatten(), nn.Linear(2 * 144, 4))
    graph = trace(module, (SIZE, SIZE))
    assert [(layer.name, layer.path) for layer in graph.layers] == [("conv1", "0"), ("conv2", "2"), ("fc1", "4")]
    assert graph.find("conv2") == graph.find("2")
    assert [layer.name for layer in trace(build(Chain), (SIZE, SIZE)).layers] == ["conv1", "conv2", "fc1", "fc2"]


def fingerprint(module: nn.Module):
    return [
        (
            name,
            each.training,
            getattr(each, "inplace", None),
            sorted(key for key in vars(each) if key != "_modules"),
            len(each._forward_hooks) + len(each._forward_pre_hooks) + len(each._backward_hooks),
            {
                key: (value.data_ptr(), value.clone(), value.requires_grad, value.grad)
                for key, value in each._parameters.items()
                if value is not None
            },
            {key: value.clone() for key, value in each._buffers.items() if value is not None},
            "forward" in vars(each),
        )
        for name, each in module.named_modules()
    ]


def same(one, other) -> bool:
    def equal(a, b):
        if isinstance(a, torch.Tensor):
            return isinstance(b, torch.Tensor) and torch.equal(a, b)
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
        if isinstance(a, (tuple, list)):
            return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
        return a == b

    return equal(one, other)


@pytest.mark.parametrize("net", [Chain, Branches, Residual, Groups])
@pytest.mark.parametrize("fails", [False, True])
def test_the_users_model_is_untouched_also_by_a_failed_run(net, fails):
    from circuitlang.engine.score import score

    module = build(net).train()
    path, unit = next((path, unit) for case, path, unit in reversed(CASES) if case is net)
    before = fingerprint(module)
    part = section(module, path, unit)
    if fails:
        with pytest.raises(RuntimeError):
            score(part, Fixed(torch.zeros(1, 2, SIZE, SIZE).double()), "force", {}, 5, 0)
    else:
        score(part, Fixed(images(2)), "force", {"steps": 2}, 5, 0)
        with part.masked(random_masks(module, 0.5, 0)):
            part.feature(images(2))
    assert same(fingerprint(module), before)


def test_the_check_for_an_untouched_model_can_fail():
    module = build(Chain)
    before = fingerprint(module)
    module.conv1.weight.data[0, 0, 0, 0] += 1
    assert not same(fingerprint(module), before)
    module = build(Chain)
    before = fingerprint(module)
    module.relu1.register_forward_hook(lambda *_: None)
    assert not same(fingerprint(module), before)


def test_a_mask_is_undone_when_the_block_fails():
    part = section(build(Chain), "conv2", 2)
    x = images(2)
    whole = part.feature(x)
    with pytest.raises(ZeroDivisionError), part.masked({name: ~mask for name, mask in part.relevant.items()}):
        _ = 1 / 0
    assert torch.equal(part.feature(x), whole)


class Unknown(nn.Module):
    """An operation whose channels aren't followed, in front of one target but not of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 1)
        self.mix = nn.GLU(2)
        self.conv2 = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.conv2(self.mix(self.conv1(x)))


def test_what_cannot_be_followed_is_refused_by_name():
    graph = trace(Unknown(), (SIZE, SIZE))
    assert isinstance(graph, Graph)
    assert graph.find("conv1").layer is not None
    with pytest.raises(InputError, match="mix, a GLU"):
        graph.find("conv2")


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.conv1(x) if x.sum() > 0 else x


def test_a_network_that_cannot_be_traced_is_refused():
    with pytest.raises(InputError, match="can't be traced"):
        trace(Branching(), (SIZE, SIZE))


def test_an_unknown_layer_is_answered_with_a_guess():
    with pytest.raises(InputError) as caught:
        trace(build(Chain), (SIZE, SIZE)).find("conv3")
    (finding,) = caught.value.findings
    assert finding.code == "E102"
    assert "conv1, conv2, fc1 and fc2" in finding.label
    assert "did you mean" in finding.help
