"""What planted networks are made of: images of bars, sketches of networks, and plain PyTorch to prove circuits.

All weights and pixels are whole numbers, norms scale by powers of two, and sums are exact, so that nil is nil.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# A layer's path, an output and an input channel.
Kernel = tuple[str, int, int]
Circuit = frozenset[Kernel]
Taps = NDArray[np.int64]

SIDE = 16
RED, GREEN, BLUE = range(3)
# Blue is the same in every pixel of every picture, and so is all that is made of it alone.
LIGHT = 2
ANGLES = (0, 45, 90, 135)
LINE = {
    0: ((-1, -1, -1), (2, 2, 2), (-1, -1, -1)),
    45: ((-1, -1, 2), (-1, 2, -1), (2, -1, -1)),
    90: ((-1, 2, -1), (-1, 2, -1), (-1, 2, -1)),
    135: ((2, -1, -1), (-1, 2, -1), (-1, -1, 2)),
}
# Two lines make a crossing where together they are stronger than this.
THRESHOLD = 60
# The feature is this channel of the last layer.
UNIT = 1
# Maps that correlate as well as this are the same, nearly.
ALIKE = 0.99
# No sum or difference of two lines is less than minus this, so that with it as a bias no channel is ever rectified.
CARRIER = 40
# A line seen in one colour through one weight of 3 is never more than this.
ONE_LINE = 54


def pictures(number: int, seed: int, colours: Sequence[int] = (RED, GREEN)) -> Tensor:
    """Bars of four orientations, one or two pixels wide, each of one of the colours, float64 [number, 3, 16, 16]."""
    random = np.random.default_rng(seed)
    down, across = np.mgrid[:SIDE, :SIDE]
    found = np.zeros((number, 3, SIDE, SIDE))
    found[:, BLUE] = LIGHT
    for picture in found:
        for _ in range(6):
            angle = np.deg2rad(random.choice(ANGLES))
            y, x = random.integers(SIDE, size=2)
            distance = np.abs((across - x) * np.sin(angle) + (down - y) * np.cos(angle))
            bar = (distance < random.choice((0.5, 1.0))) * random.integers(1, 4)
            colour = random.choice(colours)
            picture[colour] = np.maximum(picture[colour], bar)
    return torch.from_numpy(found)


class Net(nn.Module):
    """Detectors of lines, what they are combined to, and what is decided from that."""

    def __init__(self, detectors: int, combinations: int) -> None:
        super().__init__()
        self.detect = nn.Conv2d(3, detectors, 3)
        self.combine = nn.Conv2d(detectors, combinations, 3)
        self.decide = nn.Conv2d(combinations, UNIT + 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, 2, 10, 10] of images [N, 3, 16, 16]."""
        decision: Tensor = self.decide(torch.relu(self.combine(torch.relu(self.detect(x)))))
        return decision


