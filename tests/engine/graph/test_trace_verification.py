"""The traced network is the network that was given: it computes the same, or is refused; the module stays as it is."""

from __future__ import annotations

import random
import time
import types
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from circuitlang.base.diagnostics import InputError
from circuitlang.engine.graph.module_runs import ModuleRuns
from circuitlang.engine.graph.output_difference import TOLERANCE, difference
from circuitlang.engine.graph.trace_verification import as_batch, verified
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.models import sandbox

SIZE = 12
CALLS = {"number": 0}


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(7))


def seeded(build):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


class Net(nn.Module):
    """Two layers and something between them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)

    def between(self, y: Tensor) -> Tensor:
        return y

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.between(torch.relu(self.a(x))))


def between(function, **attributes):
    """The net with a function between its layers."""

    def build():
        net = seeded(type("Between", (Net,), {"between": function}))
        for name, value in attributes.items():
            net.register_buffer(name, value.clone()) if isinstance(value, Tensor) else setattr(net, name, value)
        return net

    return build


def snapshot(net: nn.Module):
    """All of a module that a user can see, to the bit."""
    tensors = {name: (id(each), each.clone()) for name, each in [*net.named_parameters(), *net.named_buffers()]}
    plain = {
        (path, name): repr(value)
        for path, each in net.named_modules()
        for name, value in vars(each).items()
        if not isinstance(value, Tensor) and name not in ("_parameters", "_buffers", "_modules")
    }
    return tensors, plain


def assert_untouched(net: nn.Module, before) -> None:
    tensors, plain = snapshot(net)
    assert plain == before[1]
    assert tensors.keys() == before[0].keys()
    for name, (identity, tensor) in tensors.items():
        assert identity == before[0][name][0]
        assert torch.equal(tensor, before[0][name][1]) or tensor.isnan().any()


def naive(net: nn.Module, x: Tensor) -> Tensor:
    """What the user's own call gives, in evaluation mode."""
    net.eval()
    with torch.no_grad():
        found = net(x)
    return found if isinstance(found, Tensor) else found[0]


def check(build):
    """Read a network, which must be right and leave the module as it is; gives its graph."""
    net = build()
    before = snapshot(net)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    network = verified(net, (SIZE, SIZE), images())
    assert network.doubt is None, network.doubt
    assert_untouched(net, before)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    for count in (1, 3, 4):
        x = images(5)[-count:]
        with torch.no_grad():
            found = network.graph.module(x)
        found = found if isinstance(found, Tensor) else found[0]
        assert difference(found, naive(build(), x)) <= TOLERANCE
    return network.graph


def refused(build) -> str:
    """What is said of a network that is refused, which leaves the module as it is."""
    net = build()
    before = snapshot(net)
    try:
        network = verified(net, (SIZE, SIZE), images())
    except InputError as error:
        finding = error.findings[0]
    else:
        assert network.doubt is not None
        finding = network.doubt.finding
        if "b" in network.graph.steps:
            assert network.doubt.about(network.graph.steps["b"], network.graph.module) == finding
    assert_untouched(net, before)
    assert finding.code == "E308"
    return f"{finding.message}: {finding.label}"


# Arguments with defaults.


def with_forward(forward):
    return lambda: seeded(type("Own", (Net,), {"forward": forward, "usual": Net.forward}))


def labelled(self, x, labels=None):
    return self.usual(x) if labels is None else self.b(self.a(x * 2))


def scaled(self, x, scale=1.5, *, bias=0.5):
    return self.usual(x * scale + bias)


def masked(self, x, mask=None, **kwargs):
    return self.usual(x if mask is None else x * mask) * len({**kwargs, "one": 1})


def several(self, *inputs):
    (x,) = inputs
    return self.usual(x) * len(inputs)


def keyword(self, x, *, masked=True, temperature=2.0):
    return self.usual(x) / temperature if masked else self.a(x)


@pytest.mark.parametrize("forward", [labelled, scaled, masked, several, keyword])
def test_arguments_have_their_defaults(forward):
    graph = check(with_forward(forward))
    assert [layer.path for layer in graph.layers] == ["a", "b"]


