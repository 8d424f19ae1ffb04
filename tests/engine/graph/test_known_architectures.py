"""Networks that people have: recurrent, segmentation and normaliser-free ones, scored and extracted in float64."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import segmentation

from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.targets import Target
from circuitlang.engine.graph.trace_verification import verified
from circuitlang.engine.graph.tracer import trace
from tests.helpers.reference_scores import draw_weights, extraction_is_right, feature_is_right, scores_are_right

UNIT = 1


class RecurrentBlock(nn.Module):
    """A block of CORnet-S (Kubilius et al. 2019): the same convolutions run `times` times, with norms of their own."""

    def __init__(self, inputs: int, outputs: int, times: int) -> None:
        super().__init__()
        self.times = times
        self.conv_input = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.skip = nn.Conv2d(outputs, outputs, 1, stride=2, bias=False)
        self.norm_skip = nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(outputs, 4 * outputs, 1, bias=False)
        self.conv2 = nn.Conv2d(4 * outputs, 4 * outputs, 3, stride=2, padding=1, bias=False)
        self.conv3 = nn.Conv2d(4 * outputs, outputs, 1, bias=False)
        for time in range(times):
            setattr(self, f"norm1_{time}", nn.BatchNorm2d(4 * outputs))
            setattr(self, f"norm2_{time}", nn.BatchNorm2d(4 * outputs))
            setattr(self, f"norm3_{time}", nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_input(x)
        for time in range(self.times):
            if time == 0:
                skip, self.conv2.stride = self.norm_skip(self.skip(x)), (2, 2)
            else:
                skip, self.conv2.stride = x, (1, 1)
            x = F.relu(getattr(self, f"norm1_{time}")(self.conv1(x)))
            x = F.relu(getattr(self, f"norm2_{time}")(self.conv2(x)))
            x = F.relu(getattr(self, f"norm3_{time}")(self.conv3(x)) + skip)
        return x


class CORnetS(nn.Module):
    """CORnet-S in small: a stem, two recurrent blocks, a decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 7, 2, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2))
        self.v2, self.v4 = RecurrentBlock(6, 5, 2), RecurrentBlock(5, 4, 3)
        self.decoder = nn.Linear(4, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.v4(self.v2(self.stem(x)))
        return self.decoder(F.adaptive_avg_pool2d(x, 1).flatten(1))


class RecurrentArea(nn.Module):
    """An area of CORnet-RT: input plus its own state, from the time step before."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv_input = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.norm_input = nn.GroupNorm(1, outputs)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(1, outputs)

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        x = F.relu(self.norm_input(self.conv_input(x)))
        x = x if state is None else x + state
        x = F.relu(self.norm1(self.conv1(x)))
        return x, x


class CORnetRT(nn.Module):
    """CORnet-RT in small: two areas over three time steps."""

    def __init__(self) -> None:
        super().__init__()
        self.v1, self.v2 = RecurrentArea(3, 5, 2), RecurrentArea(5, 6, 2)
        self.decoder = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        first = second = None
        for _ in range(3):
            y, first = self.v1(x, first)
            y, second = self.v2(y, second)
        return self.decoder(y.mean((2, 3)))


class LastCallStrided(nn.Module):
    """A convolution that is called with stride 1, and last with stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        for stride in (1, 2):
            self.conv.stride = (stride, stride)
            x = F.relu(self.conv(x))
        return self.head(x)


class UNet(nn.Module):
    """A U-Net: down by pooling, up by transposed convolution and by interpolation, skips by concatenation."""

    def __init__(self) -> None:
        super().__init__()

        def double(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True),
                nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True),
            )  # fmt: skip

        self.down1, self.down2, self.bottom = double(3, 4), double(4, 6), double(6, 8)
        self.up1 = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.merge1, self.merge2 = double(12, 6), double(10, 4)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        x = self.up1(self.bottom(F.max_pool2d(second, 2)))
        x = self.merge1(torch.cat((second, x), 1))
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.head(self.merge2(torch.cat([first, x], dim=1)))


def fcn() -> nn.Module:
    return segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=4, aux_loss=True)


def deeplab() -> nn.Module:
    return segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4, aux_loss=True)


def lraspp() -> nn.Module:
    return segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4)


def timm_model(name: str) -> nn.Module:
    import timm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return timm.create_model(name, pretrained=False)


# By name: a builder, the size of images, and the path of the target's layer.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, str]] = {
    "CORnet-S": (CORnetS, 32, "decoder"),
    "CORnet-S, a layer that is used again": (CORnetS, 32, "v4.conv2"),
    "a target whose last call has a larger stride": (LastCallStrided, 13, "conv"),
    "behind a call with a larger stride": (LastCallStrided, 13, "head"),
    "CORnet-RT": (CORnetRT, 16, "decoder"),
    "U-Net": (UNet, 16, "head"),
    "U-Net, behind the transposed convolution": (UNet, 16, "merge1.0"),
    "FCN": (fcn, 33, "classifier.4"),
    "FCN, auxiliary head": (fcn, 33, "aux_classifier.4"),
    "DeepLabV3": (deeplab, 33, "classifier.4"),
    "LR-ASPP": (lraspp, 33, "classifier.high_classifier"),
    "NFNet": (lambda: timm_model("test_nfnet"), 64, "head.fc"),
    "NF-ResNet": (lambda: timm_model("nf_resnet26"), 48, "stages.2.0.conv2"),
    "BiT": (lambda: timm_model("resnetv2_50x1_bit"), 48, "head.fc"),
}


def drawn(model: nn.Module) -> nn.Module:
    """Draw weights with which every path matters, in double precision."""
    torch.manual_seed(5)
    model = model.double().eval()
    draw_weights(model)
    return model


# Large ones are scored by `make test-slow`; DeepLabV3 and NFNet are of their kinds.
LARGE = ("FCN", "FCN, auxiliary head", "LR-ASPP", "NF-ResNet", "BiT")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in NETWORKS]
)
def test_scores_and_extraction_are_right(name: str) -> None:
    build, size, path = NETWORKS[name]
    model = drawn(build())
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(3)).double()
    graph = trace(model, (size, size))
    subnetwork = TargetSubnetwork(graph, Target(graph.find(path), (UNIT,)))
    feature_is_right(model, path, subnetwork, images)
    scores_are_right(graph, subnetwork, images)
    extraction_is_right(subnetwork, images)


class ChangingDilation(nn.Module):
    """A layer whose dilation the forward method changes, which a layer with one dilation does not compute."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        for dilation in (2, 1):
            self.conv.dilation = self.conv.padding = (dilation, dilation)
            x = F.relu(self.conv(x))
        return self.head(x)


def test_a_layer_whose_dilation_changes_is_refused_and_not_computed_otherwise() -> None:
    images = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(3)).double()
    doubt = verified(drawn(ChangingDilation()), (12, 12), images).doubt
    assert doubt is not None
    assert doubt.finding.code == "E308"
    assert "first at 'conv'" in doubt.finding.label
