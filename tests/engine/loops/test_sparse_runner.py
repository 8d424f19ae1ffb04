"""A circuit run over its kept kernels alone computes what its module computes."""

import pytest
import torch
from torch import fx, nn
from torch.nn import functional

from circuitlang.engine.circuits.extraction.extractor import extract
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.loops import sparse_layers, sparse_runner
from circuitlang.engine.loops.simd import LANES
from circuitlang.plugins.protocols import Edit
from tests.helpers.toy_networks import CASES, CHANNEL_CASES, CHANNEL_IDS, IDS, SIZE, build, images


def circuit(net, path, unit, share):
    """A module of a random share of the kernels, in single precision."""
    graph = trace(build(net, torch.float32), (SIZE, SIZE))
    part = TargetSubnetwork(graph, Target(graph.find(path), (unit,)))
    random = torch.Generator().manual_seed(0)
    masks = {path: (torch.rand(mask.shape, generator=random) < share) & mask for path, mask in part.relevant.items()}
    return extract(part, {path: Edit(mask, torch.linspace(-0.1, 0.1, len(mask))) for path, mask in masks.items()})


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize(("net", "path", "unit"), [*CASES, *CHANNEL_CASES], ids=[*IDS, *CHANNEL_IDS])
def test_every_network(net, path, unit, share):
    module = circuit(net, path, unit, share)
    x = images(11, torch.float32)
    found = sparse_runner.Sparse(module)(x)
    torch.testing.assert_close(found, module(x), rtol=1e-4, atol=1e-5)
    assert found.is_contiguous()


# Input and output channels, kernel, stride, padding, dilation, height and width.
LAYERS = [
    (5, 4, 3, 1, 1, 1, 9, 13),
    (3, 6, 7, 2, 3, 1, 21, 20),
    (3, 2, 11, 4, 2, 1, 40, 33),
    (8, 3, 1, 1, 0, 1, 6, 17),
    (8, 3, 1, 2, 0, 1, 9, 9),
    (4, 4, (3, 1), (1, 3), (1, 0), 1, 7, 7),
    (6, 2, (2, 3), 1, (0, 2), (2, 1), 8, 5),
    (4, 3, 3, 1, 0, 1, 3, 3),
]


@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", LAYERS)
def test_layers(shape, rectified, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    inner, out, size, stride, padding, dilation, height, width = shape
    torch.manual_seed(0)
    layer = nn.Conv2d(inner, out, size, stride, padding, dilation).requires_grad_(False)
    layer.weight *= torch.rand(out, inner, 1, 1) < 0.5
    assert sparse_layers.is_supported(layer)
    x = torch.randn(LANES, inner, height, width)
    expected = layer.double()(x.double())
    expected = torch.relu(expected) if rectified else expected
    found = sparse_layers.SparseLayer(layer.float(), rectified)(sparse_layers.images_last(x))
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


# What a pool is given, and rows and columns of maps.
POOLS = [
    ((2,), {}, 8, 9),
    ((3, 2), {}, 13, 10),
    ((3, 2), {"ceil_mode": True}, 14, 12),
    ((3, 1, 1), {}, 6, 7),
    (((3, 2), (2, 1), (1, 0), (1, 2)), {}, 9, 8),
    ((), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}, 10, 11),
]


@pytest.mark.parametrize("function", [True, False], ids=["function", "module"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("given", "words", "rows", "columns"), POOLS)
def test_pools(given, words, rows, columns, threads, function, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = nn.MaxPool2d(*given, **words)

        def forward(self, x):
            return functional.max_pool2d(x, *given, **words) if function else self.pool(x)

    runner = sparse_runner.Runner(fx.symbolic_trace(Net()), sparse_layers.Channels())
    assert len(runner.pools) == 1
    x = torch.randn(LANES, 5, rows, columns)
    # What isn't a number, and nothing but what is infinitely little, are no different from torch's.
    x[0, 0, 2, 2], x[1] = torch.nan, -torch.inf
    found = runner.run_lanes(sparse_layers.images_last(x), None)
    assert torch.equal(found.nan_to_num(-7), Net()(x).nan_to_num(-7))


def test_a_pool_that_says_where_is_left_to_torch():
    both = nn.Sequential(nn.MaxPool2d(2, return_indices=True))
    assert not sparse_runner.Runner(fx.symbolic_trace(both), sparse_layers.Channels()).pools
    last = fx.symbolic_trace(lambda x: functional.max_pool2d(x, 2, 2, 0, 1, False, True))
    assert not sparse_runner.Runner(last, sparse_layers.Channels()).pools


class Striped(nn.Module):
    """A layer with what follows it: a ReLU and a pool, a pool of a pool, or something else that reads it too."""

    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.how = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 4, 3), how
        with torch.no_grad():
            self.first.weight[1, 0] = self.first.weight[4] = self.second.weight[:, 1::2] = 0

    def forward(self, x):
        y = functional.relu(self.first(x))
        z = functional.max_pool2d(y, 2)
        match self.how:
            case "pools":
                z = functional.max_pool2d(functional.max_pool2d(z, 3, 1, 1), 2, 1)
            case "read twice":
                z = z + functional.avg_pool2d(y, 2)
        return self.second(z)


@pytest.mark.parametrize("how", ["pool", "pools", "read twice"])
def test_channels_that_are_known_are_not_computed(how, monkeypatch):
    known, net, x = sparse_layers.Channels(), Striped(how).requires_grad_(False), torch.randn(11, 3, 20, 18)
    expected = net(x)
    rows = []
    call = sparse_layers.SparseLayer.__call__
    monkeypatch.setattr(
        sparse_layers.SparseLayer, "__call__", lambda self, maps: rows.append(len(self._bias)) or call(self, maps)
    )
    for called, computed in ((None, 6), ("a", 6), ("a", 2), ("b", 6), ("a", 2)):
        rows.clear()
        # Another circuit each time.
        found = sparse_runner.Sparse(fx.symbolic_trace(net), known)(x, called)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        # Eight images and three, of which the layer in between computes all.
        assert rows[::2] == [computed] * 2
    rows.clear()
    with torch.no_grad():
        net.first.weight[0, 1, 2, 2] += 1
        net.first.bias[2] += 1
    found = sparse_runner.Sparse(fx.symbolic_trace(net), known)(x, "a")
    torch.testing.assert_close(found, net(x), rtol=1e-4, atol=1e-5)
    assert rows[::2] == [4, 4]


def test_all_channels_may_be_known():
    net, known = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).requires_grad_(False), sparse_layers.Channels()
    runner, x = sparse_runner.Sparse(fx.symbolic_trace(net), known), torch.randn(8, 3, 9, 9)
    for _ in range(2):
        torch.testing.assert_close(runner(x, "a"), net(x), rtol=1e-4, atol=1e-5)


