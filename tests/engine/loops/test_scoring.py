"""Compiled loops against naive float64 sums, and against the same arithmetic in torch's operations."""

import sys

import pytest
import torch
from torch.nn import functional

from circuitlang.engine.attribution import effects as observe
from circuitlang.engine.attribution.scorer import score
from circuitlang.engine.circuits import covariance
from circuitlang.engine.circuits.builder import Builder
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.loops import backend, elimination, scoring
from circuitlang.plugins.protocols import LayerSignals
from tests.helpers.toy_networks import CASES, IDS, SIZE, Fixed, build, images

# Input and output channels, kernel, stride, dilation, groups, height and width of the input, share of the gradient
# that isn't zero.
SHAPES = [
    (16, 5, (3, 3), (1, 1), (1, 1), 1, 9, 11, 0.3),
    (3, 7, (7, 7), (2, 2), (1, 1), 1, 20, 21, 0.5),
    (20, 4, (5, 5), (1, 1), (2, 2), 1, 15, 14, 1.0),
    (12, 9, (1, 3), (2, 1), (1, 1), 3, 6, 7, 0.6),
    (9, 3, (3, 2), (1, 2), (2, 1), 1, 12, 10, 0.1),
    (9, 3, (3, 3), (1, 1), (1, 1), 1, 8, 8, 0.0),
    (8, 2, (3, 3), (1, 1), (1, 1), 1, 3, 3, 1.0),
    # Nine taps, whose loops are their own: strided and dilated, and in a line.
    (20, 4, (3, 3), (2, 1), (2, 3), 1, 15, 14, 0.5),
    (9, 3, (1, 9), (1, 2), (1, 1), 1, 7, 21, 0.5),
    (9, 3, (9, 1), (1, 1), (2, 1), 1, 20, 6, 0.5),
    # More channels than are gone through at once.
    (72, 2, (3, 3), (1, 1), (1, 1), 1, 26, 25, 0.3),
]


def observation(inner, out, kernel, stride, dilation, groups, height, width, share, number=3) -> LayerSignals:
    """A layer of these shapes with random traffic of some images, channels last as in a subnetwork."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(number, inner, height, width, generator=random).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(out, inner // groups, *kernel, generator=random).contiguous(memory_format=torch.channels_last)
    shape = functional.conv2d(x, weight, None, stride, 0, dilation, groups).shape
    gradient = torch.randn(shape, generator=random) * (torch.rand(shape, generator=random) < share)
    # As often one way round in memory as the other.
    gradient = gradient.contiguous(memory_format=torch.channels_last) if inner % 2 else gradient
    return LayerSignals(weight, x, gradient, stride, dilation, groups)


def naive(kernels: LayerSignals) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Flows [O, I / groups], and of each image the signed and absolute effects, place by place in float64."""
    out, inner, height, width = kernels.weight.shape
    weight, x, gradient = (each.double() for each in (kernels.weight, kernels.input, kernels.gradient))
    flows = torch.zeros(out, inner).double()
    products = torch.zeros(len(x), out, inner, height, width).double()
    for n in range(len(x)):
        for o in range(out):
            first = o // (out // kernels.groups) * inner
            for row in range(gradient.shape[2]):
                for column in range(gradient.shape[3]):
                    down = torch.arange(height) * kernels.dilation[0] + row * kernels.stride[0]
                    across = torch.arange(width) * kernels.dilation[1] + column * kernels.stride[1]
                    seen = x[n, first : first + inner][:, down][:, :, across]
                    g = gradient[n, o, row, column]
                    flows[o] += ((weight[o] * seen).sum((1, 2)) * g).abs()
                    products[n, o] += weight[o] * seen * g
    return flows, products.sum((-2, -1)), products.abs().sum((-2, -1))