def test_a_required_argument_is_named():
    assert "missing 1 required positional argument: 'mask'" in refused(with_forward(lambda self, x, mask: x))


# Hooks, replaced methods, wrappers.


def hooked(register):
    def made():
        net = Net()
        register(net)
        return net

    return lambda: seeded(made)


SEEN: list[float] = []


def clamped(module, _inputs):
    module.weight.data.clamp_(-0.1, 0.1)


HOOKS = {
    "output": lambda net: net.a.register_forward_hook(lambda m, i, o: o * 2),
    "input": lambda net: net.b.register_forward_pre_hook(lambda m, i: (i[0].flip(1),)),
    "root": lambda net: net.register_forward_hook(lambda m, i, o: o[:, :2] + i[0][:, :1]),
    "root input": lambda net: net.register_forward_pre_hook(lambda m, i: (i[0] - 1,)),
    "keywords": lambda net: net.a.register_forward_hook(lambda m, i, k, o: -o, with_kwargs=True),
    "two": lambda net: [net.a.register_forward_hook(lambda m, i, o, f=f: o * f) for f in (2.0, -1.0)],
    "values": lambda net: net.a.register_forward_hook(lambda m, i, o: SEEN.append(float(o.mean()))),
    "numpy": lambda net: net.a.register_forward_hook(lambda m, i, o: SEEN.append(o.detach().numpy().sum())),
    "weights": lambda net: net.a.register_forward_pre_hook(clamped),
}


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_are_part_of_the_network(name):
    graph = check(hooked(HOOKS[name]))
    assert [layer.path for layer in graph.layers] == ["a", "b"]


def test_hooks_of_norms_and_pools_are_part_of_the_network():
    def build():
        net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Conv2d(4, 2, 1)))
        net[1].register_forward_hook(lambda m, i, o: o + 1)
        net[2].register_forward_pre_hook(lambda m, i: (-i[0],))
        return net

    check(build)


def test_hooks_for_all_modules_are_refused():
    handle = nn.modules.module.register_module_forward_hook(lambda m, i, o: o)
    try:
        with pytest.raises(InputError, match="hooks are registered for all modules"):
            trace(seeded(Net), (SIZE, SIZE))
    finally:
        handle.remove()


def replaced_method(net):
    net.forward = types.MethodType(lambda self, x: self.b(self.a(x)) * 3, net)


def replaced_around(net):
    old = net.forward
    net.forward = lambda x: old(x).relu() - old(x + 1)


def replaced_layer(net):
    net.a.forward = lambda x: F.conv2d(x, net.a.weight * 2, net.a.bias, padding=1)


def replaced_inner(net):
    def convolve(self, x, weight, bias):
        return F.conv2d(x, weight.abs(), bias, padding=1)

    net.a._conv_forward = types.MethodType(convolve, net.a)


@pytest.mark.parametrize("patch", [replaced_method, replaced_around, replaced_layer, replaced_inner])
def test_replaced_methods_are_part_of_the_network(patch):
    check(hooked(patch))


def test_a_replaced_method_that_uses_the_module_itself_leaves_its_statistics_alone():
    def build():
        net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)))
        old = net.forward
        net.forward = lambda x: old(x) * 2
        return net.train()

    check(build)


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda net: nn.Sequential(nn.DataParallel(net)), torch.compile])
def test_wrappers_are_seen_through(wrap):
    net = seeded(Net)
    network = verified(wrap(net), (SIZE, SIZE), images())
    assert network.doubt is None
    assert difference(network.graph.module(images()), naive(net, images())) == 0
    assert len(network.graph.layers) == 2


def test_a_compiled_call_is_seen_through():
    net = seeded(Net)
    net.compile()
    assert verified(net, (SIZE, SIZE), images()).doubt is None


def test_a_module_of_torch_jit_is_refused_by_its_path():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = nn.Sequential(seeded(Net), torch.jit.script(nn.Conv2d(4, 4, 1)))
    with pytest.raises(InputError, match=r"'1' in it is a module of torch\.jit"):
        verified(net, (SIZE, SIZE), images())


# What tracing sees and a call does not.


def by_type(self, y):
    return -y if isinstance(y, torch.fx.Proxy) else y


