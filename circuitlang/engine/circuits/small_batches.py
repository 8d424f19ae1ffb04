"""Images and the network's maps of them in small batches, to train circuits with stochastic gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from circuitlang.engine.circuits.image_seeds import seeded
from circuitlang.engine.circuits.subnetwork import TargetSubnetwork
from circuitlang.engine.graph.channel_nodes import Layer
from circuitlang.plugins.protocols import Batches, Edits

# A batch is smaller than it was asked to be where that leaves fewer batches a pass than this.
_BATCHES = 12
# Maps with fewer values than this are compared together with those of earlier steps.
_VALUES = 16
# The farthest that an image is shifted, as a share of its sides: one in so many.
_SHIFT = 16


@dataclass(frozen=True)
class Batch:
    """Images of one step, their numbers, and the network's maps of them."""

    numbers: list[int]
    images: Tensor
    wanted: Tensor


class _ChannelSums:
    """Sums over images and positions of the outputs of every layer, float64."""

    def __init__(self, subnetwork: TargetSubnetwork) -> None:
        self._rows = {layer.path: subnetwork.rows(layer) for layer in subnetwork.layers}
        # Numbers, sums and sums of squares [3, out].
        self._sums = {layer.path: torch.zeros(3, layer.out_channels).double() for layer in subnetwork.layers}

    def add(self, layer: Layer, _x: Tensor, y: Tensor) -> None:
        """Add the output [N, O, H, W] of a layer."""
        values, rows = y.double(), self._rows[layer.path]
        number = torch.full((y.shape[1],), y.numel() / y.shape[1]).double()
        sums = torch.stack([number, values.sum((0, 2, 3)).cpu(), values.square().sum((0, 2, 3)).cpu()])
        self._sums[layer.path][:, slice(None) if rows is None else rows] += sums

    def deviations(self) -> dict[str, Tensor]:
        """Return the standard deviation of each channel [out], by layer; 0 for channels that aren't computed."""
        means = {path: sums[1:] / sums[0].clamp_min(1) for path, sums in self._sums.items()}
        return {path: (square - mean.square()).clamp_min(0).sqrt() for path, (mean, square) in means.items()}


class SmallBatches:
    """Images in small batches, in an order that follows from their content and a seed alone.

    Of more than `most` images, as many are drawn by the seed; all of them are in memory at once. Images are mirrored
    and shifted at random for each step, and once more for `wanted`, the network's maps [images, maps, H, W] that whole
    circuits are compared with: masks fit the images that they were found on.
    """

    def __init__(self, subnetwork: TargetSubnetwork, images: Batches, size: int, most: int, seed: int) -> None:
        self._subnetwork = subnetwork
        self._generator = torch.Generator().manual_seed(seed)
        drawn: list[tuple[int, Tensor]] = []
        for part in images.batches("images to learn from"):
            drawn += [(seeded(image, seed).initial_seed(), image.clone()) for image in part]
            drawn = sorted(drawn, key=lambda entry: entry[0])[:most]
        self.images = torch.stack([image for _, image in drawn])
        # The number of batches in a pass.
        self.count = -(-len(drawn) // max(1, min(size, len(drawn) // _BATCHES)))
        # Circuits are judged by images that neither their mask nor any step has seen.
        self._judged = torch.stack([_moved(image, self._generator) for image in self.images])
        sums = _ChannelSums(subnetwork)
        self.wanted = torch.cat([subnetwork.watch(part, sums.add) for part in self._parts()])
        # The standard deviation of each output channel over images and positions [out], by layer.
        self.deviations = sums.deviations()
        self.variance = float(self.wanted.double().var(unbiased=False))
        self._few = self.wanted[0].numel() < _VALUES
        # The maps of the circuit and of the network as of the last step with each image.
        self._earlier: dict[int, tuple[Tensor, Tensor]] = {}

    def _parts(self) -> Iterator[Tensor]:
        # They depend neither on the device nor on the order of the images.
        yield from self._judged.tensor_split(self.count)

    def maps(self, edits: Edits | None) -> Tensor:
        """Return the maps [images, maps, H, W] of the network as it is edited, like `wanted`."""
        with torch.no_grad(), self._subnetwork.edited(edits):
            return torch.cat([self._subnetwork.feature(part) for part in self._parts()])

    def passes(self, number: int) -> Iterator[Batch]:
        """Yield all images in another order in each pass, each mirrored at random and shifted by up to a sixteenth."""
        for _ in range(number):
            order = torch.randperm(len(self.images), generator=self._generator)
            for part in order.tensor_split(self.count):
                images = torch.stack([_moved(self.images[number], self._generator) for number in part.tolist()])
                with torch.no_grad():
                    yield Batch(part.tolist(), images, self._subnetwork.feature(images))

    def compared(self, batch: Batch, circuit: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps to compare, of the circuit and of the network.

        They are those of the batch. If maps have few values, those of earlier steps with the other images are added as
        constants: a correlation of a handful of values says little.
        """
        if not self._few:
            return circuit, batch.wanted
        others = [maps for number, maps in self._earlier.items() if number not in batch.numbers]
        pairs = zip(torch.split(circuit.detach(), 1), torch.split(batch.wanted, 1), strict=True)
        self._earlier |= dict(zip(batch.numbers, pairs, strict=True))
        wanted = [batch.wanted, *(network for _, network in others)]
        return torch.cat([circuit, *(earlier for earlier, _ in others)]), torch.cat(wanted)


def _moved(image: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror an image [C, H, W] at random, and shift it; what leaves it on one side comes in on the other."""
    image = image.flip(-1) if int(torch.randint(2, (), generator=generator)) else image
    farthest = [side // _SHIFT for side in image.shape[1:]]
    shifts = [int(torch.randint(-far, far + 1, (), generator=generator)) for far in farthest]
    return image.roll(shifts, (1, 2))
