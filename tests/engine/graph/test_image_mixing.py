"""Operations between layers that mix channels, or take them apart: right against autograd, or refused by name."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.tracer import trace
from tests.helpers.reference_scores import close, extraction_is_right, scores_are_right
from tests.helpers.toy_networks import SIZE, build, images


class Between(nn.Module):
    """Something between two convolutions of eight channels."""

    out = 8

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(self.out, 4, 3, padding=1)
        self.build()

    def build(self) -> None:
        pass

    def between(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.between(functional.silu(self.a(x))))


class ChannelAttention(Between):
    """CBAM's first half: a small network on means and maxima over space."""

    def build(self) -> None:
        self.mlp = nn.Sequential(nn.Linear(8, 2), nn.SiLU(), nn.Linear(2, 8))

    def between(self, x: Tensor) -> Tensor:
        mean = functional.avg_pool2d(x, (x.size(2), x.size(3)))
        most = functional.max_pool2d(x, (x.size(2), x.size(3)))
        gate = self.mlp(mean.view(mean.size(0), -1)) + self.mlp(most.view(most.size(0), -1))
        return x * torch.sigmoid(gate).unsqueeze(2).unsqueeze(3).expand_as(x)


class SpatialAttention(Between):
    """CBAM's second half: the greatest and the mean of all channels."""

    def build(self) -> None:
        self.gate = nn.Conv2d(2, 1, 7, padding=3)

    def between(self, x: Tensor) -> Tensor:
        seen = torch.cat([torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)], dim=1)
        return x * self.gate(seen).sigmoid()