@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (1, 2)])
def test_kernels_of_one_weight_are_strided_by_row_and_by_column(stride):
    kernels = observation(8, 6, (1, 1), stride, (1, 1), 2, 7, 9, 0.7)
    flows, signed, absolute = naive(kernels)
    torch.testing.assert_close(observe.effects(kernels).signed.double(), signed, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(observe.effects(kernels).absolute.double(), absolute, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(observe.flows(kernels).double(), flows, rtol=1e-4, atol=1e-4)


def test_groups_of_more_channels_than_positions_have_inputs_of_their_own(monkeypatch):
    monkeypatch.setattr(backend, "compiled", lambda _: None)
    kernels = observation(6, 40, (3, 3), (1, 1), (1, 1), 2, 4, 4, 0.7)
    _, signed, _ = naive(kernels)
    torch.testing.assert_close(observe.effects(kernels).signed.double(), signed, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_loops_find_what_float64_finds(shape, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    kernels = observation(*shape)
    assert scoring.suits(kernels)
    flows, signed, absolute = naive(kernels)
    found = torch.zeros_like(kernels.weight[..., 0, 0])
    effects = torch.zeros(2, len(kernels.input), *found.shape)
    for image in range(len(kernels.input)):
        for rows, traffic in scoring.groups(kernels, image):
            found[rows] += traffic.flows()
            effects[0, image, rows], effects[1, image, rows] = traffic.effects()
    torch.testing.assert_close(found.double(), flows, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(effects[0].double(), signed, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(effects[1].double(), absolute, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("compiled", [True, False])
def test_observed_with_and_without_loops(shape, compiled, monkeypatch):
    used = []
    monkeypatch.setattr(scoring, "groups", lambda *given, real=scoring.groups: used.append(given) or real(*given))
    if not compiled:
        monkeypatch.setattr(backend, "compiled", lambda _: None)
    kernels = observation(*shape)
    flows, signed, absolute = naive(kernels)
    torch.testing.assert_close(observe.flows(kernels).double(), flows, rtol=2e-5, atol=2e-5)
    effects = observe.effects(kernels)
    torch.testing.assert_close(effects.signed.double(), signed, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(effects.absolute.double(), absolute, rtol=2e-5, atol=2e-5)
    assert bool(used) == compiled


@pytest.mark.parametrize(("net", "path", "unit"), CASES, ids=IDS)
@pytest.mark.parametrize("criterion", ["snip", "actgrad", "taylor", "gn"])
def test_networks_score_alike_with_and_without_loops(net, path, unit, criterion, monkeypatch):
    module = build(net).float()

    def scores() -> dict[str, torch.Tensor]:
        graph = trace(module, (SIZE, SIZE))
        part = TargetSubnetwork(graph, Target(graph.find(path), (unit,)))
        return score(Builder(part, Fixed(images().float())), criterion, {}, 10, 0)

    compiled = scores()
    monkeypatch.setattr(backend, "compiled", lambda _: None)
    for name, plain in scores().items():
        torch.testing.assert_close(compiled[name], plain, rtol=1e-4, atol=1e-5 * float(plain.max()))


def test_what_loops_are_not_for():
    suiting = observation(*SHAPES[0])
    assert scoring.suits(suiting)
    kernels = observation(16, 4, (1, 1), (1, 1), (1, 1), 1, 5, 5, 0.5)
    assert not scoring.suits(kernels)
    kernels = observation(6, 6, (3, 3), (1, 1), (1, 1), 6, 8, 8, 0.5)
    assert not scoring.suits(kernels)
    double = (each.double() for each in (suiting.weight, suiting.input, suiting.gradient))
    assert not scoring.suits(LayerSignals(*double, (1, 1), (1, 1), 1))


@pytest.mark.parametrize(
    ("stride", "dilation"), [((1, 1), (1, 1)), ((1, 1), (2, 3)), ((2, 2), (1, 1)), ((2, 1), (1, 2)), ((1, 2), (1, 3))]
)
def test_window_sums(stride, dilation):
    kernels = observation(4, 3, (3, 3), stride, dilation, 1, 14, 15, 0.5)
    rows, columns = kernels.gradient.shape[2:]
    expected = torch.zeros(3, 3, 4).double()
    for i in range(3):
        for j in range(3):
            down = torch.arange(rows) * stride[0] + i * dilation[0]
            across = torch.arange(columns) * stride[1] + j * dilation[1]
            expected[i, j] = kernels.input.double()[:, :, down][..., across].sum((0, 2, 3))
    torch.testing.assert_close(observe.window_sums(kernels), expected)


def test_without_numba_there_are_no_loops(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "circuitlang.engine.loops.compilation", raising=False)
    for name in ("native", "sparse", "products"):
        monkeypatch.delitem(sys.modules, f"circuitlang.engine.{name}", raising=False)
        assert backend.compiled.__wrapped__(name) is None


@pytest.mark.parametrize(("rows", "n", "taps"), [(40, 7, 9), (3, 20, 9), (5, 6, 4), (9, 30, 1), (70, 2, 25), (2, 1, 9)])
@pytest.mark.parametrize("threads", [1, 3])
def test_kernels_are_removed_as_each_alone_would_be(rows, n, taps, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    random = torch.Generator().manual_seed(0)
    seen, weights, missing, constants = (
        torch.randn(size, generator=random).double() for size in ((50, n, taps), (rows, n, taps), (50, rows), (rows, n))
    )
    weights[0, 0] = 0
    constants[0, 0] = 0
    alive = torch.rand(rows, n, generator=random) < 0.8
    seen -= seen.mean(0)
    covariance = torch.einsum("pkt,pls->ktls", seen, seen) / 50
    outputs = torch.einsum("pkt,rkt->prk", seen, weights)
    lacking = torch.einsum("prk,pr->rk", outputs, missing) / 50
    found = elimination.costs(weights, covariance, constants, lacking, alive, 1.5)
    for row in range(rows):
        gram = outputs[:, row].T @ outputs[:, row] / 50 + constants[row][:, None] * constants[row]
        left, linear, last = alive[row].nonzero()[:, 0].tolist(), lacking[row].clone(), 1e-12 * float(gram.diag().max())
        left = [k for k in left if gram[k, k] > 0]
        expected = torch.zeros(n).double()
        while left:
            cost = {k: float(gram[k, k] + 2 * linear[k]) for k in left}
            gone = min(left, key=cost.__getitem__)
            expected[gone] = last = max(cost[gone], 1.5 * last)
            left.remove(gone)
            linear += gram[gone]
        torch.testing.assert_close(found[row], expected, rtol=1e-9, atol=1e-12)
    assert found[0, 0] == 0


def test_a_cost_that_is_no_number_ends_its_channel_alone():
    weights, covariance = torch.ones(2, 3, 1).double(), torch.eye(3).double().reshape(3, 1, 3, 1)
    weights[0] = float("nan")
    none = torch.zeros(2, 3).double()
    found = elimination.costs(weights, covariance, none, none, torch.ones(2, 3).bool(), 1.0)
    assert found.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_a_covariance_is_made_in_strips(monkeypatch):
    monkeypatch.setattr(covariance, "STRIP", 4)
    seen = torch.randn(30, 9, 3, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(covariance.covariance_of(seen), torch.einsum("pkt,pls->ktls", seen, seen) / 30)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(("n", "taps"), [(6, 9), (5, 1), (4, 25), (1, 4)])
def test_what_some_kernels_put_out_together(n, taps, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(backend, "compiled", lambda _: None)
    random = torch.Generator().manual_seed(0)
    seen, weights = torch.randn(40, n, taps, generator=random).double(), torch.randn(n, taps, generator=random).double()
    outputs = (seen * weights).sum(2)
    products = torch.einsum("pkt,pls->ktls", seen, seen)
    for kernels in (torch.arange(n), torch.arange(n)[1::2], torch.arange(0)):
        found = covariance.gram_of(weights[kernels], kernels, products)
        torch.testing.assert_close(found, outputs[:, kernels].T @ outputs[:, kernels])
