"""The bundled network: five convolutions and one linear layer, in the manner of AlexNet, for 64x64 images.

Images come as floats in 0..1, shape (batch, 3, SIZE, SIZE), normalised by MEAN and STD.
"""

from __future__ import annotations

from torch import Tensor, nn

from circuitlang.bundled.doodles import CLASSES, SIZE

__all__ = ["CLASSES", "MEAN", "SIZE", "STD", "Doodle", "build"]

MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)


class Doodle(nn.Module):
    """Names the class of a doodle: (batch, 3, 64, 64) to (batch, classes) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 7, stride=2, padding=3)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(16, 32, 5, padding=2)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.relu3 = nn.ReLU()
        self.conv4 = nn.Conv2d(64, 64, 3, padding=1)
        self.relu4 = nn.ReLU()
        self.conv5 = nn.Conv2d(64, 64, 3, padding=1)
        self.relu5 = nn.ReLU()
        self.pool5 = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(64, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        x = self.relu3(self.conv3(x))
        x = self.relu4(self.conv4(x))
        x = self.relu5(self.conv5(x))
        logits: Tensor = self.fc1(self.flatten(self.pool5(x)))
        return logits


def build() -> Doodle:
    """Return a new network with untrained weights, in evaluation mode."""
    return Doodle().eval()