def by_tracing(self, y):
    return y * 2 if torch.fx._symbolic_trace.is_fx_tracing() else y


def by_exact_type(self, y):
    return y if type(y) is Tensor else y.flip(1)


def test_a_test_of_types_is_answered_as_in_a_call():
    check(between(by_type))


@pytest.mark.parametrize("function", [by_exact_type, by_tracing])
def test_a_network_that_answers_every_placeholder_otherwise_is_refused(function):
    said = refused(between(function))
    assert "does not compute what the network computes" in said
    assert "first at 'b'" in said


def test_a_replaced_forward_is_named_as_the_suspect():
    def patch(net):
        net.b.forward = lambda x: F.conv2d(x if type(x) is Tensor else x + 1, net.b.weight, net.b.bias, padding=1)

    assert "the forward method of b was replaced" in refused(hooked(patch))


def test_a_branch_by_values_is_refused_at_its_line():
    said = refused(between(lambda self, y: y if y.mean() > 1e9 else -y))
    assert "test_trace_verification.py" in said
    assert "y.mean()" in said


def by_training(self, y):
    return y * 100 if self.training else y


def by_size(self, y):
    return y if y.shape[-1] == SIZE else y * 0


@pytest.mark.parametrize("function", [by_training, by_size])
def test_branches_that_are_the_same_for_all_images_are_followed(function):
    check(between(function))


def by_number(self, y):
    return y * 2 if y.shape[0] == 1 else y


def by_the_whole_batch(self, y):
    return y - y.mean(0, keepdim=True)


def by_neighbour(self, y):
    return y + y.flip(0)


def by_running_batch(self, y):
    return F.batch_norm(y, None, None, training=True)


@pytest.mark.parametrize("function", [by_number, by_the_whole_batch, by_neighbour, by_running_batch])
def test_answers_that_depend_on_the_batch_are_refused(function):
    said = refused(between(function))
    assert "batch" in said or "the same images other outputs" in said
    assert "first at 'b'" in said


def test_a_norm_without_statistics_is_refused():
    said = refused(
        lambda: seeded(lambda: nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Conv2d(3, 4, 3)))
    )
    assert "depends on the other images of its batch" in said
    assert "first at '0'" in said


# Random numbers, counts, time.

RANDOM = {
    "randn": lambda self, y: y + torch.randn(1, 6, 1, 1),
    "rand_like": lambda self, y: y + torch.rand_like(y),
    "new": lambda self, y: y + y.new_empty(y.shape).normal_(),
    "bernoulli": lambda self, y: y * torch.bernoulli(torch.full((1, 6, 1, 1), 0.5)),
    "gumbel": lambda self, y: y * F.gumbel_softmax(torch.zeros(6), dim=0).view(1, 6, 1, 1),
    "dropout": lambda self, y: F.dropout(y),
    "permutation": lambda self, y: y[:, torch.randperm(6)],
    "small": lambda self, y: y * (1 + 0.01 * torch.randn(())),
    "normal": lambda self, y: y + torch.normal(0.0, 1.0, (1, 6, 1, 1)),
    "weights": lambda self, y: F.conv2d(y, torch.randn(6, 6, 1, 1)),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_of_torch_are_refused(name):
    said = refused(between(RANDOM[name]))
    assert "draws random numbers in evaluation mode" in said
    assert "scores would differ from run to run" in said
    assert "first at 'b' (torch)" in said


@pytest.mark.parametrize(
    ("function", "name"),
    [(lambda self, y: y * random.random(), "random"), (lambda self, y: y * np.random.rand(), "numpy.random")],
)
def test_random_numbers_of_others_are_refused(function, name):
    assert f"first at 'b' ({name})" in refused(between(function))


def test_a_generator_that_is_made_anew_each_time_is_followed():
    check(between(lambda self, y: y + torch.randn(1, 6, 1, 1, generator=torch.Generator().manual_seed(3))))


def counting_outside(self, y):
    CALLS["number"] += 1
    return y * CALLS["number"]


def own_generator(self, y):
    return y * self.numbers.random()


def counting(self, y):
    self.steps += 1
    return y * self.steps


def counting_in_a_buffer(self, y):
    self.count += 1
    return y * self.count


def remembering(self, y):
    if not hasattr(self, "kept"):
        self.kept = y.mean((1, 2, 3), keepdim=True)
    return y * self.kept


def counting_in_a_list(self, y):
    self.calls.append(1)
    return y * len(self.calls)


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (between(counting, steps=0), "steps"),
        (between(counting_in_a_buffer, count=torch.zeros(())), "count"),
        (between(counting_in_a_list, calls=[]), "calls"),
    ],
)
def test_counts_of_calls_are_refused_by_name(build, names):
    said = refused(build)
    assert "the same images other outputs" in said
    assert f"each call changes its {names}" in said