class Keywords(nn.Module):
    """Functions whose maps are given by name."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3)

    def forward(self, x):
        y = functional.relu(input=self.first(x))
        y = functional.max_pool2d(input=y, kernel_size=2)
        return self.second(torch.relu(input=functional.avg_pool2d(input=y, kernel_size=2, stride=1)))


def test_maps_that_are_given_by_name():
    graph = trace(Keywords().requires_grad_(False), (16, 16))
    part = TargetSubnetwork(graph, Target(graph.find("second"), (2,)))
    random = torch.Generator().manual_seed(0)
    masks = {path: (torch.rand(mask.shape, generator=random) < 0.5) & mask for path, mask in part.relevant.items()}
    module, x = extract(part, {path: Edit(mask) for path, mask in masks.items()}), torch.randn(11, 3, 16, 16)
    torch.testing.assert_close(
        sparse_runner.Sparse(module, sparse_layers.Channels())(x, "a"), module(x), rtol=1e-4, atol=1e-5
    )


def test_a_first_layer_may_have_no_kernel_left():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).requires_grad_(False)
    net[0].weight.zero_()
    x = torch.randn(8, 3, 9, 9)
    for called in (None, "a", "a"):
        torch.testing.assert_close(
            sparse_runner.Sparse(fx.symbolic_trace(net), sparse_layers.Channels())(x, called), net(x)
        )


def test_there_is_room_for_some_channels():
    known = sparse_layers.Channels(room=100)
    for number in range(3):
        known.keep("a", bytes([number]), torch.full((10,), float(number)))
    assert [None if each is None else float(each[0]) for each in known.of("a", [b"\0", None, b"\1", b"\2"])] == [
        0, None, 1, None,
    ]  # fmt: skip


def test_many_rows_at_once_or_one(monkeypatch):
    layer = nn.Conv2d(4, 5, 3, padding=1).requires_grad_(False)
    x = sparse_layers.images_last(torch.randn(LANES, 4, 12, 12))
    wanted = sparse_layers.SparseLayer(layer, False)(x)
    for cache in (0, 1000, 1 << 30):
        monkeypatch.setattr(sparse_layers, "CACHE", cache)
        assert torch.equal(sparse_layers.SparseLayer(layer, False)(x), wanted)


def test_what_is_left_to_torch():
    assert sparse_layers.is_supported(nn.Conv2d(3, 4, 3))  # few inputs
    plain = nn.Conv2d(8, 4, 3)
    assert not sparse_layers.is_supported(plain)  # nothing of it is removed
    with torch.no_grad():
        plain.weight[:2] = 0
    assert sparse_layers.is_supported(plain)
    assert not sparse_layers.is_supported(plain.double())
    for how in ({"groups": 2}, {"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}):
        other = nn.Conv2d(4, 4, 3, **how)
        nn.init.zeros_(other.weight)
        assert not sparse_layers.is_supported(other)


def test_nan_stays_and_no_images_are_no_maps():
    module = circuit(*CASES[5], 0.5)
    x = images(3, torch.float32)
    x[1] = torch.nan
    found = sparse_runner.Sparse(module)(x)
    assert found[1].isnan().any()
    torch.testing.assert_close(found, module(x), rtol=1e-4, atol=1e-5, equal_nan=True)
    assert sparse_runner.Sparse(module)(x[:0]).shape == module(x)[:0].shape


@pytest.mark.parametrize("width", [7, 8, 9, 10, 12])
def test_nothing_is_read_beyond_the_memory_of_maps(width):
    layer = sparse_layers.SparseLayer(nn.Conv2d(2, 1, 3).requires_grad_(False), False)
    laid = layer.padded(torch.zeros(2, 5, width, LANES))
    # From its last start in the last row a loop reads eight positions, each three columns wide.
    start = max(width - 2 - 8, 0)
    last = ((2 * 5 - 1) * width + start + 7 + 2) * LANES + LANES
    assert last <= laid.untyped_storage().nbytes() // 4


def test_channels_of_images_with_more_channels_are_told_apart_by_those_they_see():
    x, known = torch.randn(3, 6, 5, 5), sparse_layers.Channels()
    for seen in ((0, 1, 2), (3, 4, 5)):
        layer = nn.Conv2d(6, 1, 1, bias=False).requires_grad_(False)
        layer.weight.zero_()[:, seen] = 1
        graph = fx.Graph()
        graph.output(graph.call_module("layer", (graph.placeholder("image"),)))
        module = fx.GraphModule({"layer": layer}, graph)
        torch.testing.assert_close(sparse_runner.Sparse(module, known)(x, "x"), module(x))
