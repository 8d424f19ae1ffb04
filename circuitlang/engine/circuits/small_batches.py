"""Images and the network's maps of them in small batches, to train circuits with stochastic gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from circuitlang.engine.circuits.image_seeds import seeded
from circuitlang.engine.deferred import torch
from circuitlang.plugins.protocols import Edits

if TYPE_CHECKING:
    from torch import Tensor

# The fewest batches of a pass: batches are smaller than they were asked to be, or images come several times.
BATCHES = 12
# Maps with fewer values than this are compared together with those of the last steps, so many in all.
_VALUES = _MAPS = 16
# The fewest values of a batch, where images allow it.
_LEAST = 8
# The farthest that an image is shifted, as a share of its sides: one in so many.
_SHIFT = 16

# The target's maps [N, maps, H, W] of images [N, C, H, W], in the network with some edits.
Feature = Callable[["Tensor", Edits | None], "Tensor"]
# The circuit's and the network's maps [2, maps, H, W] of the images of the last steps, by the image's number.
Earlier = dict[int, "Tensor"]


@dataclass(frozen=True)
class Batch:
    """Images of one step, their numbers, and the network's maps of them."""

    numbers: list[int]
    images: Tensor
    wanted: Tensor


def rounds(images: int) -> int:
    """Return how often each of some images comes in a pass."""
    return max(1, math.ceil(BATCHES / images))


class SmallBatches:
    """Images in small batches, in an order that follows from their content and a seed alone.

    Of more than `most` images, as many are drawn by the seed; all of them are in memory at once. A batch has `size`
    images, more where their maps have fewer than 8 values, or fewer where a pass would have fewer than 12 batches;
    fewer than 12 images come several times in a pass. Or a pass has as many batches as `steps` says. To `augment` is to
    mirror and to shift images at random for each step, and once more for `wanted`, the network's maps [images, maps, H,
    W] that whole circuits are compared with: masks fit the images that they were found on.
    """

    def __init__(
        self,
        feature: Feature,
        images: Iterable[Tensor],
        size: int,
        most: int,
        seed: int,
        *,
        augment: bool = False,
        steps: int = 0,
    ) -> None:
        self._feature, self._augment = feature, augment
        drawn: list[tuple[int, Tensor]] = []
        for part in images:
            drawn += [(seeded(image, seed).initial_seed(), image.clone()) for image in part]
            # Sorted by content, so that the order of the images does not matter.
            drawn = sorted(drawn, key=lambda entry: entry[0])[:most]
        self._images = torch.stack([image for _, image in drawn])
        self._rounds = 1 if steps else rounds(len(drawn))
        generator = torch.Generator().manual_seed(seed)
        # Circuits are judged by images that neither their mask nor any step has seen, if there are such.
        self.images = self._moved(list(range(len(drawn))), generator)
        self._start = generator.get_state()
        # The number of batches in a pass.
        self.steps = steps or self._batches(size)
        self.wanted = self.maps(None)
        values = self.wanted[0].numel()
        self.steps = steps or self._batches(max(size, math.ceil(_LEAST / values)))
        self.variance = float(self.wanted.double().var(unbiased=False))
        # A single number, or a feature that is the same everywhere: there is nothing to be correlated with.
        self.constant = self.variance <= 1e-12 * float(self.wanted.double().square().mean())
        self._few = values < _VALUES

    def _batches(self, size: int) -> int:
        return self._rounds * math.ceil(len(self) / max(1, min(size, len(self) // BATCHES)))

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, _label: str, /) -> Iterator[Tensor]:
        """Yield all images in parts that depend neither on the device nor on their order; see `protocols.Batches`."""
        return (part for part in self.images.tensor_split(self.steps) if len(part))

    def maps(self, edits: Edits | None) -> Tensor:
        """Return the maps [images, maps, H, W] of the network as it is edited, like `wanted`."""
        with torch.no_grad():
            return torch.cat([self._feature(part, edits) for part in self.batches("")])

    def passes(self, first: int = 0) -> Iterator[Batch]:
        """Yield all images in another order in each pass, without end, from a pass on."""
        generator = torch.Generator()
        generator.set_state(self._start)
        for number in count():
            orders = [torch.randperm(len(self.images), generator=generator) for _ in range(self._rounds)]
            for part in torch.cat(orders).tensor_split(self.steps):
                numbers = part.tolist()
                images = self._moved(numbers, generator)
                if number >= first:
                    yield Batch(numbers, images, self._wanted(numbers, images))

    def _moved(self, numbers: list[int], generator: torch.Generator) -> Tensor:
        images = self._images[numbers]
        if not self._augment or not numbers:
            return images
        return torch.stack([_moved(image, generator) for image in images])

    def _wanted(self, numbers: list[int], images: Tensor) -> Tensor:
        if not self._augment or not numbers:
            return self.wanted[numbers]
        with torch.no_grad():
            return self._feature(images, None)

    def compared(self, batch: Batch, circuit: Tensor, earlier: Earlier) -> tuple[Tensor, Tensor]:
        """Return the maps to compare, of the circuit and of the network.

        They are those of the batch. If maps have few values, those of the last steps with other images, which
        `earlier` keeps, are added as constants until there are 16 maps: a correlation of a handful of values says
        little, and maps of a circuit that has changed since say less and less.
        """
        if not self._few:
            return circuit, batch.wanted
        for number in batch.numbers:
            earlier.pop(number, None)
        absent = _MAPS - len(batch.numbers)
        others = list(earlier.values())[-absent:] if absent > 0 else []
        earlier |= dict(zip(batch.numbers, torch.stack([circuit.detach(), batch.wanted], 1), strict=True))
        ours, theirs = (torch.stack([maps[side] for maps in others]) if others else circuit[:0] for side in (0, 1))
        return torch.cat([circuit, ours]), torch.cat([batch.wanted, theirs])


def _moved(image: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror an image [C, H, W] at random, and shift it; what leaves it on one side comes in on the other."""
    image = image.flip(-1) if int(torch.randint(2, (), generator=generator)) else image
    farthest = [side // _SHIFT for side in image.shape[1:]]
    shifts = [int(torch.randint(-far, far + 1, (), generator=generator)) for far in farthest]
    return image.roll(shifts, (1, 2))
