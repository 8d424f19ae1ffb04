"""Sums over blocks of images, from which scores on any selection of the blocks follow without another pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuitlang.plugins.protocols import Scores

# The bytes that sums may take before parts of the images share a block, and the blocks that are left all the same.
MEMORY = 1 << 30
LEAST = 8


@dataclass(frozen=True)
class BlockSums:
    """The sums over blocks of images of a one-pass criterion.

    Attributes:
        sums: Float64 [blocks, ...] by layer: per block what the criterion's reduction adds up over its images.
        finish: The scores from such sums over any images.
    """

    sums: Mapping[str, Tensor]
    finish: Callable[[Mapping[str, Tensor]], Scores]

    def __len__(self) -> int:
        return len(next(iter(self.sums.values())))

    def scores(self, weights: Sequence[int]) -> Scores:
        """Return the scores on the images of all blocks, each as often as the weight of its block.

        They are exact where a criterion makes scores of sums alone, as every one-pass criterion does: squares and
        absolute values are taken image by image, before the sum, and what follows is done here, to the weighted sums.
        """
        by_block = torch.tensor(weights, dtype=torch.float64)
        return self.finish({path: torch.tensordot(by_block, sums, 1) for path, sums in self.sums.items()})


def summed(parts: Iterable[Mapping[str, Tensor]], number: int) -> Mapping[str, Tensor]:
    """Return the sums of `number` parts of the images, [blocks, ...] by layer.

    There is a block for each part; or for two or more, where blocks would take more than `MEMORY` and are more than
    `LEAST`.
    """
    sums: dict[str, Tensor] = {}
    blocks = number
    for place, part in enumerate(parts):
        if not sums:
            size = sum(own.numel() * own.element_size() for own in part.values())
            while blocks > LEAST and blocks * size > MEMORY:
                blocks = -(-blocks // 2)
            sums = {path: own.new_zeros(blocks, *own.shape) for path, own in part.items()}
        for path, own in part.items():
            sums[path][place % blocks] += own
    return sums