@pytest.mark.parametrize(
    "build",
    [
        between(own_generator, numbers=np.random.default_rng(0)),
        between(remembering),
        between(lambda self, y: y * (time.perf_counter_ns() % 1000)),
        between(counting_outside),
        between(lambda self, y: y * 2 if torch.is_grad_enabled() else y),
    ],
)
def test_what_lies_outside_or_is_kept_is_refused(build):
    assert "the same images other outputs" in refused(build)


def counted_only(self, y):
    self.steps += 1
    self.seen += 1
    self.kept = y
    return y


def test_what_has_no_effect_may_be_counted_and_kept():
    check(between(counted_only, steps=0, seen=torch.zeros(())))


def test_a_target_in_front_of_random_numbers_may_be_used():
    net = between(RANDOM["randn"])()
    network = verified(net, (SIZE, SIZE), images())
    assert network.doubt is not None
    one, other = (network.graph.find(name) for name in ("conv1", "conv2"))
    assert network.doubt.about(one, network.graph.module) is None
    assert network.doubt.about(other, network.graph.module) is network.doubt.finding


# Weights that are computed.


class Standard(nn.Conv2d):
    def value(self):
        weight = self.weight.double() if self.weight.dtype == torch.float64 else self.weight
        return (weight - weight.mean((1, 2, 3), keepdim=True)) / (weight.std((1, 2, 3), keepdim=True) + 1e-5)

    def forward(self, x):
        return self._conv_forward(x, self.value(), self.bias)


class Masked(nn.Conv2d):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer("mask", (torch.rand(self.weight.shape) < 0.5).float())

    def value(self):
        return self.weight * self.mask

    def forward(self, x):
        return F.conv2d(x, self.value(), self.bias, self.stride, self.padding)


class Equalised(nn.Module):
    """Has no convolution but its function."""

    def __init__(self):
        super().__init__()
        self.raw, self.padding = nn.Parameter(torch.randn(6, 6, 3, 3)), 1
        self.offset = nn.Parameter(torch.randn(6))

    def value(self):
        return self.raw * (2 / self.raw[0].numel()) ** 0.5

    def forward(self, x):
        return F.conv2d(x, self.value(), self.offset * 0.1, padding=self.padding)


class Ternary(nn.Conv2d):
    """Decides by its values, in a loop, through NumPy."""

    def value(self):
        weight = self.weight.detach().clone()
        if weight.abs().max() > 0:
            weight = weight / weight.abs().max().item()
        for row in range(len(weight)):
            weight[row] = torch.from_numpy(np.sign(weight[row].numpy()))
        return weight

    def forward(self, x):
        return F.conv2d(x, weight=self.value(), bias=self.bias, padding=1)


class MaxNorm(nn.Conv2d):
    """Renormalises its weight in place at each call."""

    def value(self):
        return torch.renorm(self.weight.data, 2, 0, 0.5)

    def forward(self, x):
        self.weight.data = self.value()
        return super().forward(x)


@pytest.mark.parametrize("kind", [Standard, Masked, Equalised, Ternary, MaxNorm])
def test_weights_that_forward_methods_compute_are_layers_of_that_weight(kind):
    def build():
        inner = (lambda: kind(6, 6, 3, padding=1)) if kind is not Equalised else kind
        return seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), inner(), nn.ReLU(), nn.Conv2d(6, 4, 3)))

    graph = check(build)
    assert [layer.path for layer in graph.layers] == ["0", "2", "4"]
    with torch.no_grad():
        wanted = build().double()[2].value()
    torch.testing.assert_close(graph.kernels["2"].double(), wanted, rtol=1e-5, atol=1e-6)
    assert graph.find("2").name == graph.find("conv2").name


