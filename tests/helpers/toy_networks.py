"""Small networks with everything that is easy to get wrong, and a naive way to run them masked."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

SIZE = 12


class Chain(nn.Module):
    """Convolutions, in-place activations, pooling, and linear layers behind a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.relu1 = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(4, 5, 3, stride=2)
        self.relu2 = nn.ReLU(inplace=True)
        self.fc1 = nn.Linear(5 * 4, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu2(self.conv2(self.pool(self.relu1(self.conv1(x)))))
        return self.fc2(torch.relu(self.fc1(torch.flatten(x, 1))))


class Branches(nn.Module):
    """Two branches of unequal depth, concatenated; one channel of the result is never read by the target's row."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(3, 3, 1)
        self.left = nn.Conv2d(3, 4, 1)
        self.right = nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Conv2d(7, 5, 3, dilation=2, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.squeeze(x))
        return self.head(torch.cat([self.act(self.left(x)), self.act(self.right(x))], 1))


class Residual(nn.Module):
    """A residual add with an in-place sum, batch norm, and average pooling with padding and ceil mode."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AvgPool2d(3, 2, padding=1, ceil_mode=True)
        self.head = nn.Conv2d(4, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(x)))
        y = self.body(x)
        y += x
        return self.head(self.pool(self.relu(y)))