class Extremes(Between):
    """Values by name, places not used, along rows and columns."""

    def between(self, x: Tensor) -> Tensor:
        least = x.min(dim=3, keepdim=True).values
        middle, _ = x.median(2, keepdim=True)
        variance, mean = torch.var_mean(x, dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(least + middle) + variance * mean


class EfficientAttention(Between):
    """ECA: a convolution over the channels' means."""

    def build(self) -> None:
        self.k = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def between(self, x: Tensor) -> Tensor:
        y = functional.adaptive_avg_pool2d(x, 1)
        y = self.k(y.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        return x * y.sigmoid().expand_as(x)


class Selective(Between):
    """SK: branches side by side, weighted by a softmax over them."""

    def build(self) -> None:
        self.c, self.d = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4)
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 16, 1)

    def between(self, x: Tensor) -> Tensor:
        both = torch.stack([self.c(x), self.d(x)], dim=1)
        gate = self.up(self.down(both.sum(1).mean((2, 3), keepdim=True)).sigmoid())
        batch, channels = gate.shape[:2]
        gate = torch.softmax(gate.view(batch, 2, channels // 2, 1, 1), dim=1)
        return torch.sum(both * gate, dim=1)


class SplitAttention(Between):
    """ResNeSt: channels in two halves of two groups, weighted by a softmax over the halves."""

    def build(self) -> None:
        self.c, self.down, self.up = nn.Conv2d(8, 16, 3, padding=1, groups=4), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 16, 1)

    def between(self, x: Tensor) -> Tensor:
        x = self.c(x)
        batch, channels, height, width = x.shape
        x = x.reshape((batch, 2, channels // 2, height, width))
        gate = self.up(torch.relu(self.down(x.sum(dim=1).mean((2, 3), keepdim=True))))
        gate = functional.softmax(gate.view(batch, 2, 2, -1).transpose(1, 2), dim=1).reshape(batch, -1)
        return (x * gate.reshape((batch, 2, channels // 2, 1, 1))).sum(dim=1)


class Attention(Between):
    """Attention over positions, by matrix products, with a bias of its own for each pair."""

    def build(self) -> None:
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.bias = nn.Parameter(torch.rand(2, SIZE * SIZE, SIZE * SIZE))

    def between(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).reshape(b, h * w, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        weights = ((q * (c // 2) ** -0.5) @ k.transpose(-2, -1) + self.bias).softmax(dim=-1)
        tokens = tokens + self.proj((weights @ v).transpose(1, 2).reshape(b, h * w, c))
        return tokens.transpose(1, 2).reshape(b, c, h, w)


class TransposedAttention(Between):
    """Attention of channels by torch's own function, whose result is a map at once."""

    def build(self) -> None:
        self.qkv = nn.Conv2d(8, 24, 1)

    def between(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).flatten(2).chunk(3, dim=1)
        return functional.scaled_dot_product_attention(q, k, v).view(x.shape[0], 8, SIZE, SIZE) + x


class Heads(Between):
    def build(self) -> None:
        self.heads = nn.MultiheadAttention(8, 2, batch_first=True)

    def between(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return (tokens + self.heads(tokens, tokens, tokens, need_weights=False)[0]).transpose(1, 2).view(x.shape)


class Einsum(Between):
    def between(self, x: Tensor) -> Tensor:
        return torch.einsum("nchw,ndhw->ncd", x, x)[..., None].expand(-1, -1, -1, SIZE) + x[:, :, :8]


class Windows(Between):
    """Windows that are images of their own for a while."""

    def build(self) -> None:
        self.fc = nn.Linear(8, 8)

    def between(self, x: Tensor) -> Tensor:
        n, c = x.shape[:2]
        parts = x.view(n, c, 3, 4, 3, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
        parts = (self.fc(parts) @ parts.transpose(1, 2)).softmax(-1) @ parts
        return parts.view(n, 3, 3, 4, 4, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, SIZE, SIZE)


class Recurrent(Between):
    """Rows as sequences of an LSTM, of which the states aren't used."""

    def build(self) -> None:
        self.lstm = nn.LSTM(8, 4, batch_first=True, bidirectional=True)

    def between(self, x: Tensor) -> Tensor:
        rows, _ = self.lstm(x.permute(0, 2, 3, 1).reshape(-1, SIZE, 8))
        return rows.view(x.shape[0], SIZE, SIZE, 8).permute(0, 3, 1, 2)


class Positions(Between):
    """A linear layer over positions, as in mixers."""

    def build(self) -> None:
        self.fc = nn.Linear(SIZE * SIZE, SIZE * SIZE)

    def between(self, x: Tensor) -> Tensor:
        return (x + self.fc(x.flatten(2)).view(x.shape)).relu()


class Response(Between):
    """Global response normalisation, channels last."""

    def build(self) -> None:
        self.scale, self.shift = nn.Parameter(torch.rand(8)), nn.Parameter(torch.rand(8))

    def between(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        norm = x.norm(p=2, dim=(1, 2), keepdim=True)
        norm = norm / (norm.mean(dim=-1, keepdim=True) + 1e-6)
        return (x + torch.addcmul(self.shift.view(1, 1, 1, -1), self.scale.view(1, 1, 1, -1), x * norm)).permute(
            0, 3, 1, 2
        )


class Shuffled(Between):
    out = 2

    def between(self, x: Tensor) -> Tensor:
        return functional.pixel_shuffle(x, 2)


class Unshuffled(Between):
    out = 32

    def between(self, x: Tensor) -> Tensor:
        return functional.pixel_unshuffle(x, 2)


class Gated(Between):
    out = 4

    def between(self, x: Tensor) -> Tensor:
        return functional.glu(x, 1)


class Best(Between):
    """The strongest three channels everywhere."""

    out = 3

    def between(self, x: Tensor) -> Tensor:
        return x.topk(3, dim=1)[0] + x.sort(dim=1, descending=True).values[:, 2:5].cumsum(1)


class Unfolded(Between):
    out = 72

    def between(self, x: Tensor) -> Tensor:
        return functional.unfold(x, 3, padding=1).view(x.shape[0], -1, SIZE, SIZE)


class Rolled(Between):
    def between(self, x: Tensor) -> Tensor:
        return x.roll((1, 2, 3), (1, 2, 3)) + x.flip((1, 3)) + x.cumsum(2) + x.cumsum(1)


class Sampled(Between):
    """A spatial transformer: where it looks is computed from the image."""

    def build(self) -> None:
        self.theta = nn.Linear(8, 6)

    def between(self, x: Tensor) -> Tensor:
        theta = self.theta(x.mean((2, 3))).view(-1, 2, 3)
        return functional.grid_sample(
            x, functional.affine_grid(theta, [x.shape[0], 8, SIZE, SIZE]), align_corners=False
        )


class Dynamic(Between):
    """Kernels that are computed from the image."""

    def build(self) -> None:
        self.make = nn.Linear(8, 8 * 9)

    def between(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        weight = self.make(x.mean((2, 3))).view(n * 8, 1, 3, 3)
        return functional.conv2d(x.reshape(1, n * 8, SIZE, SIZE), weight, padding=1, groups=n * 8).view(x.shape)


class Spectral(Between):
    def between(self, x: Tensor) -> Tensor:
        seen = torch.fft.rfft2(x, norm="ortho")
        return torch.fft.irfft2(seen * seen.abs(), s=(SIZE, SIZE), norm="ortho")


class Volume(Between):
    """Channels as the depth of a volume."""

    def build(self) -> None:
        self.c = nn.Conv3d(1, 2, 3, padding=1)

    def between(self, x: Tensor) -> Tensor:
        return self.c(x[:, None]).sum(1)


class Nested(Between):
    """Norms over groups and over channels, layer scale, a shuffle."""

    def build(self) -> None:
        self.group, self.norm, self.scale = nn.GroupNorm(2, 8), nn.LayerNorm(8), nn.Parameter(torch.rand(8, 1, 1))

    def between(self, x: Tensor) -> Tensor:
        y = functional.channel_shuffle(self.group(x), 4)
        return x + self.scale * self.norm(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def kinds(base: type[Between]) -> list[type[Between]]:
    return [each for each in base.__subclasses__() if each.__module__ == __name__]


# Of these, each kernel that is relevant to a unit has a say in it; the others are taken to mix more than they do.
EXACT = {ChannelAttention, SpatialAttention, Extremes, Selective, Nested, Positions, Response, Rolled}


@pytest.mark.parametrize("net", kinds(Between), ids=lambda net: net.__name__)
def test_it_is_right_against_autograd(net):
    model, x = build(net).eval(), images(2)
    graph = trace(model, (SIZE, SIZE))
    subnetwork = TargetSubnetwork(graph, Target(graph.find("b"), (1,)))
    close(subnetwork.feature(x), model(x)[:, 1:2].detach())
    scores_are_right(graph, subnetwork, x, every=net in EXACT)
    extraction_is_right(subnetwork, x)
    assert math.isclose(float(subnetwork.relevant["b"].sum()), net.out)
