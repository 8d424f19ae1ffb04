"""Every operation that channels can be followed through can be read from the program that it was written into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import stochastic_depth

from circuitlang.base.diagnostics import InputError
from circuitlang.engine.circuits.extraction.extractor import extract
from circuitlang.engine.circuits.extraction.packing import pack
from circuitlang.engine.graph import channel_rules
from circuitlang.engine.graph.tracer import trace
from circuitlang.engine.programs.aten_import import network
from circuitlang.engine.programs.pt2_reader import read_program
from circuitlang.plugins.protocols import Edit
from tests.engine.circuits.test_extraction import random_masks, subnetwork
from tests.helpers.toy_networks import SIZE, images

Made = Callable[[SimpleNamespace, Tensor], Tensor] | nn.Module
CHANNELS = 6


class Net(nn.Module):
    """Two convolutions and something between them, which gets positive numbers."""

    def __init__(self, between: Made) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem, self.other = nn.Conv2d(3, CHANNELS, 3, padding=1), nn.Conv2d(3, CHANNELS, 1)
        self.weight = nn.Parameter(torch.rand(CHANNELS) + 0.5)
        self.register_buffer("mean", torch.randn(CHANNELS))
        self.register_buffer("order", torch.tensor([4, 1, 0, 5, 2, 3]))
        self.between = between if isinstance(between, nn.Module) else None
        self.function = None if isinstance(between, nn.Module) else between
        with torch.no_grad():
            shape = self.middle(torch.rand(2, 3, SIZE, SIZE)).shape
        self.head = nn.Conv2d(shape[1], 4, 1) if len(shape) == 4 else nn.Linear(shape[-1], 4)
        for each in self.modules():
            if isinstance(each, (nn.BatchNorm2d, nn.BatchNorm1d)):
                each.running_mean.normal_()
                each.running_var.uniform_(0.5, 2)
        self.eval()

    def middle(self, x: Tensor) -> Tensor:
        y = self.stem(x).sigmoid() + 0.5
        if self.function is None:
            return self.between(y)
        other = self.other(x).sigmoid() + 0.1
        words = {"weight": self.weight, "mean": self.mean, "order": self.order, "training": self.training}
        return self.function(SimpleNamespace(owner=self, y=other, **words), y)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(x))


def each_with(name: str, *arguments: Any, **words: Any) -> Made:
    """A method, or a function of torch, with some arguments."""
    if hasattr(Tensor, name):
        return lambda net, y: getattr(y, name)(*arguments, **words)
    function = getattr(torch, name, None) or getattr(F, name)
    return lambda net, y: function(y, *arguments, **words)


def in_place(name: str) -> Made:
    """An operator that writes into its left side."""

    def made(net: SimpleNamespace, y: Tensor) -> Tensor:
        y = y.clone()
        getattr(y, f"__{name}__")(net.y)
        return y

    return made


_BINARY = ("add", "sub", "mul", "div", "true_divide", "subtract", "multiply", "divide", "maximum", "minimum")
_UNARY = (
    "neg", "negative", "square", "sqrt", "rsqrt", "exp", "log", "abs", "sign", "sin", "cos", "erf", "relu", "relu6",
    "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "sigmoid", "tanh", "hardswish", "hardsigmoid",
    "hardtanh", "hardshrink", "softshrink", "tanhshrink", "softplus", "softsign", "logsigmoid", "contiguous", "clone",
    "detach", "float", "double", "half",
)  # fmt: skip
_MODULES = (
    nn.ReLU, nn.ReLU6, nn.RReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh,
    nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Hardshrink, nn.Softshrink, nn.Tanhshrink, nn.Softplus, nn.Softsign,
    nn.LogSigmoid, nn.Identity, nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Softmax2d,
)  # fmt: skip
_ONE_D: dict[Any, Callable[[], nn.Module]] = {
    nn.BatchNorm1d: lambda: nn.BatchNorm1d(CHANNELS),
    nn.InstanceNorm1d: lambda: nn.InstanceNorm1d(CHANNELS, affine=True),
}
# By the key of the rule, an operation that it is the rule of. What a rule has several forms of has several.
SAMPLES: dict[Any, Made | list[Made]] = {
    **{name: each_with(name) for name in _UNARY},
    **{name: (lambda net, y, name=name: getattr(torch, name)(y, net.y)) for name in _BINARY},
    **{kind: kind() for kind in _MODULES},
    **{kind: (lambda net, y, make=make: made_once(net, make)(y.flatten(2))[..., None])
       for kind, make in _ONE_D.items()},
    **{name: in_place(name) for name in ("iadd", "isub", "imul", "itruediv")},
    "add": [lambda net, y: y + net.y, lambda net, y: torch.add(y, net.y, alpha=2), lambda net, y: 1 + y],
    "sub": [lambda net, y: y - net.y, lambda net, y: 1 - y, lambda net, y: torch.sub(y, net.y, alpha=0.5)],
    "truediv": [lambda net, y: y / net.y, lambda net, y: 1 / y, lambda net, y: y / 3],
    "pow": [each_with("pow", 2.5), lambda net, y: y**net.y, lambda net, y: 2**y],
    "clamp": [each_with("clamp", 0.7, 0.9), each_with("clamp", max=0.8)],
    "clip": each_with("clip", 0.7, 0.9),
    "clamp_min": each_with("clamp_min", 0.8),
    "clamp_max": each_with("clamp_max", 0.8),
    "log_sigmoid": lambda net, y: F.logsigmoid(y),
    "threshold": lambda net, y: torch.threshold(y, 0.8, 0.1),
    "_threshold": lambda net, y: F.threshold(y, 0.8, 0.1),
    nn.Threshold: nn.Threshold(0.8, 0.1),
    "to": each_with("to", torch.float32),
    "type_as": lambda net, y: y.type_as(net.y),
    "float": each_with("float"),
    "double": lambda net, y: y.double().sqrt().float(),
    "half": lambda net, y: y.half().float(),
    nn.Flatten: nn.Flatten(),
    nn.Unflatten: nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Flatten(1, 2)),
    nn.ChannelShuffle: nn.ChannelShuffle(3),
    nn.PixelShuffle: lambda net, y: nn.PixelShuffle(2)(y[:, :4]),
    nn.PixelUnshuffle: nn.PixelUnshuffle(2),
    nn.ZeroPad2d: nn.ZeroPad2d((1, 2, 0, 1)),
    nn.ConstantPad2d: nn.ConstantPad2d((1, 2, 0, 1), 0.5),
    nn.ReflectionPad2d: nn.ReflectionPad2d((1, 2, 0, 1)),
    nn.ReplicationPad2d: nn.ReplicationPad2d((1, 2, 0, 1)),
    nn.CircularPad2d: nn.CircularPad2d((1, 2, 0, 1)),
    "getitem": [
        lambda net, y: y[:, 1:5:2],
        lambda net, y: y[:, [3, 0, 0]],
        lambda net, y: y[:, net.order],
        lambda net, y: y[:, 2].unsqueeze(1),
        lambda net, y: y[..., 1:],
    ],
    "chunk": lambda net, y: torch.cat([y.chunk(2, 1)[1], y.chunk(2, 1)[0]], 1),
    "split": lambda net, y: torch.cat([y.split(4, 1)[1], y.split(4, 1)[0]], 1),
    "split_with_sizes": lambda net, y: y.split_with_sizes([1, 3, 2], 1)[1],
    "tensor_split": [lambda net, y: y.tensor_split(4, 1)[1], lambda net, y: y.tensor_split([1, 4], 1)[1]],
    "unbind": lambda net, y: torch.stack(y.unbind(1)[::-1], 1),
    "view": lambda net, y: y.contiguous().view(y.shape[0], 3, 2, SIZE, SIZE).flatten(1, 2),
    "reshape": lambda net, y: y.reshape(y.shape[0], -1),
    "view_as": lambda net, y: y.flatten(2).view_as(net.y),
    "reshape_as": lambda net, y: y.flatten(2).reshape_as(net.y),
    "flatten": [lambda net, y: y.flatten(1), lambda net, y: torch.flatten(y, 2)[..., None]],
    "unflatten": lambda net, y: y.unflatten(1, (2, 3)).flatten(1, 2),
    "permute": lambda net, y: y.permute(0, 2, 3, 1).flatten(1, 2).mean(1),
    "transpose": lambda net, y: y.transpose(2, 3),
    "swapaxes": lambda net, y: y.swapaxes(1, 3).swapaxes(1, 3),
    "swapdims": lambda net, y: y.swapdims(1, 3).swapdims(1, 3),
    "movedim": lambda net, y: y.movedim(1, -1).movedim(3, 1),
    "moveaxis": lambda net, y: y.moveaxis((1, 2), (3, 1)).moveaxis(3, 1),
    "squeeze": lambda net, y: y.mean(3, keepdim=True).squeeze(3)[..., None],
    "unsqueeze": lambda net, y: y.unsqueeze(2)[:, :, 0],
    "expand": lambda net, y: y[:, :1].expand(-1, 4, -1, -1),
    "broadcast_to": lambda net, y: y[:, :1].broadcast_to(y.shape),
    "expand_as": lambda net, y: y.mean((2, 3), keepdim=True).expand_as(net.y),
    "stack": [lambda net, y: torch.stack([y, net.y], 2).flatten(1, 2),
              lambda net, y: torch.stack([y, y], 1).flatten(1, 2)],
    "narrow": lambda net, y: y.narrow(1, 1, 3),
    "select": lambda net, y: y.select(1, 2)[:, None],
    "index_select": lambda net, y: y.index_select(1, net.order),
    "flip": [each_with("flip", 1), each_with("flip", (2, 3))],
    "roll": [each_with("roll", 2, 1), each_with("roll", (1, 2), (2, 3))],
    "pad": [
        *(lambda net, y, mode=mode: F.pad(y, (1, 2, 0, 1), mode=mode) for mode in ("reflect", "replicate", "circular")),
        lambda net, y: F.pad(y, (0, 0, 0, 0, 1, 2), value=0.5),
    ],
    "repeat": lambda net, y: y[:, :3].repeat(1, 2, 1, 1),
    "repeat_interleave": lambda net, y: y[:, :3].repeat_interleave(2, 1),
    "tile": lambda net, y: y[:, :3].tile(1, 2, 1, 1),
    "channel_shuffle": lambda net, y: torch.channel_shuffle(y, 2),
    "pixel_shuffle": lambda net, y: F.pixel_shuffle(y[:, :4], 2),
    "pixel_unshuffle": lambda net, y: F.pixel_unshuffle(y, 2),
    "cat": [lambda net, y: torch.cat([y, net.y], 1), lambda net, y: torch.cat([y, net.y], 2)],
    "concat": lambda net, y: torch.concat([y, net.y], 1),
    "concatenate": lambda net, y: torch.concatenate([y, net.y], 1),
    nn.MaxPool2d: nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    F.max_pool2d: lambda net, y: F.max_pool2d(y, 2),
    torch.max_pool2d: lambda net, y: torch.max_pool2d(y, 2),
    nn.AvgPool2d: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    F.avg_pool2d: lambda net, y: F.avg_pool2d(y, 2),
    nn.LPPool2d: nn.LPPool2d(2, 2),
    F.lp_pool2d: lambda net, y: F.lp_pool2d(y, 3.0, 2),
    nn.AdaptiveAvgPool2d: nn.AdaptiveAvgPool2d(3),
    nn.AdaptiveMaxPool2d: nn.AdaptiveMaxPool2d(3),
    F.adaptive_avg_pool2d: lambda net, y: F.adaptive_avg_pool2d(y, (1, 2)),
    F.adaptive_max_pool2d: lambda net, y: F.adaptive_max_pool2d(y, 2),
    nn.Upsample: nn.Upsample(scale_factor=2),
    nn.UpsamplingNearest2d: nn.UpsamplingNearest2d(scale_factor=2),
    nn.UpsamplingBilinear2d: nn.UpsamplingBilinear2d(scale_factor=2),
    "interpolate": [
        *(lambda net, y, mode=mode: F.interpolate(y, scale_factor=1.5, mode=mode) for mode in ("nearest", "bilinear",
          "bicubic", "nearest-exact", "area")),
        lambda net, y: F.interpolate(y, (5, 7), mode="bilinear", align_corners=True),
    ],
    nn.BatchNorm2d: nn.BatchNorm2d(CHANNELS),
    "batch_norm": lambda net, y: F.batch_norm(y, net.mean, net.weight, net.weight, net.mean),
    nn.InstanceNorm2d: [nn.InstanceNorm2d(CHANNELS),
                        nn.InstanceNorm2d(CHANNELS, affine=True, track_running_stats=True)],
    "instance_norm": lambda net, y: F.instance_norm(y, weight=net.weight, bias=net.mean),
    nn.LayerNorm: [nn.LayerNorm([CHANNELS, SIZE, SIZE]), nn.LayerNorm(SIZE, elementwise_affine=False)],
    "layer_norm": lambda net, y: F.layer_norm(y.movedim(1, 3), (CHANNELS,), net.weight, net.mean).movedim(3, 1),
    nn.GroupNorm: [nn.GroupNorm(2, CHANNELS), nn.GroupNorm(3, CHANNELS, affine=False)],
    "group_norm": lambda net, y: F.group_norm(y, 3, net.weight, net.mean),
    nn.LocalResponseNorm: [nn.LocalResponseNorm(3, 0.5), nn.LocalResponseNorm(4)],
    "local_response_norm": lambda net, y: F.local_response_norm(y, 2, 0.3, 0.6, 1.5),
    nn.Softmax: nn.Softmax(1),
    nn.LogSoftmax: nn.LogSoftmax(3),
    nn.Softmin: nn.Softmin(1),
    "softmax": lambda net, y: y.softmax(1),
    "log_softmax": lambda net, y: F.log_softmax(y, 1),
    **{name: (lambda net, y, name=name: getattr(F, name)(y, 0.4, net.training))
       for name in ("dropout", "dropout2d", "alpha_dropout", "feature_alpha_dropout")},
    "stochastic_depth": lambda net, y: stochastic_depth(y, 0.4, "row", net.training),
    **{name: [each_with(name, (2, 3)), each_with(name, 1, keepdim=True), each_with(name, (2, 3), keepdim=True)]
       for name in ("mean", "sum", "amax", "amin", "std", "var")},
    nn.PReLU: [nn.PReLU(CHANNELS), nn.PReLU()],
    "prelu": lambda net, y: F.prelu(y - 1, net.weight),
    "normalize": [lambda net, y: F.normalize(y), lambda net, y: F.normalize(y, p=1, dim=2)],
    "linalg_vector_norm": lambda net, y: torch.linalg.vector_norm(y, 2, 1, keepdim=True),
    "norm": lambda net, y: y * y.norm(2, 1, keepdim=True),
    "max": lambda net, y: y * y.max(1, keepdim=True)[0],
    "min": lambda net, y: y - y.min(3, keepdim=True).values,
    "var_mean": lambda net, y: y * torch.var_mean(y, (2, 3), keepdim=True)[0],
    "where": lambda net, y: torch.where(y > 0.7, y, 0.1 * y),
    "gt": lambda net, y: torch.gt(y, 0.7) * y,
    "addcmul": lambda net, y: torch.addcmul(y, y, net.weight[:, None, None]),
    "cumsum": lambda net, y: y.cumsum(1),
    "arange": [lambda net, y: y * torch.arange(SIZE), lambda net, y: y[:, torch.arange(4, 0, -2)],
               lambda net, y: y + torch.arange(1, 1 + SIZE).float().sqrt()],
    "linspace": lambda net, y: y * torch.linspace(0.5, 1, SIZE),
    "standardised weights": lambda net, y: F.conv2d(y, standardised(net.owner.other.weight).repeat(1, 2, 1, 1)),
}  # fmt: skip


def standardised(weight: Tensor) -> Tensor:
    """A weight of mean zero and variance one, by a batch norm of its own statistics, as in NFNets and BiT."""
    return F.batch_norm(weight.reshape(1, len(weight), -1), None, None, training=True).reshape(weight.shape)


def made_once(net: SimpleNamespace, make: Callable[[], nn.Module]) -> nn.Module:
    """A module that belongs to a network, made when it is first used."""
    if not hasattr(net.owner, "late"):
        net.owner.late = make()
    return net.owner.late


def _name(key: Any) -> str:
    return str(getattr(key, "__name__", key))


CASES = [
    (f"{_name(key)}-{number}", made)
    for key, some in SAMPLES.items()
    for number, made in enumerate(some if isinstance(some, list) else [some])
]


def test_there_is_a_sample_of_every_rule() -> None:
    unknown = {key for key in channel_rules.RULES if key not in SAMPLES and _name(key) not in map(_name, SAMPLES)}
    assert not unknown, f"add samples: a program with these may not be readable: {unknown}"


# What `follow` moves numbers through in principle, and then finds no channels.
UNFOLLOWED = ()


def _quick() -> set[str]:
    """Return the names of one case of every channel rule, and of every fourth of the other cases."""
    rules = {_name(key): rule for key, rule in channel_rules.RULES.items()}
    first = {rules.get(name.rpartition("-")[0]): name for name, _ in reversed(CASES)}
    return {*first.values(), *(name for name, _ in CASES[::4])}


QUICK = _quick()
CASE = pytest.mark.parametrize(("name", "made"), CASES, ids=[name for name, _ in CASES])
# Each is cut out, written and read by `make test-slow`.
SOME = pytest.mark.parametrize(
    ("name", "made"),
    [pytest.param(*case, id=case[0], marks=() if case[0] in QUICK else pytest.mark.slow) for case in CASES],
)


def near(one: Tensor, other: Tensor, most: float = 1e-6) -> None:
    assert one.shape == other.shape
    assert float((one - other).abs().max()) <= most * float(other.abs().max())


@CASE
def test_what_torch_writes_can_be_read(name: str, made: Made, tmp_path: Path) -> None:
    net, x = Net(made), images(3, torch.float32)
    path = tmp_path / "net.pt2"
    with torch.no_grad():
        # For this number of images; what the next test reads is for any.
        program = torch.export.export(net, (x,))
        torch.export.save(program, path)
        read = network(read_program(path))
        near(read(x), net(x))
        near(read(x[:1]), net(x[:1]))


@SOME
def test_a_circuit_can_be_read_and_is_a_model_like_any_other(name: str, made: Made, tmp_path: Path) -> None:
    net, x = Net(made), images(3, torch.float32)
    if name in UNFOLLOWED:
        with pytest.raises(InputError, match="E308"):
            subnetwork(net, "head", 1)
        return
    part = subnetwork(net, "head", *range(4))
    edits = {path: Edit(mask) for path, mask in random_masks(part, 0.7, 1).items()}
    path = tmp_path / "module.pt2"
    path.write_bytes(pack(extract(part, edits), (3, SIZE, SIZE)))
    read = network(read_program(path))
    with part.edited(edits), torch.no_grad():
        near(read(x), torch.export.load(path).module()(x))
        near(read(x[:1]), torch.export.load(path).module()(x[:1]))
        near(read(x), part.maps(x), 1e-4)
    graph = trace(read, (SIZE, SIZE))
    assert [graph.find(layer.name).width for layer in graph.layers]
    assert graph.output().width == 4


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(3), nn.GroupNorm(1, 3)],
    ids=["convolution", "batch norm", "group norm"],
)
def test_a_program_whose_layers_were_taken_apart_is_refused_with_a_cure(layer: nn.Module, tmp_path: Path) -> None:
    program = torch.export.export(layer.eval(), (torch.zeros(1, 3, 8, 8),)).run_decompositions()
    torch.export.save(program, tmp_path / "apart.pt2")
    with pytest.raises(InputError) as caught:
        network(read_program(tmp_path / "apart.pt2"))
    assert "without run_decompositions()" in caught.value.findings[0].help