class Groups(nn.Module):
    """Grouped, depthwise, strided and dilated convolutions; unequal kernel sides; replicated borders."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, (3, 1), padding=(1, 0), padding_mode="replicate")
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.grouped = nn.Conv2d(6, 4, 3, stride=2, dilation=2, padding=2, groups=2)
        self.point = nn.Conv2d(4, 4, 1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.nn.functional.relu(self.depthwise(x), inplace=True)
        return self.point(torch.relu(self.grouped(x)))


class Excited(nn.Module):
    """Squeeze and excitation by convolutions and by linear layers, dropout, and a gate of one channel for all."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.squeeze = nn.Conv2d(4, 2, 1)
        self.excite = nn.Conv2d(2, 4, 1)
        self.drop = nn.Dropout(0.5)
        self.down = nn.Linear(4, 2)
        self.up = nn.Linear(2, 4)
        self.where = nn.Conv2d(4, 1, 1)
        self.head = nn.Conv2d(4, 3, 2, groups=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        gate = nn.functional.adaptive_avg_pool2d(x, 1)
        x = x * torch.sigmoid(self.excite(nn.functional.softplus(self.squeeze(gate))))
        batch, channels, _, _ = x.size()
        gate = self.up(nn.functional.softplus(self.down(x.mean([2, 3]))))
        x = self.drop(x) * gate.sigmoid().view(batch, channels, 1, 1)
        return self.head(x * self.where(x).sigmoid())


class Shuffling(nn.Module):
    """Channels shuffled through five dimensions, split, sliced and chunked; one branch is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 1)
        self.branch = nn.Conv2d(3, 3, 3, padding=1, groups=3)
        self.mix = nn.Conv2d(6, 6, 1, groups=2)
        self.head = nn.Conv2d(5, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        one, two = x.chunk(2, dim=1)
        x = torch.cat((one, torch.relu(self.branch(two))), dim=1)
        batch, channels, height, width = x.size()
        x = x.view(batch, 2, channels // 2, height, width)
        x = torch.transpose(x, 1, 2).contiguous()
        x = self.mix(x.view(batch, -1, height, width))
        first, second, _ = torch.split(x, [2, 3, 1], dim=1)
        return self.head(torch.cat([second, first], 1))


class ChannelsLast(nn.Module):
    """Channels behind rows and columns: norm, linear layers at every position, a scale, and a norm in groups."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 2, stride=2)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.norm = nn.LayerNorm(4)
        self.wide = nn.Linear(4, 6)
        self.narrow = nn.Linear(6, 4)
        self.scale = nn.Parameter(torch.tensor([0.5, 1.5, 0.7, 1.2])[:, None, None])
        self.groups = nn.GroupNorm(2, 4)
        self.head = nn.Conv2d(4, 3, 2, groups=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.narrow(nn.functional.softplus(self.wide(y))).permute(0, 3, 1, 2)
        return self.head(self.groups(x + self.scale * y))


class Again(nn.Module):
    """A layer that is used twice, a layer called as a function, and a shortcut with channels of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.twice = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.called = nn.Conv2d(4, 6, 1, groups=2)
        self.head = nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(torch.relu(self.twice(self.stem(x))))
        y = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1))
        z = nn.functional.conv2d(x, self.called.weight, bias=self.called.bias, stride=2, groups=2)
        return self.head(torch.relu(y + z))


class Standardised(nn.Module):
    """Colours standardised one by one, a border of its own, and writing in place that is seen by later readers."""

    def __init__(self) -> None:
        super().__init__()
        self.border = nn.ReflectionPad2d((1, 2, 1, 0))
        self.conv = nn.Conv2d(3, 3, (2, 3))
        self.rectify = nn.ReLU(inplace=True)
        self.head = nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        red = torch.unsqueeze(x[:, 0], 1) * 0.5 + 0.1
        green = torch.unsqueeze(x[:, 1], 1) * (0.4 / 0.5) + 0.2
        blue = x[:, 2:3].mul(0.9).add(0.3)
        x = self.conv(self.border(torch.cat((red, green, blue), 1)))
        before = x + 0.1
        x.add_(0.2)
        self.rectify(x)
        before.sigmoid_()
        return self.head(torch.cat([x, before], 1))


class Sized(nn.Module):
    """What it does depends on the size of its input, which only torch.export follows."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.norm = nn.GroupNorm(2, 4)
        self.head = nn.Conv2d(4, 4, 1)
        self.scale = nn.Parameter(torch.tensor([0.5, 1.5, 0.7, 1.2])[:, None, None])
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        if x.shape[2] > 6:
            x = nn.functional.max_pool2d(x, 2)
        for number in range(x.shape[1] // 2):
            x = x + self.head(x) * self.scale / (number + 1)
        one, two = x.chunk(2, 1)
        x = torch.cat([two, one], 1)
        x = x.reshape(len(x), 2, 2, *x.shape[2:]).transpose(1, 2).flatten(1, 2)
        return self.fc(x.permute(0, 2, 3, 1)).mean((1, 2))


# A network and targets in it: module path and channel.
CASES: list[tuple[type[nn.Module], str, int]] = [
    (Chain, "conv1", 1),
    (Chain, "conv2", 2),
    (Chain, "fc1", 3),
    (Chain, "fc2", 0),
    (Branches, "left", 3),
    (Branches, "head", 4),
    (Residual, "body", 1),
    (Residual, "head", 2),
    (Groups, "depthwise", 5),
    (Groups, "grouped", 3),
    (Groups, "point", 2),
]
IDS = [f"{net.__name__}-{path}-{unit}" for net, path, unit in CASES]

# The same for what networks do with channels besides.
CHANNEL_CASES: list[tuple[type[nn.Module], str, int]] = [
    (Excited, "excite", 1),
    (Excited, "up", 3),
    (Excited, "head", 2),
    (Shuffling, "branch", 1),
    (Shuffling, "mix", 0),
    (Shuffling, "mix", 4),
    (Shuffling, "head", 3),
    (ChannelsLast, "wide", 5),
    (ChannelsLast, "narrow", 2),
    (ChannelsLast, "head", 0),
    (Again, "twice", 3),
    (Again, "head", 1),
    (Standardised, "conv", 2),
    (Standardised, "head", 1),
    (Sized, "head", 2),
    (Sized, "fc", 1),
]
CHANNEL_IDS = [f"{net.__name__}-{path}-{unit}" for net, path, unit in CHANNEL_CASES]


def build(net: type[nn.Module], dtype: torch.dtype = torch.float64) -> nn.Module:
    """A network with random weights, and statistics of batch norm that aren't those of a fresh one."""
    torch.manual_seed(7)
    module = net().to(dtype)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.5, 0.5)
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    return module


def images(count: int = 5, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3)).to(dtype)


def layers(module: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    return {path: each for path, each in module.named_modules() if isinstance(each, (nn.Conv2d, nn.Linear))}


def naive(module: nn.Module, path: str, unit: int, x: Tensor, masks: dict[str, Tensor] | None = None) -> Tensor:
    """The target's map [N, ...] by hooks on a masked deep copy: the plain, slow way."""
    return naive_trace(module, path, unit, x, masks)[0]


def naive_trace(
    module: nn.Module, path: str, unit: int, x: Tensor, masks: dict[str, Tensor] | None = None
) -> tuple[Tensor, nn.Module, dict[str, tuple[Tensor, Tensor]]]:
    """The target's map, the copy that was run, and every layer's input and output."""
    twin = copy.deepcopy(module).eval()
    for name, mask in (masks or {}).items():
        layer = layers(twin)[name]
        layer.weight.data *= mask.reshape(*mask.shape, *[1] * (layer.weight.dim() - 2))
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for name, layer in layers(twin).items():

        def hook(_module: nn.Module, inputs: tuple[Tensor], output: Tensor, name: str = name) -> Tensor:
            output.retain_grad()
            seen[name] = inputs[0], output
            # What follows may write into its input; it gets a copy.
            return output.clone()

        layer.register_forward_hook(hook)
    twin(x)
    output = seen[path][1]
    return output[..., unit] if isinstance(layers(twin)[path], nn.Linear) else output[:, unit], twin, seen


class Fixed:
    """Images that are tensors already, in batches of a size."""

    def __init__(self, tensor: Tensor, batch_size: int = 2) -> None:
        self.tensor = tensor
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self.tensor)

    def batches(self, label: str) -> list[Tensor]:
        return list(self.tensor.split(self.batch_size))