def pruned(net):
    prune.l1_unstructured(net.a, "weight", 0.5)
    prune.random_unstructured(net.a, "bias", 1)
    prune.ln_structured(net.b, "weight", 0.5, n=1, dim=0)


class Doubled(nn.Module):
    def forward(self, weight):
        return weight * 2


REPARAMETRISED = {
    "pruned": pruned,
    "weight_norm": lambda net: weight_norm(net.a),
    "spectral_norm": lambda net: spectral_norm(net.b),
    "parametrized weight_norm": lambda net: parametrizations.weight_norm(net.a),
    "parametrized spectral_norm": lambda net: parametrizations.spectral_norm(net.b),
    "orthogonal": lambda net: parametrizations.orthogonal(net.a),
    "own": lambda net: parametrize.register_parametrization(net.a, "weight", Doubled()),
    "two": lambda net: [parametrize.register_parametrization(net.b, "weight", Doubled()) for _ in range(2)],
    "bias": lambda net: parametrize.register_parametrization(net.a, "bias", Doubled()),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("name", REPARAMETRISED)
def test_reparametrised_weights_are_layers_at_their_paths(name):
    build = hooked(REPARAMETRISED[name])
    graph = check(build)
    assert [layer.path for layer in graph.layers] == ["a", "b"]
    net = build().eval()
    naive(net, images())
    for path in ("a", "b"):
        torch.testing.assert_close(graph.kernels[path], net.get_submodule(path).weight.detach(), rtol=0, atol=1e-6)


class Dynamic(nn.Module):
    """A convolution whose weight is computed from the image."""

    def __init__(self):
        super().__init__()
        self.first, self.weight = nn.Conv2d(3, 6, 3), nn.Parameter(torch.randn(4, 6, 3, 3))

    def forward(self, x):
        y = self.first(x)
        return F.conv2d(y, self.weight * y.mean())


def test_a_weight_that_is_computed_from_the_image_is_refused_as_such():
    with pytest.raises(InputError, match="its weight is computed from the image"):
        trace(seeded(Dynamic), (SIZE, SIZE)).find("conv2d")


class Recurrent(nn.Module):
    """One standardised layer, used three times, with a norm of its own each time."""

    def __init__(self):
        super().__init__()
        self.stem, self.layer = nn.Conv2d(3, 6, 3), Standard(6, 6, 3, padding=1)
        for number in range(3):
            setattr(self, f"norm{number}", nn.BatchNorm2d(6))

    def forward(self, x):
        x = self.stem(x)
        for number in range(3):
            x = torch.relu(getattr(self, f"norm{number}")(self.layer(x)) + x)
        return x


def test_a_computed_layer_that_is_used_again_is_one_layer():
    graph = check(lambda: seeded(Recurrent))
    assert [layer.path for layer in graph.layers] == ["stem", "layer"]
    assert len(graph.uses(graph.layers[1])) == 3


class Tied(nn.Module):
    """A weight of one module, used by another with another stride."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.b(F.conv2d(self.a(x), self.a.weight, stride=2))


def test_a_weight_that_is_used_in_two_ways_is_refused_as_such():
    with pytest.raises(InputError, match="its weight is used in another way elsewhere"):
        trace(seeded(Tied), (SIZE, SIZE)).find("b")


# Norms, and layers that are made at their first call.


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3)
        for name in ("weight", "bias", "mean", "var"):
            self.register_buffer(name, torch.rand(6) + 0.5)

    def forward(self, x):
        scale = self.weight.reshape(1, -1, 1, 1) * (self.var.reshape(1, -1, 1, 1) + 1e-5).rsqrt()
        return self.b(self.a(x) * scale + (self.bias.reshape(1, -1, 1, 1) - self.mean.reshape(1, -1, 1, 1) * scale))


class Named(nn.BatchNorm2d):
    """A norm of one's own that computes what torch's does."""


def of_norm(norm):
    def build():
        made = norm()
        with torch.no_grad():
            for name in ("running_mean", "running_var"):
                if getattr(made, name, None) is not None:
                    getattr(made, name).uniform_(0.5, 2)
        return nn.Sequential(nn.Conv2d(3, 6, 3), made, nn.ReLU(), nn.Conv2d(6, 4, 3))

    return lambda: seeded(build)


def frozen_of_torchvision():
    from torchvision.ops import FrozenBatchNorm2d

    return FrozenBatchNorm2d(6)


@pytest.mark.parametrize(
    "build",
    [
        lambda: seeded(Frozen),
        of_norm(frozen_of_torchvision),
        of_norm(lambda: nn.SyncBatchNorm(6)),
        of_norm(lambda: nn.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm2d(6))),
        of_norm(lambda: nn.BatchNorm2d(6, affine=False)),
        of_norm(lambda: nn.InstanceNorm2d(6, affine=True)),
        of_norm(lambda: nn.InstanceNorm2d(6, track_running_stats=True)),
        of_norm(
            lambda: type("Named", (nn.BatchNorm2d,), {"__init__": lambda self: nn.BatchNorm2d.__init__(self, 6)})()
        ),
    ],
)
def test_norms_are_followed(build):
    graph = check(build)
    assert graph.find("conv2").layer is graph.layers[1]


# The parts of the comparison.


def test_a_difference_is_a_share_of_the_largest_value_of_a_channel():
    wanted = torch.zeros(2, 2, 1)
    wanted[:, 0], wanted[:, 1] = 1000.0, 10.0
    found = wanted.clone()
    found[1, 1] += 1.0
    assert difference(found, wanted) == pytest.approx(0.1)
    assert difference(wanted, wanted.clone()) == 0.0
    # A channel that is a rounding error of others may be any.
    wanted[:, 1] = 0.0
    found = wanted.clone()
    found[:, 1] = 1e-6
    assert difference(found, wanted) < TOLERANCE
    found[:, 1] = 1e-2
    assert difference(found, wanted) > TOLERANCE


def slightly_by_number(self, y):
    return y * (1 + 5e-4 * (y.shape[0] == 1))


def enlarged(self, y):
    # As rounding is for another number of images, and a thousand times that behind the sine.
    return torch.sin(1000 * y * (1 + 1e-6 * (y.shape[0] == 1)))


def test_a_network_that_enlarges_rounding_may_differ_by_more():
    assert "depends on the other images" in refused(between(slightly_by_number))
    runs = ModuleRuns(between(enlarged)(), images())
    assert runs.plain.tolerance > 2 * TOLERANCE
    assert verified(between(enlarged)(), (SIZE, SIZE), images()).doubt is None


def test_what_is_no_number_is_alike_in_both_or_not_at_all():
    one = torch.tensor([[1.0, float("nan")], [float("inf"), 2.0]])
    assert difference(one.clone(), one) == 0.0
    for other in (torch.nan_to_num(one), torch.full_like(one, float("nan")), one[:1]):
        assert difference(other, one) == float("inf") or difference(other, one) > TOLERANCE
        assert difference(one, other) == float("inf") or difference(one, other) > TOLERANCE


def test_an_image_that_is_alone_has_its_mirror_image_beside_it():
    one = images(1)
    assert as_batch([]) is None
    assert torch.equal(as_batch([one]), torch.cat([one, one.flip(-1)]))
    assert torch.equal(as_batch([one, one + 1]), torch.cat([one, one + 1]))


def test_a_copy_is_the_modules_equal_and_shares_nothing_with_it():
    net = hooked(pruned)()
    net.lock = __import__("threading").Lock()
    net.handle = net.a.register_forward_hook(lambda m, i, o: o)
    copy = sandbox.private_copy(net)
    assert copy.lock is net.lock
    storages = {each.data_ptr() for each in (*net.parameters(), *net.buffers())}
    assert not storages & {each.data_ptr() for each in (*copy.parameters(), *copy.buffers())}
    assert difference(naive(copy, images()), naive(net, images())) == 0


def test_tracing_shares_the_weights_and_not_what_is_written_into():
    net = seeded(Net)
    shared = {each.data_ptr() for each in trace(net, (SIZE, SIZE)).module.parameters()}
    assert shared == {each.data_ptr() for each in net.parameters()}