class ResidualNet(nn.Module):
    """A residual block with norms: lines are a stream, crossings are added to it, the last layer reads it."""

    def __init__(self, detectors: int, combinations: int) -> None:
        super().__init__()
        self.detect = nn.Conv2d(3, detectors, 3)
        self.detect_norm = nn.BatchNorm2d(detectors, eps=0)
        self.combine = nn.Conv2d(detectors, combinations, 3, padding=1)
        self.combine_norm = nn.BatchNorm2d(combinations, eps=0)
        self.write = nn.Conv2d(combinations, detectors, 3, padding=1)
        self.decide = nn.Conv2d(detectors, UNIT + 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, 2, 12, 12] of images [N, 3, 16, 16]."""
        stream = torch.relu(self.detect_norm(self.detect(x)))
        added = self.write(torch.relu(self.combine_norm(self.combine(stream))))
        decision: Tensor = self.decide(torch.relu(stream + added))
        return decision


# The layers of each network: the layer whose channels each one reads, and the one whose places its own channels have.
WIRES: Mapping[type[Net | ResidualNet], Mapping[str, tuple[str, str]]] = {
    Net: {"detect": ("", "detect"), "combine": ("detect", "combine"), "decide": ("combine", "decide")},
    ResidualNet: {
        "detect": ("", "detect"),
        "combine": ("detect", "combine"),
        "write": ("combine", "detect"),
        "decide": ("detect", "decide"),
    },
}


@dataclass
class _Channel:
    """A channel in the making: its bias, and its kernels by the channel they read."""

    bias: int = 0
    kernels: dict[int, Taps] = field(default_factory=dict)


class Sketch:
    """A network in the making, whose channels are numbered as they come; `module` shuffles them."""

    def __init__(self, seed: int, net: type[Net | ResidualNet] = Net) -> None:
        self.random = np.random.default_rng(seed)
        self.net = net
        self.channels: dict[str, list[_Channel]] = {layer: [] for layer in WIRES[net]}
        self.channels["decide"] = [_Channel(), _Channel()]

    @property
    def target(self) -> dict[int, Taps]:
        """The kernels of the feature's own channel."""
        return self.channels["decide"][UNIT].kernels

    def add(self, layer: str, kernels: Mapping[int, Taps], bias: int = 0) -> int:
        """A new channel of a layer."""
        self.channels[layer].append(_Channel(bias, dict(kernels)))
        return len(self.channels[layer]) - 1

    def taps(self, low: int, high: int) -> Taps:
        """A kernel of whole numbers, both ends included."""
        return self.random.integers(low, high, size=(3, 3), endpoint=True)

    def module(self) -> tuple[nn.Module, Callable[[Circuit], Circuit]]:
        """The network in float64, and what its kernels are called there."""
        wires = WIRES[self.net]
        sizes = {layer: len(channels) for layer, channels in self.channels.items()}
        # Pixels and features keep their places: whoever breaks ties by number must not find the planted first.
        place = {"": np.arange(3), "decide": np.arange(sizes["decide"])}
        for layer in ("detect", "combine"):
            place[layer] = self.random.permutation(sizes[layer])
        module = self.net(sizes["detect"], sizes["combine"]).double().requires_grad_(False)
        for layer, channels in self.channels.items():
            before, own = (place[name] for name in wires[layer])
            convolution, norm = (dict(module.named_modules()).get(name) for name in (layer, f"{layer}_norm"))
            assert isinstance(convolution, nn.Conv2d)
            assert convolution.bias is not None
            convolution.weight.zero_()
            convolution.bias.zero_()
            for number, channel in enumerate(channels):
                convolution.bias[own[number]] = channel.bias
                for source, taps in channel.kernels.items():
                    convolution.weight[own[number], before[source]] = torch.from_numpy(taps).double()
            if isinstance(norm, nn.BatchNorm2d):
                self._normalise(convolution, norm)

        def called(kernels: Circuit) -> Circuit:
            return frozenset(
                (layer, int(place[wires[layer][1]][o]), int(place[wires[layer][0]][i])) for layer, o, i in kernels
            )

        return module.eval(), called

    def _normalise(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        """Scale channels by powers of two, which the norm takes back; it also takes over the bias."""
        assert convolution.bias is not None
        assert norm.running_mean is not None
        assert norm.running_var is not None
        factors = torch.from_numpy(2.0 ** self.random.integers(0, 4, size=convolution.out_channels))
        norm.running_mean.copy_(-convolution.bias * factors)
        norm.running_var.copy_(factors**2)
        convolution.weight.mul_(factors[:, None, None, None])
        convolution.bias.zero_()


def response(module: nn.Module, kernels: Circuit, x: Tensor) -> Tensor:
    """The feature's map [N, H, W] where only these kernels are left, by plain PyTorch."""
    twin = copy.deepcopy(module)
    for path, layer in twin.named_modules():
        if isinstance(layer, nn.Conv2d):
            kept = torch.zeros(layer.weight.shape[:2])
            for name, o, i in kernels:
                if name == path:
                    kept[o, i] = 1
            layer.weight.data *= kept[:, :, None, None]
    with torch.no_grad():
        maps: Tensor = twin(x)[:, UNIT]
    return maps


def correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's r of two maps, 0 where one is constant."""
    one, other = one - one.mean(), other - other.mean()
    size = float(one.norm() * other.norm())
    return float((one * other).sum()) / size if size else 0.0


def can_be_spared(module: nn.Module, circuit: Circuit, x: Tensor) -> list[Kernel]:
    """The kernels of a circuit without any one of which it is the same, nearly."""
    whole = response(module, circuit, x)
    return [kernel for kernel in circuit if abs(correlation(whole, response(module, circuit - {kernel}, x))) >= ALIKE]
