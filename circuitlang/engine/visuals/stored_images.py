"""Images that were made to excite channels in the network, in the cache: all circuits of a network share them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from circuitlang.engine.cache.tensor_cache import ScoreCache

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class StoredImages:
    """The stored images of a network's channels; None where nothing is stored."""

    score_cache: ScoreCache | None = None

    def of(self, layer: str, settings: str, channels: Sequence[int], make: Callable[[Sequence[int]], Images]) -> Images:
        """Return the images [channels, h, w, 3] of a layer's channels, and make those that are not stored.

        `settings` tells apart images that were made in other ways.
        """
        if self.score_cache is None:
            return make(channels)
        entry = self.score_cache.derived(f"{layer}\n{settings}")
        stored = dict(entry.read() or {})
        missing = [channel for channel in channels if str(channel) not in stored]
        if missing:
            made = torch.from_numpy(make(missing))
            # Images that another process stores meanwhile are lost, and made again when they are needed.
            stored |= {str(channel): image.clone() for channel, image in zip(missing, made, strict=True)}
            entry.put(None, stored)
        return np.stack([stored[str(channel)].numpy() for channel in channels])


NOT_STORED = StoredImages()
