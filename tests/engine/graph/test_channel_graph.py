"""What lies on a path, what a position sees, and that the user's model is left alone."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from circuitlang.base.diagnostics import InputError
from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_graph import Graph
from circuitlang.engine.graph.channel_origins import input_origins
from circuitlang.engine.graph.reachability import on_path, strongest_path
from circuitlang.engine.graph.receptive_field import aligned_crop, receptive_field
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from tests.engine.attribution.test_criteria import assert_scores, naive_snip
from tests.helpers.toy_networks import (
    CASES,
    CHANNEL_CASES,
    CHANNEL_IDS,
    IDS,
    SIZE,
    Again,
    Branches,
    Chain,
    ChannelsLast,
    Excited,
    Fixed,
    Groups,
    Residual,
    Shuffling,
    Sized,
    Standardised,
    build,
    images,
    layers,
    naive_trace,
)

NETS = (Chain, Branches, Residual, Groups, Excited, Shuffling, ChannelsLast, Again, Standardised, Sized)


def subnetwork(module: nn.Module, path: str, unit: int) -> TargetSubnetwork:
    graph = trace(module, (SIZE, SIZE))
    return TargetSubnetwork(graph, Target(graph.find(path), (unit,)))


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
    part = subnetwork(module, path, unit)
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
    part = subnetwork(module, path, unit)
    masks = random_masks(module, 0.4, seed)
    kept = {name: masks[name] & part.relevant[name] for name in part.relevant}
    live = on_path(part.graph, part.target.step.name, torch.tensor([unit]), kept)
    expected = reached(module, path, unit, masks)
    for name, alive in live.items():
        assert torch.equal(alive, expected[name] & kept[name]), name


@pytest.mark.parametrize(("net", "path", "unit"), [*CASES, *CHANNEL_CASES], ids=[*IDS, *CHANNEL_IDS])
def test_a_masked_subnetwork_computes_what_a_masked_copy_does(net, path, unit):
    module, x = build(net), images()
    part = subnetwork(module, path, unit)
    masks = random_masks(module, 0.5, 0)
    whole = part.feature(x)
    with part.edited({name: masks[name] for name in part.relevant}):
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
        top, left, bottom, right = receptive_field(graph, graph.find(path).name, row, column) or (0, 0, SIZE, SIZE)
        clipped = max(top, 0), max(left, 0), min(bottom, SIZE), min(right, SIZE)
        # Dilated kernels and maxima see only some of the pixels of their box, never one outside.
        assert clipped[0] <= seen[0]
        assert clipped[1] <= seen[1]
        assert seen[2] <= clipped[2]
        assert seen[3] <= clipped[3]
        if path in ("conv1", "left", "depthwise"):
            assert clipped == seen


@pytest.mark.parametrize(("net", "path"), [(Residual, "head"), (Branches, "head"), (Chain, "fc1")])
def test_every_kernel_of_a_strongest_path_is_on_a_path(net, path):
    part = subnetwork(build(net), path, 2)
    step, units = part.target.step.name, torch.tensor([2])
    random = torch.Generator().manual_seed(0)
    scores = {path: torch.rand(mask.shape, generator=random).double() for path, mask in part.relevant.items()}
    none = {path: torch.zeros_like(mask) for path, mask in part.relevant.items()}
    chosen = strongest_path(part.graph, step, units, scores, part.relevant, none)
    assert any(mask.any() for mask in chosen.values())
    connected = on_path(part.graph, step, units, chosen)
    assert all(torch.equal(connected[path], mask) for path, mask in chosen.items())
    # Through each kernel of the first layer, however weak it is.
    first = next(iter(none))
    for place in part.relevant[first].nonzero().tolist():
        through = {**none, first: torch.zeros_like(none[first])}
        through[first][tuple(place)] = True
        found = strongest_path(part.graph, step, units, scores, part.relevant, through)
        assert found[first][tuple(place)]


def test_the_receptive_field_of_a_dilated_pool_is_as_wide_as_its_holes():
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.MaxPool2d(2, 1, 0, dilation=3), nn.Conv2d(2, 2, 1)).eval()
    graph = trace(net, (SIZE, SIZE))
    assert receptive_field(graph, graph.find("2").name, 1, 2) == (1, 2, 5, 6)


@pytest.mark.parametrize(
    ("net", "path", "unit", "parts"),
    [
        (*case, case[0] in (Chain, Branches, Groups, Again))
        for case in [*CASES, *CHANNEL_CASES]
        if case[0] is not Residual
    ],
)
def test_a_position_comes_out_of_its_part_of_the_image_as_of_all_of_it(net, path, unit, parts):
    found = subnetwork(build(net), path, unit)
    x = images(2)
    whole = found.full_maps(x)
    seen = 0
    for row, column in np.ndindex(*whole.shape[2:]):
        if part := aligned_crop(found.graph, found.target.step.name, row, column):
            (top, left, bottom, right), (i, j) = part
            maps = found.full_maps(x[..., top:bottom, left:right])
            torch.testing.assert_close(maps[..., i, j], whole[..., row, column], rtol=1e-9, atol=1e-12)
            seen += (bottom - top) * (right - left) < SIZE * SIZE
    assert seen or not parts or path in ("fc1", "fc2")


def values(graph, x):
    """What every step of a graph computes."""
    found = {}

    class Keep(torch.fx.Interpreter):
        def run_node(self, n):
            value = super().run_node(n)
            # What gives back its input is told apart from it.
            found[n.name] = value.view_as(value) if isinstance(value, torch.Tensor) else value
            return found[n.name]

    Keep(graph.module).run(x)
    return {name: found[name] for name in graph.steps}


def reaches(graph, start):
    """Of each step [its channels, channels of the step `start`], which depend on which, link by link."""
    here = graph.steps[start].width
    found = {start: torch.eye(here, dtype=torch.bool)}
    for step in graph.steps.values():
        if step.name in found:
            continue
        rows = torch.zeros(step.width, here, dtype=torch.bool)
        for edge in step.edges:
            given = found.get(edge.node, torch.zeros(graph.steps[edge.node].width, here, dtype=torch.bool))
            if step.layer:
                for out, sources in enumerate(step.layer.input_channels().tolist()):
                    rows[out] |= given[sources].any(0)
            else:
                for one, other in zip(edge.source.tolist(), edge.target.tolist(), strict=True):
                    rows[other] |= given[one]
        for block in rows.split(step.width // step.blocks) if step.blocks else ():
            block[:] = block.any(0)
        found[step.name] = rows
    return found


@pytest.mark.parametrize("net", NETS)
def test_a_channel_depends_on_another_where_and_only_where_the_graph_says_so(net):
    graph = trace(positive(build(net)), (SIZE, SIZE))
    found = values(graph, (images(1).abs() + 0.1).requires_grad_())
    names = list(graph.steps)
    every = {name: reaches(graph, name) for name in names}
    for number, name in enumerate(names):
        step, output = graph.steps[name], found[name]
        assert output.shape[step.axis] == step.width
        assert tuple(output.shape[1:]) == step.shape
        assert step.positions == tuple(output.movedim(step.axis, 1).shape[2:])
        for channel in range(step.width):
            # Weighted, for a norm makes the plain sum constant.
            part = output.select(step.axis, channel)
            weights = torch.rand(part.shape, generator=torch.Generator().manual_seed(1), dtype=part.dtype)
            before = names[: number + 1]
            gradients = torch.autograd.grad(
                (part * weights).sum(), [found[each] for each in before], retain_graph=True, allow_unused=True
            )
            for each, gradient in zip(before, gradients, strict=True):
                width, axis = graph.steps[each].width, graph.steps[each].axis
                gradient = torch.zeros(1, width) if gradient is None else gradient.movedim(axis, 1)
                seen = gradient.transpose(0, 1).reshape(width, -1).abs().sum(1) > 0
                assert torch.equal(seen, every[each][name][channel]), (name, channel, each)


@pytest.mark.parametrize("net", NETS)
def test_copies_are_copies_and_what_is_flat_is_flat(net):
    graph = trace(build(net), (SIZE, SIZE))
    found = values(graph, images(3))
    # Each channel's positions in a row.
    rows = {name: value.movedim(graph.steps[name].axis, 1) for name, value in found.items()}
    rows = {name: value.reshape(*value.shape[:2], -1) for name, value in rows.items()}
    for name, step in graph.steps.items():
        if step.kind in ("cat", "copy"):
            fed = torch.zeros(step.width, dtype=torch.bool)
            for edge in step.edges:
                fed[edge.target] = True
                assert torch.equal(rows[name][:, edge.target], rows[edge.node][:, edge.source])
            assert (rows[name][:, ~fed] == rows[name][:1, ~fed]).all()
        if step.kind == "flat":
            (edge,) = step.edges
            count = rows[edge.node].shape[2]
            assert torch.equal(edge.source, torch.arange(step.width) // count)
            assert torch.equal(found[name], rows[edge.node].flatten(1))


# Of a layer that is used twice the uses are scored one by one, not the sum of their gradients.
@pytest.mark.parametrize(("net", "path", "unit"), [case for case in CHANNEL_CASES if case[0] not in (Again, Sized)])
def test_layers_are_observed_wherever_their_channels_lie(net, path, unit):
    module, x = build(net), images(3)
    part = subnetwork(module, path, unit)
    found = score(Builder(part, Fixed(x)), "snip", {}, 5, 0)
    assert_scores(found, naive_snip(module, path, unit, x), part.relevant)


class Doubled(nn.Conv2d):
    """A convolution of a kind of its own, which pads in its own way and is used at two strides."""

    def forward(self, x):
        x = nn.functional.conv2d(nn.functional.pad(x, (1, 1, 1, 1)), self.weight, self.bias, self.stride)
        return x.relu_()


def test_a_layer_of_a_kind_of_its_own_is_a_layer():
    module = nn.Sequential(Doubled(3, 4, 3), nn.Conv2d(4, 5, 1)).double()
    graph = trace(module, (SIZE, SIZE))
    assert [(layer.path, layer.kind, layer.size) for layer in graph.layers] == [
        ("0", "conv", (3, 3)),
        ("1", "conv", (1, 1)),
    ]
    assert receptive_field(graph, graph.find("1").name, 0, 0) == (-1, -1, 2, 2)
    part = subnetwork(module, "1", 2)
    torch.testing.assert_close(part.feature(images()), module(images())[:, 2:3].detach(), rtol=1e-12, atol=1e-12)
    layer = Doubled(3, 4, 3).double()
    graph = trace(Twice(layer), (SIZE, SIZE))
    with pytest.raises(InputError, match=r"through conv2d \(step .*its weight is used in another way elsewhere"):
        graph.find("head")


class Twice(nn.Module):
    """One weight at two strides, which is no single layer."""

    def __init__(self, layer) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Conv2d(8, 2, 1).double()

    def forward(self, x):
        one = self.layer(x)[:, :, ::2, ::2]
        return self.head(torch.cat([one, nn.functional.conv2d(x, self.layer.weight, None, 2, 1)], 1))


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_a_norm_over_neighbours_depends_on_those_that_it_sees(size):
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(3, 9, 1), nn.LocalResponseNorm(size, 1.0)).double().eval()
    part = subnetwork(net, "1", 4)
    channels = torch.rand(1, 9, 2, 2).double().requires_grad_()
    net[1](channels)[0, 4].sum().backward()
    seen = channels.grad[0].abs().sum((1, 2)) > 0
    assert int(seen.sum()) == size
    assert torch.equal(part.relevant["0"].any(1), seen)


def test_every_kind_of_step_is_there():
    kinds = {step.kind for net in NETS for step in trace(build(net), (SIZE, SIZE)).steps.values()}
    assert kinds == {"image", "layer", "each", "cat", "copy", "flat", "mix"}


@pytest.mark.parametrize("net", NETS)
def test_the_private_network_computes_what_the_users_does(net):
    module = build(net).eval()
    graph = trace(module, (SIZE, SIZE))
    # By way of torch.export sums may be taken in another order.
    tolerance = 1e-14 if net is Sized else 0
    with torch.no_grad():
        torch.testing.assert_close(graph.module(images(3)), module(images(3)), rtol=tolerance, atol=tolerance)


def test_a_layer_that_is_used_twice_is_one_layer_of_two_steps():
    graph = trace(build(Again), (SIZE, SIZE))
    assert [layer.path for layer in graph.layers] == ["stem", "twice", "called", "head"]
    twice = graph.layers[1]
    _, second = graph.uses(twice)
    assert graph.find("twice") == second
    assert twice.node == second.name
    # Of its second use one row of its group; of its first, the two that this row reads.
    live = on_path(graph, second.name, torch.tensor([3]))["twice"]
    assert live.tolist() == [[False, False], [False, False], [True, True], [True, True]]
    source, origin, channel = input_origins(graph, twice)
    pairs = sorted(zip(source.tolist(), origin.tolist(), channel.tolist(), strict=True))
    assert pairs == [(number, origin, number) for number in range(4) for origin in (0, 1)]


def test_feeders_name_every_layer_behind_an_input_channel():
    graph = trace(build(Residual), (SIZE, SIZE))
    names = [layer.path for layer in graph.layers]
    head = next(layer for layer in graph.layers if layer.path == "head")
    source, origin, channel = input_origins(graph, head)
    pairs = {(i, names[o], c) for i, o, c in zip(source.tolist(), origin.tolist(), channel.tolist(), strict=True)}
    assert pairs == {(i, name, i) for i in range(4) for name in ("stem", "body")}
    graph = trace(build(Branches), (SIZE, SIZE))
    names = [layer.path for layer in graph.layers]
    source, origin, channel = input_origins(graph, graph.layers[-1])
    pairs = {(i, names[o], c) for i, o, c in zip(source.tolist(), origin.tolist(), channel.tolist(), strict=True)}
    assert pairs == {(i, "left", i) for i in range(4)} | {(i, "right", i - 4) for i in range(4, 7)}
    graph = trace(build(Chain), (SIZE, SIZE))
    source, origin, channel = input_origins(graph, graph.layers[2])
    assert [(c, i) for i, c in zip(source.tolist(), channel.tolist(), strict=True)] == [
        (number // 4, number) for number in range(20)
    ]
    assert input_origins(graph, graph.layers[0])[1].tolist() == [-1, -1, -1]


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


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("fails", [False, True])
def test_the_users_model_is_untouched_also_by_a_failed_run(net, fails):
    module = build(net).train()
    path, unit = next((path, unit) for case, path, unit in reversed([*CASES, *CHANNEL_CASES]) if case is net)
    before = fingerprint(module)
    part = subnetwork(module, path, unit)
    if fails:
        with pytest.raises(RuntimeError):
            score(Builder(part, Fixed(torch.zeros(1, 2, SIZE, SIZE).double())), "force", {}, 5, 0)
    else:
        score(Builder(part, Fixed(images(2))), "force", {"steps": 2}, 5, 0)
        with part.edited(random_masks(module, 0.5, 0)):
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
    part = subnetwork(build(Chain), "conv2", 2)
    x = images(2)
    whole = part.feature(x)
    with pytest.raises(ZeroDivisionError), part.edited({name: ~mask for name, mask in part.relevant.items()}):
        _ = 1 / 0
    assert torch.equal(part.feature(x), whole)


class Then(nn.Module):
    """One operation between two convolutions."""

    def __init__(self, what) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 1)
        self.what = what
        self.conv2 = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.conv2(self.what(self.conv1(x)))


def looked_at(x):
    half = x[:, :2]
    x.relu_()
    return torch.cat([half, half], 1)


class Fresh(nn.Module):
    """Norms and functions that are not what they are in a trained network."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x):
        return self.norm(x)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (nn.GLU(2), ""),
        (nn.ConvTranspose2d(4, 4, 1), ""),
        (nn.PixelShuffle(1), ""),
        (Fresh(), "what.norm, a BatchNorm2d: it normalises by the batch"),
        (nn.functional.dropout, r"dropout \(step 'dropout'\): it drops at random"),
        (lambda x: x + x.mean(0, keepdim=True), r"mean \(step 'mean'\): it mixes images"),
        (lambda x: x + x.flip(0), r"flip \(step 'flip'\) mixes images"),
        (lambda x: x / x.flatten(1).T.softmax(0).T.cumsum(0).view(x.shape), r"cumsum \(step 'cumsum'\) mixes images"),
        (lambda x: x @ torch.rand_like(x), r"rand_like \(step 'rand_like'\) mixes images, or is random"),
        (lambda x: torch.einsum("nchw,cd->ndhw", x, torch.eye(4)), ""),
        (lambda x: x.softmax(1), ""),
        (lambda x: x * x.max().item(), "max"),
        (lambda x: x * x.transpose(1, 2)[:, :4].softmax(3).mean(2, keepdim=True), ""),
        (lambda x: x.permute(0, 2, 3, 1).flatten(1)[:, :4, None, None], ""),
        (looked_at, "it reads what relu_ wrote into"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(what, words):
    if not words:
        assert trace(Then(what), (SIZE, SIZE)).find("conv2").layer
        return
    graph = trace(Then(what), (SIZE, SIZE))
    assert isinstance(graph, Graph)
    assert graph.find("conv1").layer is not None
    assert graph.widths()["conv2"] == 4
    with pytest.raises(InputError, match=words):
        graph.find("conv2")


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.conv1(x) if x.sum() > 0 else x


def written(x):
    x[:, 0] = 0
    return x


@pytest.mark.parametrize(
    ("net", "reasons"),
    [
        (Branching(), ["used as inputs to control flow", "torch.export: Could not guard on data-dependent expression"]),
        (Then(written), ["does not support item assignment", "torch.export: the program can't be followed through"]),
    ],
)
def test_a_network_that_cannot_be_traced_is_refused_with_the_reasons_of_both_ways(net, reasons):
    with pytest.raises(InputError) as caught:
        trace(net, (SIZE, SIZE))
    (finding,) = caught.value.findings
    assert finding.code == "E308"
    assert reasons[0] in finding.message
    assert reasons[1] in finding.label


def test_an_unknown_layer_is_answered_with_a_guess():
    with pytest.raises(InputError) as caught:
        trace(build(Chain), (SIZE, SIZE)).find("conv3")
    (finding,) = caught.value.findings
    assert finding.code == "E102"
    assert "conv1, conv2, fc1 and fc2" in finding.label
    assert "did you mean" in finding.help


@pytest.mark.parametrize("named", [True, False])
def test_a_view_that_is_given_its_arguments_by_name_is_cut_out(named):
    """As in programs, whose operators are called by names."""
    graph = trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(400, 5)).double(), (SIZE, SIZE))
    (flat,) = (node for node in graph.module.graph.nodes if node.target == "1")
    size = [-1, 400]
    flat.op, flat.target = "call_function", torch.ops.aten.view.default
    flat.args, flat.kwargs = ((), {"self": flat.args[0], "size": size}) if named else ((flat.args[0], size), {})
    part = TargetSubnetwork(graph, Target(graph.find("2"), (1,)))
    expected = graph.module.get_submodule("2")(graph.module.get_submodule("0")(images()).flatten(1))
    torch.testing.assert_close(part.feature(images())[:, 0, 0, 0], expected[:, 1])
